"""One DICOM file's pixel data as stored or as colours, and stored values as Hounsfield units or what else they mean."""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Shaped

from archimed.data.decoding import MAX_PIXELS
from archimed.data.dicom_header import (
    REPAIR,
    REPLACE,
    RefusedError,
    dicom_errors,
    functional_group,
    missing,
    number,
    text,
    whole,
)
from archimed.data.resampling import MAX_VOXELS
from archimed.data.volume import ChannelKind

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
END_OF_CODESTREAM = b"\xff\xd9"  # closes JPEG, JPEG-LS and JPEG 2000 alike, and is nowhere within them
PADDING_BYTES = 16  # within which it must come; encoders pad frames with 0 or 255
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_WHOLE_PIXELS = "Pixel data must be whole"


def read_frames(header: "Dataset") -> Shaped[np.ndarray, "frame channel height width"]:
    """Stored grey values, or colours as RGB; RefusedError or one of the `dicom_errors` if they are not whole."""
    keyword = _pixel_keyword(header)
    frames, height, width, samples = _shape(header)
    photometric = text(header, "PhotometricInterpretation")
    if (photometric in GREYS or photometric == "PALETTE COLOR") != (samples == 1) or (
        samples == 3 and photometric not in COLOURS
    ):
        raise RefusedError(
            "PhotometricInterpretation must be a grey, palette, RGB or YBR one and agree with SamplesPerPixel",
            "has another",
            REPLACE,
        )
    stored = _decode(header, keyword, frames)
    if stored.size != frames * height * width * samples:
        raise RefusedError(_WHOLE_PIXELS, "decodes to another size than its header tells", REPLACE)
    stored = stored.reshape(frames, height, width, samples)
    if photometric == "PALETTE COLOR":
        stored = _looked_up(header, stored[..., 0])
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return np.ascontiguousarray(np.moveaxis(stored, -1, 1))


def bits_allocated(header: "Dataset") -> int:
    """Bits of one stored sample."""
    return FLOAT_BITS.get(_pixel_keyword(header)) or whole(header, "BitsAllocated")


def _pixel_keyword(header: "Dataset") -> str:
    for keyword in ("PixelData", *FLOAT_BITS):
        if header.get(keyword):
            return keyword
    raise RefusedError("An image file must hold pixel data", "holds none (cut off?)", REPLACE)


def _shape(header: "Dataset") -> tuple[int, int, int, int]:
    """Frames, height, width and samples per pixel, none of them absurd."""
    frames = whole(header, "NumberOfFrames", 1)
    height, width, samples = whole(header, "Rows"), whole(header, "Columns"), whole(header, "SamplesPerPixel", 1)
    if samples not in (1, 3):
        raise RefusedError("An image has 1 or 3 samples per pixel", f"has {samples}", REPLACE)
    if not (0 < height * width <= MAX_PIXELS and 0 < frames * height * width * samples <= MAX_VOXELS):
        raise RefusedError(
            f"An image has at most {MAX_PIXELS:,} pixels and a volume {MAX_VOXELS:,} voxels",
            f"tells of {frames} x {height} x {width}",
            REPLACE,
        )
    return frames, height, width, samples


def _decode(header: "Dataset", keyword: str, frames: int) -> np.ndarray:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000TransferSyntaxes, RLELossless

    syntax = _transfer_syntax(header)
    _check_bits(header, keyword)
    if syntax == DEFLATED_FRAMES or (syntax == RLELossless and bits_allocated(header) == 1):
        return _frame_by_frame(header, frames, syntax)
    if syntax.is_encapsulated:
        _check_fragments(header, frames, syntax.name)
    else:
        _check_length(header, keyword)
    try:
        plugin = "pylibjpeg" if syntax in JPEG2000TransferSyntaxes else ""
        pixels, _ = get_decoder(syntax).as_array(header, decoding_plugin=plugin)
    except dicom_errors() as error:
        raise RefusedError("Pixel data must be decodable", f"is not ({syntax.name})", REPLACE) from error
    return np.asarray(pixels)


