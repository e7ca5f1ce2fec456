"""Compressed DICOM frames: whole and of the size that the header tells, before a decoder guesses what is missing."""

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from archimed.data.dicom.header import REPLACE, RefusedError, dicom_errors, whole

if TYPE_CHECKING:
    from pydicom import Dataset

WHOLE_PIXELS = "Pixel data must be whole"
END_OF_CODESTREAM = b"\xff\xd9"  # closes JPEG, JPEG-LS and JPEG 2000 alike, and is nowhere within them
PADDING_BYTES = 16  # within which it must come; encoders pad frames with 0 or 255
START_OF_JPEG_2000 = b"\xff\x4f\xff\x51"
JP2_FILE = b"\0\0\0\x0cjP  "  # a codestream within a file, which some write against the standard
START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # F7: JPEG-LS
START_OF_SCAN, HUFFMAN_TABLES, QUANTISATION_TABLES, ADOBE = 0xDA, 0xC4, 0xDB, 0xEE
OTHER_SEGMENTS = {*range(0xE0, 0xF0), 0xFE, 0xDD, 0xF8}  # of applications, comments, restarts, JPEG-LS parameters
Shape = tuple[int, int, int, int]  # frames, height, width, samples per pixel
Coded = tuple[int, int, int, int]  # bits per sample, height, width, samples per pixel


def _encapsulated(header: "Dataset", frames: int) -> list[bytes]:
    from pydicom.encaps import generate_frames

    if not header["PixelData"].is_undefined_length:
        raise RefusedError("Compressed pixel data must be in fragments", "has none", REPLACE)
    try:
        found = list(generate_frames(header.PixelData, number_of_frames=frames))
    except dicom_errors() as error:
        raise RefusedError(WHOLE_PIXELS, "has damaged fragments (cut off?)", REPLACE) from error
    if len(found) != frames:
        raise RefusedError(
            WHOLE_PIXELS, f"holds {len(found)} compressed frames where its header tells of {frames}", REPLACE
        )
    return found


def check_codestreams(header: "Dataset", shape: Shape, syntax: str) -> None:
    """RefusedError unless every frame of a JPEG family has its end and the size that the header tells.

    Decoders fill what is missing with guesses, and some take the header's word for the size.
    """
    found = _encapsulated(header, shape[0])
    if "JPEG" not in syntax:
        return
    for count, frame in enumerate(found, start=1):
        if END_OF_CODESTREAM not in frame[-PADDING_BYTES:]:
            raise RefusedError(WHOLE_PIXELS, f"has a compressed frame, {count}, that ends too early", REPLACE)
        coded = _coded_shape(frame)
        if coded is None or coded[0] > max(8, whole(header, "BitsAllocated")):
            raise RefusedError(WHOLE_PIXELS, f"has a compressed frame, {count}, with a damaged header", REPLACE)
        if coded[1:] != shape[1:]:
            raise RefusedError(WHOLE_PIXELS, f"has a compressed frame, {count}, of another size", REPLACE)


def _coded_shape(frame: bytes) -> Coded | None:
    """As a codestream's header tells; None where it is damaged."""
    try:
        start = frame.find(START_OF_JPEG_2000) if frame.startswith(JP2_FILE) else 0
        if frame.startswith(START_OF_JPEG_2000, max(start, 0)):
            right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
            samples, bits = struct.unpack_from(">HB", frame, start + 40)
            return (bits & 0x7F) + 1, bottom - top, right - left, samples
        return _jpeg_header(frame)
    except (IndexError, struct.error):
        return None


