"""DICOM: one image file, or the folder of one series, as a Volume."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from archimed.data.dicom.header import (
    REPLACE,
    SUFFIXES,
    RefusedError,
    code,
    has_dicom_contents,
    numbers,
    quiet,
    read_header,
    text,
    told_of,
    whole,
)
from archimed.data.dicom.pixels import read_frames
from archimed.data.dicom.series import Plane, check_one_series, object_name, plane_of, stacked
from archimed.data.dicom.suv import suv_factors
from archimed.data.dicom.values import rescale_of, rescaled, upright_greys
from archimed.data.preparation.resampling import MAX_VOXELS, canonical, check_affine, spacing_of
from archimed.data.volume import ChannelKind, Volume

if TYPE_CHECKING:
    from pydicom import Dataset

KINDS: dict[str, ChannelKind] = {"CT": "ct", "PT": "pet", "MR": "mr"}
FILES_TRIED = 32
SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True)
class _File:
    """One DICOM image file: where it lies and its header without pixels."""

    path: Path
    header: "Dataset"


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name or first bytes, or a folder holds such a file.

    Of a folder whose names do not tell, the first FILES_TRIED files are looked into.
    """
    if path.is_dir():
        inside = _inside(path)
        return any(inner.suffix.lower() in SUFFIXES for inner in inside) or any(map(is_dicom, inside[:FILES_TRIED]))
    try:
        return path.is_file() and (path.suffix.lower() in SUFFIXES or has_dicom_contents(path))
    except OSError:
        return False


def read_dicom(path: Path, origin: str) -> Volume:
    """Read one DICOM image file, or a folder that holds one series.

    A file of one frame is a 2D image, in the orientation it is stored in; a series, or a file of several frames that
    tells where each lies, is a volume in canonical orientation. CT is in Hounsfield units, PET in SUV by body weight.

    Args:
        path: of the file or folder; files of a folder that are no DICOM images are left out.
        origin: where a message points to, for example "line 12 of cases.csv".

    Raises:
        DataError: in one line, what keeps it from being one image.
    """
    with quiet(), told_of(origin, path):
        if not path.is_dir():
            with told_of(origin, path):
                header = read_header(path, pixels=True)
                _check_image(header)
                return _one_file(header)
        files, remarks = _images_of(path, origin)
        if len(files) == 1:
            with told_of(origin, files[0].path):
                volume = _one_file(read_header(files[0].path, pixels=True))
        else:
            volume = _series(files, origin)
        return _with_remarks(volume, remarks)


def dicom_files(folder: Path) -> list[Path]:
    """DICOM files directly in a folder, hidden ones left out."""
    return [path for path in _inside(folder) if is_dicom(path)]


def _inside(folder: Path) -> list[Path]:
    return sorted(inner for inner in folder.iterdir() if inner.is_file() and not inner.name.startswith("."))


def _images_of(folder: Path, origin: str) -> tuple[list[_File], tuple[str, ...]]:
    """The images in a folder and what was left out; RefusedError unless they are of one series."""
    files, others = [], Counter[str]()
    for path in dicom_files(folder):
        with told_of(origin, path):
            header = read_header(path, pixels=False)
            name = object_name(header)
            if name is None:
                _check_image(header)
                files.append(_File(path, header))
        if name is not None:
            others[name] += 1
    names = ", ".join(f"{count} {name}" for name, count in sorted(others.items()))
    if not files:
        found = f"holds none ({names})" if others else "holds none"
        raise RefusedError(
            "A DICOM folder must directly hold the images of one series", found, "Name the folder of the series."
        )
    check_one_series([file.header for file in files])
    return files, (f"what is no image was left out ({names})",) if others else ()


def _check_image(header: "Dataset") -> None:
    name = object_name(header)
    if name is not None:
        step = "Name it as the mask." if name in ("RTSTRUCT", "SEG") else "Name an image."
        raise RefusedError("An image must be a DICOM image", f"is none ({name})", step)
    if "MOSAIC" in text(header, "ImageType"):
        raise RefusedError(
            "A file must hold one slice, or frames that tell where they lie",
            "is a mosaic of slices",
            "Convert it to NIfTI.",
        )


def _one_file(header: "Dataset") -> Volume:
    """A file of one frame as a 2D image, of several as a volume."""
    count = whole(header, "NumberOfFrames", 1)
    if count > 1:
        _check_frames_placed(header, count)
    stored = read_frames(header)
    kind = _kind(header, stored)
    stored, remarks = upright_greys(header, stored, kind)
    values = _values(stored, [header] * count, list(range(count)), kind)
    if count > 1:
        return _placed(values, [plane_of(header, frame) for frame in range(count)], header, kind, remarks)
    return Volume(values[0], None, _flat_spacing(header), kind, text(header, "PatientID") or None, remarks)


