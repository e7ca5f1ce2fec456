"""One image file to an array: PNG, JPEG, TIFF, BMP; 8 and 16 bit or floating point; grey and RGB."""

import logging
import math
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from archimed.data.readers.bounded import BoundedFile
from archimed.data.readers.png16 import HEADER_BYTES, is_deep_png, read_deep_png
from archimed.data.readers.voxels import check_finite, check_room, unreadable
from archimed.data.volume import Volume

if TYPE_CHECKING:
    from PIL import Image
    from tifffile import TiffPage

MAX_PIXELS = 150_000_000  # of one image: more is taken for a decompression bomb
MAX_SAMPLES = 4  # of one pixel
PLAIN, DEFLATED = 1, (8, 32946)  # TIFF's numbers of compressions
PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow knows others, of which some start a program
MODE_BYTES = {"I": 4, "F": 4}  # of one number in Pillow's modes; 1 in the others
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# what decoders of damaged files raise; nothing else in this module's calls does
DECODER_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError,
    ValueError, struct.error, zlib.error,
)  # fmt: skip


def decode(path: Path, origin: str) -> Volume:
    """Read one image, [channel, height, width], upright, as uint8, uint16 or float32.

    Raises:
        DataError: naming `origin` and the file, if it is not one complete image of finite pixels.
    """
    try:
        found = _decode_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else _decode_other(path)
    except DECODER_ERRORS as error:
        raise unreadable(origin, path, error) from error
    check_finite(found.pixels, origin, path)
    return found


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels, more than the {MAX_PIXELS:,} allowed")


def _decode_other(path: Path) -> Volume:
    from PIL import Image, ImageOps

    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
    if is_deep_png(head):
        width, height = struct.unpack(">II", head[16:24])
        _check_size(width, height)
        check_room(width * height * 2 * MAX_SAMPLES)
        return _plain(read_deep_png(path))
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            _check_size(*image.size)
            check_room(math.prod(image.size) * len(image.getbands()) * MODE_BYTES.get(image.mode[:1], 1))
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise ValueError("it holds several pictures; save one per file")
            image.load()
            return _from_pillow(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than the {MAX_PIXELS:,} pixels allowed") from error


def _from_pillow(image: "Image.Image") -> Volume:
    if image.mode in ("1", "L", "RGB", "F") or image.mode.startswith("I"):
        return _plain(np.asarray(image.convert("L") if image.mode == "1" else image))
    if image.mode in ("P", "PA"):
        colours = np.asarray(image.convert("RGB"))
        grey = (colours == colours[..., :1]).all()
        return _plain(colours[..., 0] if grey else colours)
    if image.mode in ("LA", "RGBA"):
        return _plain(np.asarray(image))
    remarks = (f"{image.mode} colours were converted to RGB",)
    return replace(_plain(np.asarray(image.convert("RGB"))), remarks=remarks)


def _plain(pixels: Shaped[np.ndarray, "height width *channel"]) -> Volume:
    """Channels first, no alpha, one of the three number types."""
    if pixels.ndim not in (2, 3) or (not np.issubdtype(pixels.dtype, np.number) and pixels.dtype != bool):
        raise ValueError(f"an array of shape {list(pixels.shape)} and type {pixels.dtype} is no grey or RGB image")
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    remarks: tuple[str, ...] = ()
    if pixels.shape[-1] in (2, 4):
        pixels, remarks = pixels[..., :-1], ("the alpha channel was dropped",)
    if pixels.shape[-1] not in (1, 3):
        raise ValueError(f"{pixels.shape[-1]} channels, where an image has 1 or 3")
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)
    return Volume(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), remarks=remarks)


def _decode_tiff(path: Path) -> Volume:
    import tifffile

    with _complaints_as_errors("tifffile"), BoundedFile(path) as content, tifffile.TiffFile(content) as file:
        if len(file.pages) != 1:
            raise ValueError(f"it holds {len(file.pages)} pictures; save one per file")
        page = file.pages[0].aspage()
        _check_size(page.imagewidth, page.imagelength)
        if page.imagedepth != 1 or page.samplesperpixel > MAX_SAMPLES:
            raise ValueError(f"{page.imagedepth} layers of {page.samplesperpixel} samples, where an image has 1 to 4")
        if page.compression not in (PLAIN, *DEFLATED):
            if page.bitspersample != 8:
                raise ValueError("its compression is read for 8 bits alone; save it uncompressed or with deflate")
            return _decode_other(path)  # Pillow brings decoders for 8-bit LZW and JPEG
        check_room(page.nbytes)
        if len(page.dataoffsets) != math.prod(page.chunked):  # tifffile goes on over millions that are not there
            raise ValueError(f"it has {len(page.dataoffsets)} of the {math.prod(page.chunked)} pieces it tells of")
        if page.compression in DEFLATED:
            _check_unpacked_size(page)
        pixels = page.asarray()
        return _plain(_upright(_colours(pixels, page), page))


def _check_unpacked_size(page: "TiffPage") -> None:
    """ValueError if a piece of a deflated page unpacks to more than its size, which tifffile would take memory for."""
    most = math.prod(page.chunks) * 8  # bytes of the widest number
    check_room(most)
    file = page.parent.filehandle
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        unpacker = zlib.decompressobj()
        if len(unpacker.decompress(file.read(count), most + 1)) > most:
            raise ValueError("a piece of it unpacks to more pixels than it has")


class _Complaints(logging.Handler):
    """The errors that this thread logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.owner = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.owner:
            self.messages.append(record.getMessage())


@contextmanager
def _complaints_as_errors(library: str) -> Iterator[None]:
    """ValueError where a library logs an error and goes on, since it then guesses at the pixels."""
    logger, complaints = logging.getLogger(library), _Complaints()
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
    if complaints.messages:
        raise ValueError(complaints.messages[0])


def _colours(pixels: np.ndarray, page: "TiffPage") -> np.ndarray:
    """Rows, columns and channels of a page; palettes looked up, inverted greys turned round."""
    if page.axes.startswith("S"):
        pixels = np.moveaxis(pixels, 0, -1)
    photometric = getattr(page.photometric, "name", "")
    if photometric == "PALETTE" and page.colormap is not None:
        colours = (page.colormap[:, pixels] >> 8).astype(np.uint8)
        return np.asarray(np.moveaxis(colours, 0, -1))
    if photometric == "MINISWHITE" and pixels.dtype in (bool, np.uint8, np.uint16):
        return np.asarray(np.bitwise_not(pixels))
    return pixels


def _upright(pixels: np.ndarray, page: "TiffPage") -> np.ndarray:
    tag = page.tags.get("Orientation")
    code = int(tag.value) if tag is not None else 1
    if code in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if code in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if code in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