def _jpeg_header(frame: bytes) -> Coded | None:
    """Every segment of a JPEG header walked, since GDCM trusts them and ends the process on impossible ones."""
    coded: Coded | None = None
    place = 2
    while frame[:2] == b"\xff\xd8" and frame[place] == 0xFF:
        code = frame[place + 1]
        if code == 0xFF:  # fill
            place += 1
            continue
        (length,) = struct.unpack_from(">H", frame, place + 2)
        body = frame[place + 4 : place + 2 + length]
        place += 2 + length
        if code == START_OF_SCAN:
            return coded if len(body) == 4 + 2 * body[0] else None
        if len(body) != length - 2 or not _sound(code, body) or (coded and code in START_OF_FRAME):
            return None
        if code in START_OF_FRAME:
            coded = struct.unpack_from(">BHHB", body)
    return None


def _sound(code: int, body: bytes) -> bool:
    """Whether one segment holds what the standard (ITU-T T.81, Annex B) lets it hold."""
    if code in START_OF_FRAME:
        factors = body[7::3]
        sizes = body[0] > 1 and len(body) == 6 + 3 * body[5]
        return sizes and all(1 <= factor >> 4 <= 4 and 1 <= factor & 15 <= 4 for factor in factors)
    if code == HUFFMAN_TABLES:
        while body and body[0] & 0xEF <= 3 and len(body) >= 17 + sum(body[1:17]):
            body = body[17 + sum(body[1:17]) :]
        return not body
    if code == QUANTISATION_TABLES:
        while body and body[0] & 0xEF <= 3 and len(body) >= 1 + 64 * (1 + (body[0] >> 4)):
            body = body[1 + 64 * (1 + (body[0] >> 4)) :]
        return not body
    if code == ADOBE and body.startswith(b"Adobe"):
        return len(body) < 12 or body[11] <= 1  # 2 is for four colours
    return code in OTHER_SEGMENTS


def frame_by_frame(header: "Dataset", shape: Shape, bits: int, *, deflated: bool) -> Shaped[np.ndarray, " value"]:
    """Frames deflated one by one, and RLE of single bits, which pydicom does not decode."""
    from pydicom.pixels.decoders.rle import _rle_decode_segment, _rle_parse_header

    frames, height, width, samples = shape
    signed = whole(header, "PixelRepresentation", 0)
    length = (height * width * samples * bits + 7) // 8
    if samples > 1 and whole(header, "PlanarConfiguration", 0):
        raise RefusedError("Frames deflated one by one must have colours by pixel", "has planes", REPLACE)
    found = []
    for frame in _encapsulated(header, frames):
        if deflated:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, length + 2)
        else:
            data = bytes(_rle_decode_segment(frame[_rle_parse_header(frame[:64])[0] :]))
        if not length <= len(data) <= length + 1:
            raise RefusedError(WHOLE_PIXELS, "has a compressed frame of another size", REPLACE)
        if bits == 1:
            found.append(np.unpackbits(np.frombuffer(data, np.uint8), count=height * width, bitorder="little"))
        else:
            found.append(np.frombuffer(data[:length], f"<{'i' if signed else 'u'}{bits // 8}"))
    return np.concatenate(found)


def deep_jpeg(header: "Dataset", shape: Shape) -> Shaped[np.ndarray, " value"]:
    """Grey JPEG of 12 bits, which GDCM decodes though pydicom does not ask it to."""
    import gdcm

    frames, height, width, samples = shape
    stored = whole(header, "BitsStored")
    if samples != 1 or whole(header, "PixelRepresentation", 0) or whole(header, "BitsAllocated") != 16:
        raise ValueError("no grey JPEG of 12 bits")
    found = []
    for frame in _encapsulated(header, frames):
        fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
        fragment.SetByteStringValue(frame)
        fragments.AddFragment(fragment)
        element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
        element.SetValue(fragments.__ref__())
        image = gdcm.Image()
        image.SetNumberOfDimensions(2)
        image.SetDimensions((width, height, 1))
        image.SetDataElement(element)
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
        image.SetPixelFormat(gdcm.PixelFormat(1, 16, stored, stored - 1, 0))
        found.append(np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), "<u2"))
    return np.concatenate(found)
