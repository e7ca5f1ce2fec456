"""One DICOM file's pixel data: grey values as stored, or colours as RGB."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from archimed.data.dicom.compressed import WHOLE_PIXELS, check_codestreams, deep_jpeg, frame_by_frame
from archimed.data.dicom.header import (
    REPLACE,
    RefusedError,
    dicom_errors,
    missing,
    text,
    whole,
)
from archimed.data.preparation.resampling import MAX_VOXELS
from archimed.data.readers.decoder_complaints import complaints_refused
from archimed.data.readers.decoding import MAX_PIXELS
from archimed.data.readers.voxels import check_room

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.uid import UID

GREYS = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


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
    stored = _decode(header, keyword)
    if stored.size != frames * height * width * samples:
        raise RefusedError(WHOLE_PIXELS, "decodes to another size than its header tells", REPLACE)
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


def _decode(header: "Dataset", keyword: str) -> np.ndarray:
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000TransferSyntaxes, JPEGExtended12Bit, JPEGTransferSyntaxes, RLELossless

    syntax = _transfer_syntax(header)
    _check_bits(header, keyword)
    if syntax == DEFLATED_FRAMES or (syntax == RLELossless and bits_allocated(header) == 1):
        return frame_by_frame(header, _shape(header), bits_allocated(header), deflated=syntax == DEFLATED_FRAMES)
    if syntax.is_encapsulated:
        _check_room(header)
        check_codestreams(header, _shape(header), syntax.name)
    else:
        _check_length(header, keyword)
    plugin = "pylibjpeg" if syntax in JPEG2000TransferSyntaxes else ""
    try:
        with complaints_refused() if syntax in JPEGTransferSyntaxes else nullcontext():
            if syntax == JPEGExtended12Bit and whole(header, "BitsStored") > 8:
                return deep_jpeg(header, _shape(header))
            pixels, _ = get_decoder(syntax).as_array(header, decoding_plugin=plugin)
    except RefusedError:
        raise
    except dicom_errors() as error:
        raise RefusedError(
            "Pixel data must be decodable", f"is not ({syntax.name})", "Save it uncompressed, or leave it out."
        ) from error
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
        raise RefusedError(WHOLE_PIXELS, f"holds {length:,} bytes where its header tells of {expected:,}", REPLACE)


def _check_room(header: "Dataset") -> None:
    frames, height, width, samples = _shape(header)
    try:
        check_room(frames * height * width * samples * ((bits_allocated(header) + 7) // 8))
    except ValueError as error:
        raise RefusedError("Pixels must fit into memory", f"is too large ({error})", "Divide the file.") from None


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
