"""What the readers of volume files share: exactly so many bytes, number types kept, axes put in order."""

import bz2
import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
from jaxtyping import Float, Shaped

from archimed.data.preparation.resampling import MAX_VOXELS, canonical, spacing_of
from archimed.data.volume import Volume
from archimed.errors import DataError

Packing = Literal["raw", "gzip", "zlib", "bzip2"]
RATIO = {"raw": 1, "gzip": 1100, "zlib": 1100, "bzip2": 50_000}  # of unpacked to packed size, at the very most
MAX_CHANNELS = 8
PIECE = 2**20  # bytes handled at a time
PACKED_PIECE = 2**14  # bytes unpacked at a time: what is left over is copied
NO_PLACE = "the file does not tell where the image lies in the patient"


@dataclass(frozen=True)
class Block:
    """Where in a file the voxels are.

    Attributes:
        path: the file.
        start: byte at which they, or their compressed form, begin; before the end of the file by their size if -1.
        packing: how they are compressed.
        skip: bytes to leave out after unpacking.
    """

    path: Path
    start: int
    packing: Packing
    skip: int = 0


def unreadable(origin: str, path: Path, error: Exception) -> DataError:
    """The one line for a file that its reader cannot make sense of."""
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return DataError(
        f"Every image must be readable; {origin}, {path}, is not ({reason}). Replace the file or leave it out."
    )


def check_finite(pixels: Shaped[np.ndarray, "..."], origin: str, path: Path) -> None:
    """DataError if any value is NaN or infinite."""
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(
            f"Pixels must be finite numbers; {origin}, {path}, holds NaN or infinity. Repair the file or leave it out."
        )


def read_values(block: Block, sizes: Sequence[int], dtype: np.dtype) -> Shaped[np.ndarray, "..."]:
    """Numbers of the given sizes, slowest axis first; ValueError unless the file holds just that many.

    The sizes are held against those of the file before memory is taken, and no more than they tell is unpacked.
    """
    if not sizes or min(sizes) < 1 or math.prod(sizes) > MAX_VOXELS:
        raise ValueError(f"sizes {list(sizes)}, where a volume has 1 to 2^30 voxels")
    wanted, held = math.prod(sizes) * dtype.itemsize, block.path.stat().st_size - max(block.start, 0)
    if (wanted + block.skip) > held * RATIO[block.packing]:
        raise ValueError(f"its header tells of {wanted:,} bytes of voxels, more than the file can hold")
    check_room(wanted)
    start = block.start if block.start >= 0 else held - wanted
    values = np.empty(wanted, np.uint8)
    with block.path.open("rb") as file:
        file.seek(start)
        with _unpacked(file, block.packing) as stream:
            if _skip(stream, block.skip) < block.skip or _fill(stream, values) < wanted:
                raise ValueError(f"it ends before the {wanted:,} bytes of voxels that its header tells of")
            if stream.read(1):  # also where gzip compares its checksum
                raise ValueError(f"it holds more than the {wanted:,} bytes of voxels that its header tells of")
    return values.view(dtype).reshape(tuple(sizes))


def check_room(wanted: int) -> None:
    """ValueError if so many bytes do not fit into half of the free memory, where they are copied at least once."""
    import psutil

    room = psutil.virtual_memory().available // 2
    if wanted > room:
        raise ValueError(f"it takes {wanted:,} bytes, more than half of the memory that is free, {room:,}")


def _unpacked(file: IO[bytes], packing: Packing) -> IO[bytes]:
    if packing == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if packing == "bzip2":
        return cast(IO[bytes], bz2.BZ2File(file))
    return cast(IO[bytes], _Zlib(file)) if packing == "zlib" else file


class _Zlib:
    """The little of a file that `read_values` needs, over a zlib stream."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.unpacker = file, zlib.decompressobj()

    def __enter__(self) -> "_Zlib":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, count: int) -> bytes:
        while not self.unpacker.eof:
            packed = self.unpacker.unconsumed_tail or self.file.read(PACKED_PIECE)
            if not packed:
                raise EOFError("its compressed voxels are cut short")
            if found := self.unpacker.decompress(packed, count):
                return found
        return self.unpacker.unused_data[:count] or self.file.read(count)


def _fill(stream: IO[bytes], target: Shaped[np.ndarray, " byte"]) -> int:
    """Bytes written to the target: all of it unless the stream ends before."""
    done = 0
    while done < len(target) and (piece := stream.read(min(PIECE, len(target) - done))):
        target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    return done


def _skip(stream: IO[bytes], count: int) -> int:
    """Bytes read and forgotten: all of them unless the stream ends before."""
    done = 0
    while done < count and (piece := stream.read(min(PIECE, count - done))):
        done += len(piece)
    return done


def kept(values: Shaped[np.ndarray, "*axes"]) -> Shaped[np.ndarray, "*axes"]:
    """In the machine's byte order as uint8, int16 or uint16 where that is exact, else as float32."""
    if values.dtype in (np.uint8, np.int16, np.uint16):
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        for dtype in (np.int16, np.uint16):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return values.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(np.float32)


def placed(
    pixels: Shaped[np.ndarray, "channel depth height width"],
    affine: Float[np.ndarray, "4 4"] | None,
    spacing: tuple[float, ...] | None,
    flat: bool,
    remarks: tuple[str, ...],
) -> Volume:
    """A volume in canonical orientation from pixels in the order of the file, its slowest axis first.

    Args:
        pixels: one slice if `flat`.
        affine: from indices in that order to millimetres in RAS+; None if the file does not tell.
        spacing: of the three axes, where there is no affine.
        flat: make it a 2D image, by dropping the first axis; upright, the head or the front on top.
        remarks: to hand on; that the place is unknown is added here.
    """
    if affine is None:
        pixels, spacing = (pixels[:, 0], spacing and spacing[1:]) if flat else (pixels, spacing)
        return Volume(np.ascontiguousarray(pixels), spacing=spacing, remarks=(*remarks, NO_PLACE))
    moved, place = canonical(pixels, affine)
    spacing = spacing_of(place)
    if not flat:
        return Volume(np.ascontiguousarray(moved), place, spacing, remarks=remarks)
    across = int(np.argmax(np.abs(affine[:3, 0] @ (place[:3, :3] / spacing))))
    image = np.take(moved, 0, across + 1)
    if across != 0:
        image = image[:, ::-1]  # depth comes first and runs towards the head
    rest = (spacing[:across] + spacing[across + 1 :]) if spacing else None
    return Volume(np.ascontiguousarray(image), spacing=rest, remarks=remarks)
