"""MetaImage (.mha, .mhd) and NRRD (.nrrd, .nhdr) files: volumes, 2D images, several channels.

Their headers are short text and their voxels one block. They are read here and not by ITK, which hands over wrong
voxels without an error where a compressed MetaImage is damaged.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from archimed.data.readers.decoding import DECODER_ERRORS
from archimed.data.readers.voxels import (
    MAX_CHANNELS,
    Block,
    Packing,
    check_finite,
    kept,
    placed,
    read_values,
    unreadable,
)
from archimed.data.volume import Volume

MAX_HEADER = 2**20  # bytes
MET_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
NRRD_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2", "int16": "i2",
    "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8", "long long int": "i8",
    "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8", "ulonglong": "u8",
    "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8", "float": "f4",
    "double": "f8",
}  # fmt: skip
NRRD_FIELDS = {
    "dimension", "type", "blocksize", "encoding", "endian", "content", "min", "max", "oldmin", "oldmax", "datafile",
    "lineskip", "byteskip", "number", "sampleunits", "sizes", "spacings", "thicknesses", "axismins", "axismaxs",
    "centers", "centerings", "labels", "units", "kinds", "space", "spacedimension", "spaceunits", "spaceorigin",
    "spacedirections", "measurementframe",
}  # fmt: skip
NRRD_PACKINGS: dict[str, Packing] = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
NRRD_SPACE = {"domain", "space", "???", "none", ""}  # kinds that an axis of space has; others are channels
TO_RAS = {  # signs of x, y, z
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1), "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1), "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
}  # fmt: skip


@dataclass(frozen=True)
class _Header:
    """What a header tells; axes in the order of the file, the fastest first.

    Attributes:
        sizes: number of voxels along each axis.
        channels: the number of the axis of channels, if there is one.
        dtype: of the voxels, with its byte order.
        steps: [axis of space, xyz] millimetres in RAS+ from voxel to voxel; None if the file does not tell.
        corner: millimetres in RAS+ of the first voxel.
        spacing: of the axes of space, where there are no steps.
        block: where the voxels are.
    """

    sizes: tuple[int, ...]
    channels: int | None
    dtype: np.dtype
    steps: Float[np.ndarray, "axis 3"] | None
    corner: Float[np.ndarray, " 3"]
    spacing: tuple[float, ...] | None
    block: Block


def read_itk(path: Path, origin: str) -> Volume:
    """Read one file; DataError, naming `origin` and the file, if it is not one complete image of finite pixels."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_HEADER)
        found = _volume(_nrrd(head, path) if head.startswith(b"NRRD") else _metaimage(head, path))
    except DECODER_ERRORS as error:
        raise unreadable(origin, path, error) from error
    check_finite(found.pixels, origin, path)
    return found


def _volume(header: _Header) -> Volume:
    pixels = kept(read_values(header.block, header.sizes[::-1], header.dtype))
    last = pixels.ndim - 1
    pixels = pixels[None] if header.channels is None else np.moveaxis(pixels, last - header.channels, 0)
    axes = pixels.ndim - 1
    if axes not in (2, 3) or len(pixels) > MAX_CHANNELS:
        raise ValueError(
            f"sizes {list(header.sizes)}, where an image has two or three axes and {MAX_CHANNELS} channels"
        )
    flat = axes == 2 or pixels.shape[1] == 1
    spacing = header.spacing and header.spacing[::-1]
    if axes == 2:
        pixels, spacing = pixels[:, None], spacing and (1.0, *spacing)
    if header.steps is None:
        return placed(pixels, None, spacing, flat, ())
    affine = np.eye(4)
    affine[:3, 3] = header.corner
    affine[:3, 3 - axes : 3] = header.steps[::-1].T
    if axes == 2:
        affine[:3, 0] = np.cross(header.steps[0], header.steps[1]) / max(np.linalg.norm(header.steps[0]), 1e-12)
    return placed(pixels, affine, None, flat, ())


def _check_sizes(sizes: Sequence[int], axes: int) -> None:
    if len(sizes) != axes or not 2 <= axes <= 5 or min(sizes) < 1:
        raise ValueError(f"sizes {list(sizes)} for {axes} axes")