def _transfer_syntax(header: "Dataset") -> "UID":
    """As the file meta information tells; where that is missing, as the tags were found to be written."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    meta = getattr(header, "file_meta", None)
    if meta is not None and meta.get("TransferSyntaxUID"):
        syntax = UID(meta.TransferSyntaxUID)
        if not syntax.is_transfer_syntax and syntax != DEFLATED_FRAMES:
            raise RefusedError("TransferSyntaxUID must be one of the standard", "has another", REPLACE)
        return syntax
    if "PixelData" in header and header["PixelData"].is_undefined_length:
        raise missing("TransferSyntaxUID", "A compressed image")
    implicit, little = header.original_encoding
    native = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    header.file_meta = FileMetaDataset() if meta is None else meta
    header.file_meta.TransferSyntaxUID = native if little else ExplicitVRBigEndian
    return UID(header.file_meta.TransferSyntaxUID)


def _check_bits(header: "Dataset", keyword: str) -> None:
    if keyword in FLOAT_BITS:
        return
    allocated, stored = whole(header, "BitsAllocated"), whole(header, "BitsStored")
    if allocated not in (1, 8, 16, 32) or not 0 < stored <= allocated:
        raise RefusedError(
            "BitsAllocated must be 1, 8, 16 or 32 and hold BitsStored", f"has {allocated} and {stored}", REPLACE
        )
    if whole(header, "HighBit", stored - 1) != stored - 1:
        raise RefusedError("HighBit must be BitsStored - 1", "has another", REPLACE)
    if whole(header, "PixelRepresentation", 0) not in (0, 1):
        raise RefusedError("PixelRepresentation must be 0 or 1", "has another", REPLACE)


def _check_length(header: "Dataset", keyword: str) -> None:
    """Uncompressed pixel data have the bytes that the header tells of; less than a row or column may pad them."""
    frames, height, width, samples = _shape(header)
    bits = bits_allocated(header)
    subsampled = text(header, "PhotometricInterpretation") == "YBR_FULL_422"
    expected = (frames * height * width * (2 if subsampled else samples) * bits + 7) // 8
    length = len(header[keyword].value)
    padding = max(2, min(height, width) * samples * bits // 8)
    if not expected <= length < expected + padding:
        raise RefusedError(_WHOLE_PIXELS, f"holds {length:,} bytes where its header tells of {expected:,}", REPLACE)


def _encapsulated(header: "Dataset", frames: int) -> list[bytes]:
    from pydicom.encaps import generate_frames

    if not header["PixelData"].is_undefined_length:
        raise RefusedError("Compressed pixel data must be in fragments", "has none", REPLACE)
    try:
        found = list(generate_frames(header.PixelData, number_of_frames=frames))
    except dicom_errors() as error:
        raise RefusedError(_WHOLE_PIXELS, "has damaged fragments (cut off?)", REPLACE) from error
    if len(found) != frames:
        raise RefusedError(
            _WHOLE_PIXELS, f"holds {len(found)} compressed frames where its header tells of {frames}", REPLACE
        )
    return found


def _check_fragments(header: "Dataset", frames: int, syntax: str) -> None:
    """Decoders fill what is missing of a cut frame with guesses, so look for its end first."""
    found = _encapsulated(header, frames)
    if "JPEG" not in syntax:
        return
    for number_, frame in enumerate(found, start=1):
        if END_OF_CODESTREAM not in frame[-PADDING_BYTES:]:
            raise RefusedError(_WHOLE_PIXELS, f"has a compressed frame, {number_}, that ends too early", REPLACE)


def _frame_by_frame(header: "Dataset", frames: int, syntax: str) -> Shaped[np.ndarray, " value"]:
    """Frames deflated one by one, and RLE of single bits, which pydicom does not decode."""
    from pydicom.pixels.decoders.rle import _rle_decode_segment, _rle_parse_header

    _, height, width, samples = _shape(header)
    bits, signed = bits_allocated(header), whole(header, "PixelRepresentation", 0)
    length = (height * width * samples * bits + 7) // 8
    if samples > 1 and whole(header, "PlanarConfiguration", 0):
        raise RefusedError("Frames deflated one by one must have colours by pixel", "has planes", REPLACE)
    found = []
    for frame in _encapsulated(header, frames):
        if syntax == DEFLATED_FRAMES:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(frame, length + 2)
        else:
            data = bytes(_rle_decode_segment(frame[_rle_parse_header(frame[:64])[0] :]))
        if not length <= len(data) <= length + 1:
            raise RefusedError(_WHOLE_PIXELS, "has a compressed frame of another size", REPLACE)
        if bits == 1:
            found.append(np.unpackbits(np.frombuffer(data, np.uint8), count=height * width, bitorder="little"))
        else:
            found.append(np.frombuffer(data[:length], f"<{'i' if signed else 'u'}{bits // 8}"))
    return np.concatenate(found)


def _looked_up(header: "Dataset", indices: Shaped[np.ndarray, "frame height width"]) -> np.ndarray:
    """Colours of a palette; one channel where the palette is grey."""
    from pydicom.pixels import apply_color_lut

    try:
        colours = np.asarray(apply_color_lut(indices, header))[..., :3]
    except dicom_errors() as error:
        raise RefusedError("A palette must be whole", "has a damaged one", REPLACE) from error
    if colours.dtype == np.uint16:  # screens show eight bits, which such palettes keep on top
        colours = (colours >> 8).astype(np.uint8)
    return colours[..., :1] if (colours == colours[..., :1]).all() else colours


def upright_greys(
    header: "Dataset", frames: Shaped[np.ndarray, "frame channel height width"], kind: ChannelKind
) -> tuple[Shaped[np.ndarray, "frame channel height width"], tuple[str, ...]]:
    """Bright is much: MONOCHROME1 turned round, single bits as 0 and 255, a modality look-up table applied.

    CT and PET values have a physical meaning whatever their display, so they are left.
    """
    if frames.shape[1] != 1 or kind in ("ct", "pet"):
        return frames, ()
    remarks: tuple[str, ...] = ()
    top = 2 ** min(bits_allocated(header), whole(header, "BitsStored", 32)) - 1
    if header.get("ModalityLUTSequence"):
        frames, top = _through_table(header, frames)
        remarks = ("the modality look-up table was applied",)
    elif bits_allocated(header) == 1:
        frames, top = frames.astype(np.uint8) * np.uint8(255), 255
    if text(header, "PhotometricInterpretation") != "MONOCHROME1":
        return frames, remarks
    if frames.dtype.kind == "u":
        inverted = (frames.dtype.type(top) - frames).astype(frames.dtype)
    else:
        inverted = -frames if frames.dtype.kind == "f" else np.bitwise_not(frames)
    return inverted, (*remarks, "MONOCHROME1 was inverted")


def _through_table(header: "Dataset", frames: np.ndarray) -> tuple[np.ndarray, int]:
    """Greys looked up, and the largest that the table could give."""
    from pydicom.pixels import apply_modality_lut

    try:
        greys = np.asarray(apply_modality_lut(frames, header))
        return greys, 2 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    except dicom_errors() as error:
        raise RefusedError("A modality look-up table must be whole", "has a damaged one", REPLACE) from error


def rescale_of(header: "Dataset", frame: int, kind: ChannelKind) -> tuple[float, float]:
    """Slope and intercept of one frame; (1, 0) where the file tells none, unless CT or PET need them."""
    source = functional_group(header, frame, "PixelValueTransformationSequence") or header
    if kind in ("ct", "pet") or source.get("RescaleSlope") is not None:
        slope, intercept = (
            number(source, "RescaleSlope"),
            number(source, "RescaleIntercept", None if kind == "ct" else 0),
        )
        if slope == 0:
            raise RefusedError("RescaleSlope must not be 0", "has 0", REPAIR)
        return slope, intercept
    return 1.0, number(source, "RescaleIntercept", 0)


def rescaled(
    stored: Shaped[np.ndarray, "frame channel height width"],
    scales: Sequence[tuple[float, float]],
    kind: ChannelKind,
) -> Shaped[np.ndarray, "frame channel height width"]:
    """Slope x stored + intercept, frame by frame.

    Whole Hounsfield units become int16; values without a scale keep their type where it is uint8, int16 or uint16;
    all else is float32.
    """
    if (
        kind == "ct"
        and stored.dtype.kind in "iu"
        and all(slope % 1 == intercept % 1 == 0 for slope, intercept in scales)
    ):
        return _whole_units(stored, scales)
    if kind != "pet" and all(scale == (1, 0) for scale in scales):
        return _plain(stored)
    return _as_float(stored, scales)


def _whole_units(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.ndarray:
    values = np.empty(stored.shape, np.int16)
    for index, (slope, intercept) in enumerate(scales):
        frame = stored[index].astype(np.int64) * int(slope) + int(intercept)
        if frame.min() < -(2**15) or frame.max() >= 2**15:
            return _as_float(stored, scales)
        values[index] = frame
    return values


def _as_float(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> Float32[np.ndarray, "*shape"]:
    values = np.empty(stored.shape, np.float32)
    for index, (slope, intercept) in enumerate(scales):
        values[index] = stored[index].astype(np.float64) * slope + intercept
    return values


def _plain(stored: np.ndarray) -> np.ndarray:
    if stored.dtype in (np.uint8, np.int16, np.uint16):
        return stored
    return stored.astype(np.int16 if stored.dtype == np.int8 else np.float32)