def _check_frames_placed(header: "Dataset", count: int) -> None:
    if not header.get("PerFrameFunctionalGroupsSequence"):
        raise RefusedError(
            "A file of several frames must tell where each lies to be a volume",
            f"has {count} frames without (a cine or time series)",
            "Save one frame per file, or name a volume.",
        )


def _series(files: Sequence[_File], origin: str) -> Volume:
    """The volume of several files with one slice each."""
    planes = []
    for file in files:
        with told_of(origin, file.path):
            if whole(file.header, "NumberOfFrames", 1) > 1:
                raise RefusedError(
                    "A series of several files has one slice in each", "has several", "Name this one file."
                )
            if _kind_of(file.header) == "other" and not file.header.get("ImagePositionPatient"):
                raise RefusedError(
                    "Several images in a folder must be slices of a volume",
                    "tells no place (ImagePositionPatient)",
                    "Name one file as the image.",
                )
            planes.append(plane_of(file.header))
    order, _, _ = stacked(planes)
    files, planes = [files[index] for index in order], [planes[index] for index in order]
    if len(files) * planes[0].size[0] * planes[0].size[1] > MAX_VOXELS:
        raise RefusedError(f"A volume has at most {MAX_VOXELS:,} voxels", "has more", "Crop it.")
    slices: list[np.ndarray] = []
    remarks: tuple[str, ...] = ()
    for file in files:
        with told_of(origin, file.path):
            header = read_header(file.path, pixels=True)
            stored = read_frames(header)
            if slices and stored.shape != slices[0].shape:
                raise RefusedError("All slices of a series must lie in one grid", "has another shape", REPLACE)
            stored, remarks = upright_greys(header, stored, _kind(header, stored))
            slices.append(stored)
    headers = [file.header for file in files]
    kind = _kind(headers[0], slices[0])
    stored = np.concatenate(slices)
    slices.clear()  # half the memory
    values = _values(stored, headers, [0] * len(files), kind)
    return _placed(values, planes, headers[0], kind, remarks)


def _kind(header: "Dataset", stored: np.ndarray) -> ChannelKind:
    """What the values are; a picture in colours, such as a fused view, is none of CT, PET and MR."""
    return _kind_of(header) if stored.shape[1] == 1 else "other"


def _kind_of(header: "Dataset") -> ChannelKind:
    return KINDS.get(code(header, "Modality"), "other")


def _values(
    stored: Shaped[np.ndarray, "frame channel height width"],
    headers: Sequence["Dataset"],
    frames: Sequence[int],
    kind: ChannelKind,
) -> Shaped[np.ndarray, "frame channel height width"]:
    """Stored values as Hounsfield units, SUV, or with their scale."""
    if stored.shape[1] != 1 or (kind in ("mr", "other") and headers[0].get("ModalityLUTSequence")):
        return rescaled(stored, [(1.0, 0.0)] * len(stored), "other")
    scales = [rescale_of(header, frame, kind) for header, frame in zip(headers, frames, strict=True)]
    if kind == "pet":
        factors = suv_factors(headers)
        scales = [(slope * factor, offset * factor) for (slope, offset), factor in zip(scales, factors, strict=True)]
    values = rescaled(stored, scales, kind)
    if values.dtype == np.float32 and not np.isfinite(values).all():
        raise RefusedError("Pixels must be finite numbers", "holds NaN or infinity", "Repair the file or leave it out.")
    return values


def _placed(
    values: Shaped[np.ndarray, "slice channel height width"],
    planes: Sequence[Plane],
    header: "Dataset",
    kind: ChannelKind,
    remarks: tuple[str, ...],
) -> Volume:
    """Slices in the order of `planes` as a volume in canonical orientation."""
    order, affine, more = stacked(planes)
    check_affine(affine)
    pixels, affine = canonical(np.moveaxis(values[order], 1, 0), affine)
    patient = text(header, "PatientID") or None
    return Volume(np.ascontiguousarray(pixels), affine, spacing_of(affine), kind, patient, (*remarks, *more))


def _flat_spacing(header: "Dataset") -> tuple[float, ...] | None:
    """Millimetres between rows and between columns; None where the file does not tell."""
    for keyword in SPACING_TAGS:
        spacing = numbers(header, keyword, 2)
        if spacing is not None and min(spacing) > 0:
            return spacing
    return None


def _with_remarks(volume: Volume, remarks: tuple[str, ...]) -> Volume:
    return replace(volume, remarks=(*volume.remarks, *remarks)) if remarks else volume