def _numbers(text: str, count: int | None = None) -> list[float]:
    numbers = [float(word) for word in text.split()]
    if (count is not None and len(numbers) != count) or not np.isfinite(numbers).all():
        raise ValueError(f"{text[:40]!r}, where {count or 'some'} finite numbers are wanted")
    return numbers


def _beside(path: Path, name: str) -> Path:
    """A data file in the folder of the header or below."""
    if Path(name).is_absolute() or ".." in Path(name).parts or "%" in name or not name:
        raise ValueError(f"its voxels are in {name[:80]!r}, where one file in the same folder is wanted")
    return path.parent / name


def _metaimage(head: bytes, path: Path) -> _Header:
    fields, start = _metaimage_fields(head)
    axes = int(fields.get("NDims", "0"))
    sizes = [int(word) for word in fields.get("DimSize", "").split()]
    _check_sizes(sizes, axes)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    name = fields["ElementDataFile"]
    if name.upper() == "LIST" or fields.get("BinaryData", "True").lower() != "true":
        raise ValueError("its voxels are text or in a list of files; save them as binary in one file")
    if fields.get("ElementType") not in MET_TYPES:
        raise ValueError(f"the number type {fields.get('ElementType', 'nothing')[:40]!r} is none of an image")
    order = _first(fields, "ElementByteOrderMSB", "BinaryDataByteOrderMSB") or "False"
    dtype = np.dtype(MET_TYPES[fields["ElementType"]]).newbyteorder(">" if order.lower() == "true" else "<")
    packing: Packing = "zlib" if fields.get("CompressedData", "False").lower() == "true" else "raw"
    local = name.upper() == "LOCAL"
    begin = start if local else max(int(fields.get("HeaderSize", "0")), -1)
    block = Block(path if local else _beside(path, name), begin, packing)
    spacing = _numbers(_first(fields, "ElementSpacing", "ElementSize") or "1 " * axes, axes)
    turned = _first(fields, "TransformMatrix", "Rotation", "Orientation")
    matrix = np.eye(axes) if turned is None else np.array(_numbers(turned, axes**2)).reshape(axes, axes)
    corner = _numbers(_first(fields, "Offset", "Origin", "Position") or "0 " * axes, axes)
    return _with_channels(sizes, channels, dtype, matrix * np.array(spacing)[:, None], np.array(corner), block)


def _metaimage_fields(head: bytes) -> tuple[dict[str, str], int]:
    """Fields by name and the byte after the last, which is ElementDataFile."""
    fields, start = {}, 0
    while "ElementDataFile" not in fields:
        end = head.find(b"\n", start)
        name, equals, value = head[start:end].decode("latin-1").partition("=")
        if end < 0 or not equals or not name.isprintable():
            raise ValueError("it does not begin with the header of a MetaImage")
        if name.strip() in fields:
            raise ValueError(f"{name.strip()[:40]} is there twice")
        fields[name.strip()] = value.strip()
        start = end + 1
    return fields, start


def _first(fields: dict[str, str], *names: str) -> str | None:
    return next((fields[name] for name in names if name in fields), None)


def _with_channels(
    sizes: list[int],
    channels: int,
    dtype: np.dtype,
    steps: Float[np.ndarray, "axis dimension"],
    corner: Float[np.ndarray, " dimension"],
    block: Block,
) -> _Header:
    """Axes beyond the third are channels, if they are no more than one and the voxels have one number each."""
    axes = min(len(sizes), 3)
    others = [size for size in sizes[3:] if size > 1]
    if len(others) + (channels != 1) > 1 or channels < 1:
        raise ValueError(f"sizes {sizes} and {channels} numbers per voxel; there may be one axis of channels")
    sizes = [*([channels] if channels > 1 else []), *sizes[:axes], *others]
    placed_steps, placed_corner = np.zeros((axes, 3)), np.zeros(3)
    placed_steps[:, :axes], placed_corner[:axes] = steps[:axes, :axes], corner[:axes]
    signs = np.array(TO_RAS["lps"])
    axis = 0 if channels > 1 else axes if others else None
    return _Header(tuple(sizes), axis, dtype, placed_steps * signs, placed_corner * signs, None, block)


