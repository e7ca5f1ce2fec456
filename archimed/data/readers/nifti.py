"""NIfTI-1 and NIfTI-2 files, .nii and .nii.gz: volumes, 2D images, several channels."""

import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from archimed.data.preparation.resampling import check_affine
from archimed.data.readers.decoding import DECODER_ERRORS
from archimed.data.readers.voxels import MAX_CHANNELS, Block, check_finite, kept, placed, read_values, unreadable
from archimed.data.volume import Volume

if TYPE_CHECKING:
    from nibabel import Nifti1Header

HEADER_BYTES = {348: b"n+1", 540: b"n+2"}  # sizeof_hdr and magic of the two versions, header and voxels in one file
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by unit of space: unknown, metre, millimetre, micrometre


def read_nifti(path: Path, origin: str) -> Volume:
    """Read one file; DataError, naming `origin` and the file, if it is not one complete image of finite pixels.

    The position is that of the sform where its code is above 0, else of the qform, as nibabel has it; where both codes
    are 0 the axes are taken to run right, anterior and superior, as the standard says, and the affine is None.
    Slope and intercept are applied.
    """
    from nibabel.spatialimages import HeaderDataError

    try:
        found = _read(path)
    except (*DECODER_ERRORS, HeaderDataError) as error:
        raise unreadable(origin, path, error) from error
    check_finite(found.pixels, origin, path)
    return found


def _read(path: Path) -> Volume:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        header = _header(file.read(max(HEADER_BYTES)))
    sizes, channels, flat = _layout(header)
    start = int(header["vox_offset"])
    if start != header["vox_offset"] or start < int(header["sizeof_hdr"]):
        raise ValueError(f"its voxels begin at byte {header['vox_offset']}, within the header")
    block = Block(path, 0, "gzip", start) if packed else Block(path, start, "raw")
    values = read_values(block, (channels, *sizes[::-1]), _dtype(header))
    pixels = _scaled(values, header)
    remarks = (f"the {channels} volumes of its fourth axis were taken as channels",) if channels > 1 else ()
    return _oriented(pixels, header, sizes, flat, remarks)


def _oriented(
    pixels: Shaped[np.ndarray, "channel k j i"],
    header: "Nifti1Header",
    sizes: tuple[int, int, int],
    flat: bool,
    remarks: tuple[str, ...],
) -> Volume:
    affine, spacing, cautions = _place(header, sizes)
    remarks = (*cautions, *remarks)
    if affine is None:
        pixels = pixels[:, :, ::-1, ::-1]  # from right and anterior to left and posterior
        return placed(pixels, None, spacing, flat, remarks)
    return placed(pixels, affine[:, [2, 1, 0, 3]], None, flat, remarks)


def in_file_order(path: Path, values: Shaped[np.ndarray, "*space"]) -> Shaped[np.ndarray, "i j k"]:
    """Values on the grid that `read_nifti` gives for a file, in the order of the file's own axes."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        header = _header(file.read(max(HEADER_BYTES)))
    sizes, _, flat = _layout(header)
    numbers = np.arange(np.prod(sizes), dtype=np.int32 if np.prod(sizes) < 2**31 else np.int64)
    where = _oriented(numbers.reshape(1, *sizes[::-1]), header, sizes, flat, ()).pixels
    result = np.empty(len(numbers), values.dtype)
    result[where.ravel()] = values.ravel()
    return result.reshape(sizes[::-1]).transpose()


def _header(head: bytes) -> "Nifti1Header":
    from nibabel import Nifti1Header, Nifti2Header

    sizeof = {int.from_bytes(head[:4], order) for order in ("little", "big")} & set(HEADER_BYTES)
    if not sizeof:
        raise ValueError("it does not begin like a NIfTI file")
    size = sizeof.pop()
    kind = Nifti1Header if size == 348 else Nifti2Header
    if len(head) < size:
        raise EOFError("it ends within the header")
    header = kind.from_fileobj(io.BytesIO(head[:size]), check=False)
    if int(header["sizeof_hdr"]) != size or header["magic"].item() != HEADER_BYTES[size]:
        raise ValueError("it is not a NIfTI file that holds header and voxels in one")
    return header


def _dtype(header: "Nifti1Header") -> np.dtype:
    try:
        dtype: np.dtype = np.dtype(header.get_data_dtype())
    except Exception as error:
        raise ValueError(f"its number type has the unknown code {int(header['datatype'])}") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = {"V": "RGB colours", "c": "complex numbers"}.get(dtype.kind, str(dtype))
        raise ValueError(f"its voxels are {name}, not whole or floating point numbers of up to 64 bits")
    if dtype.itemsize * 8 != int(header["bitpix"]):
        raise ValueError(
            f"its number type {dtype} does not have the {int(header['bitpix'])} bits that the header tells"
        )
    return dtype.newbyteorder(header.endianness)


def _layout(header: "Nifti1Header") -> tuple[tuple[int, int, int], int, bool]:
    """Voxels along i, j and k, number of channels, and whether there is no third axis of space."""
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    if not 2 <= count <= 7 or min(sizes) < 1:
        raise ValueError(f"sizes {sizes}, where an image has two axes or more, of one voxel or more")
    i, j, k, *others = [*sizes, 1, 1]
    several = [size for size in others if size > 1]
    if len(several) > 1 or any(size > MAX_CHANNELS for size in several):
        raise ValueError(f"sizes {sizes}; beyond space there may be one axis of at most {MAX_CHANNELS} channels")
    return (i, j, k), (several or [1])[0], k == 1


def _scaled(values: Shaped[np.ndarray, "*axes"], header: "Nifti1Header") -> Shaped[np.ndarray, "*axes"]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return kept(values)
    if not np.isfinite(intercept):
        raise ValueError("its values have a slope but no finite intercept")
    if (slope, intercept) == (1, 0):
        return kept(values)
    if values.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        ends = [int(value) * int(slope) + int(intercept) for value in (values.min(), values.max())]
        if max(abs(end) for end in ends) < 2**31:
            return kept(values.astype(np.int64) * int(slope) + int(intercept))
    with np.errstate(over="ignore", invalid="ignore"):
        return (values * slope + intercept).astype(np.float32)


def _place(
    header: "Nifti1Header", sizes: tuple[int, int, int]
) -> tuple[Float[np.ndarray, "4 4"] | None, tuple[float, ...] | None, tuple[str, ...]]:
    """The affine of i, j, k if the file tells it; else spacing of the axes slowest first, if that; and cautions."""
    unit = MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    remarks = () if unit == 1 else ("lengths in the header were converted to millimetres",)
    sform, qform = _usable(header.get_sform(coded=True), unit, sizes), None
    if int(header["qform_code"]) > 0:
        header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # as the standard's own library reads 0
        header["pixdim"][1:4] = np.abs(header["pixdim"][1:4])
        qform = _usable(header.get_qform(coded=True), unit, sizes)
    best = qform if sform is None else sform
    if best is None:
        steps = np.abs(header["pixdim"][1:4].astype(np.float64)) * unit
        known = bool(np.isfinite(steps).all() and (steps > 1e-6).all() and (steps < 1e4).all())
        return None, tuple(float(f"{step:.6g}") for step in steps[::-1]) if known else None, remarks
    check_affine(best)
    if sform is not None and qform is not None:
        step = np.linalg.norm(sform[:3, :3], axis=0)
        corners = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)]) * [*(np.array(sizes) - 1), 1]
        if np.abs(corners @ (sform - qform).T).max() > step.min() / 2:
            remarks = (*remarks, "sform and qform disagree by more than half a voxel; the sform was used")
    return best, None, remarks


def _usable(
    found: tuple[Float[np.ndarray, "4 4"] | None, int], unit: float, sizes: tuple[int, int, int]
) -> Float[np.ndarray, "4 4"] | None:
    """The affine in millimetres if its code is above 0; a third axis made up for 2D images that have none."""
    affine, code = found
    if affine is None or code <= 0:
        return None
    affine = np.array(affine, np.float64)
    affine[:3] *= unit
    if sizes[2] == 1 and np.linalg.norm(affine[:3, 2]) == 0:
        affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1]) / max(np.linalg.norm(affine[:3, 0]), 1e-12)
    return affine