def _nrrd(head: bytes, path: Path) -> _Header:
    fields, start = _nrrd_fields(head)
    axes = int(fields.get("dimension", "0"))
    sizes = [int(word) for word in fields.get("sizes", "").split()]
    _check_sizes(sizes, axes)
    kind, endian = fields.get("type", "").lower(), fields.get("endian", "").lower()
    if kind not in NRRD_TYPES:
        raise ValueError(f"the number type {kind[:40]!r} is none of an image")
    dtype = np.dtype(NRRD_TYPES[kind])
    if dtype.itemsize > 1 and endian not in ("little", "big"):
        raise ValueError("its byte order is not told")
    dtype = dtype.newbyteorder(">" if endian == "big" else "<")
    block = _nrrd_block(fields, path, start)
    kinds = fields.get("kinds", "").lower().split() or [""] * axes
    vectors = re.findall(r"none|\([^()]*\)", fields.get("spacedirections", "")) or ["()"] * axes
    if len(kinds) != axes or len(vectors) != axes:
        raise ValueError(f"{len(kinds)} kinds and {len(vectors)} space directions for {axes} axes")
    named = fields.get("space") or ("lps" if "spacedimension" in fields else "")  # ITK leaves the name out in 2D
    signs = TO_RAS.get(named.lower())
    others = [axis for axis in range(axes) if vectors[axis] == "none" or kinds[axis] not in NRRD_SPACE]
    others = others or list(range(3, axes))
    space = [axis for axis in range(axes) if axis not in others]
    if len([axis for axis in others if sizes[axis] > 1]) > 1:
        raise ValueError(f"sizes {sizes} of kinds {kinds}; there may be one axis of channels")
    order = [axis for axis in range(axes) if axis in space or sizes[axis] > 1]
    channels = next((order.index(axis) for axis in others if axis in order), None)
    found = tuple(sizes[axis] for axis in order)
    if signs is None or "spacedirections" not in fields:
        return _Header(found, channels, dtype, None, np.zeros(3), _nrrd_spacing(fields, vectors, space), block)
    steps = np.array([_vector(vectors[axis]) for axis in space]) * signs
    corner = _vector(fields.get("spaceorigin", "(0,0,0)")) * signs
    return _Header(found, channels, dtype, steps, corner, None, block)


def _nrrd_fields(head: bytes) -> tuple[dict[str, str], int]:
    """Fields by name in small letters without spaces, and the byte after the empty line that ends them."""
    fields: dict[str, str] = {}
    start = head.find(b"\n") + 1
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n", head[:start]):
        raise ValueError("it does not begin like an NRRD file")
    while start < len(head):
        end = head.find(b"\n", start)
        end = len(head) if end < 0 else end
        line, start = head[start:end].decode("utf-8", "replace").strip(), end + 1
        if not line:
            break
        name, colon, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):
            continue
        name = name.lower().replace(" ", "")
        if not colon or name not in NRRD_FIELDS or name in fields:
            raise ValueError(f"its header has the line {line[:40]!r}")
        fields[name] = value.strip()
    return fields, start


def _nrrd_block(fields: dict[str, str], path: Path, start: int) -> Block:
    packing = NRRD_PACKINGS.get(fields.get("encoding", "").lower())
    lines, skip = int(fields.get("lineskip", "0")), int(fields.get("byteskip", "0"))
    if packing is None or lines != 0 or skip < -1 or (skip == -1 and packing != "raw"):
        raise ValueError("its voxels are not raw, gzip or bzip2 without lines before; save them so")
    if "datafile" in fields:
        path, start = _beside(path, fields["datafile"]), 0
    if packing == "raw":
        return Block(path, -1 if skip == -1 else start + skip, packing)
    return Block(path, start, packing, skip)


def _nrrd_spacing(fields: dict[str, str], vectors: list[str], space: list[int]) -> tuple[float, ...] | None:
    if "spacedirections" in fields:
        return tuple(float(np.linalg.norm(_vector(vectors[axis]))) for axis in space)
    words = fields.get("spacings", "").lower().split()
    steps = [abs(float(words[axis])) for axis in space] if len(words) > max(space) else []
    return tuple(steps) if steps and all(0 < step < np.inf for step in steps) else None


def _vector(text: str) -> Float[np.ndarray, " 3"]:
    numbers = _numbers(text.strip("()").replace(",", " "))
    if not 2 <= len(numbers) <= 5:
        raise ValueError(f"{text[:40]!r}, where a vector is wanted")
    return np.array([*numbers, 0.0][:3])
