"""DICOM files whose tags are drawn one by one: mostly whole, now and then with an odd value."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image
from pydicom import Dataset, config, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.trust.drawn_images import SIDES, Draw, Drawn, noise, told

NUMBER_TAGS = {
    **{"Rows": 0, "Columns": 0, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 1},
    **{"SamplesPerPixel": 1, "NumberOfFrames": 1, "PlanarConfiguration": 0},
}
TEXT_TAGS = {
    **{"RescaleSlope": "1", "RescaleIntercept": "0", "PixelSpacing": "1\\1", "ImagePositionPatient": "0\\0\\0"},
    **{"ImageOrientationPatient": "1\\0\\0\\0\\1\\0", "Modality": "CT", "PhotometricInterpretation": "MONOCHROME2"},
    **{"WindowWidth": "1", "ImageType": "ORIGINAL", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
}
DICOM_TEXTS = st.sampled_from(
    [
        *("", "0", "-1", "1e400", "nan", "1\\2", "9" * 20, "x", "PT", "MR", "RGB", "PALETTE COLOR", "YBR_FULL_422"),
        *("MOSAIC", "0\\0\\0", "1\\1\\1\\1\\1\\1", "MONOCHROME1", "1.2.3"),
    ]
)
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
PACKED = [JPEGBaseline8Bit, JPEG2000Lossless, JPEGLSLossless, RLELossless]


@st.composite
def dicom(draw: Draw) -> Drawn:
    pixels = noise(draw, (draw(SIDES), draw(SIDES)), "<i2")
    numbers, plain = draw(told(NUMBER_TAGS | {"Rows": pixels.shape[0], "Columns": pixels.shape[1]}))
    texts, fine = draw(told(TEXT_TAGS, DICOM_TEXTS))
    syntax = draw(st.sampled_from([*SYNTAXES, *SYNTAXES, *PACKED]))
    header = Dataset()
    for name, value in make_tags(pixels, numbers, texts).items():
        set_tag(header, name, value)
    if syntax in PACKED:
        header.PixelData = encapsulate([packed_frame(draw, pixels, syntax)])
        header["PixelData"].is_undefined_length = True
    header["PixelData"].VR = "OB" if syntax in PACKED else "OW"
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = io.BytesIO()
    dcmwrite(file, header, enforce_file_format=True)
    return Drawn(".dcm", file.getvalue(), pixels if plain and fine and syntax in SYNTAXES else None)


def make_tags(pixels: np.ndarray, numbers: Mapping[str, int], texts: Mapping[str, str]) -> dict[str, Any]:
    """Tags by keyword; numbers are cut to the two bytes that they have."""
    cut = {name: str(value) if name == "NumberOfFrames" else value % 65536 for name, value in numbers.items()}
    return {"PatientID": "1", **cut, **texts, "PixelData": pixels.tobytes()}


def set_tag(header: Dataset, name: str, value: Any) -> None:
    """Set a tag, whatever the standard says of its value."""
    number = Tag(tag_for_keyword(name) or 0)
    if isinstance(value, str):
        content = value.encode() + b" " * (len(value) % 2)
        header[number] = RawDataElement(number, dictionary_VR(number), len(content), content, 0, False, True)
        return
    with config.disable_value_validation():
        setattr(header, name, value)


def packed_frame(draw: Draw, pixels: np.ndarray, syntax: str) -> bytes:
    """A frame in the form that the syntax asks for, or in another one."""
    file, kind = io.BytesIO(), draw(st.sampled_from(["right", "right", "JPEG", "JPEG2000", "noise"]))
    wanted = {JPEGBaseline8Bit: "JPEG", JPEG2000Lossless: "JPEG2000"}.get(syntax, "noise")
    form = wanted if kind == "right" else kind
    if form == "noise":
        return draw(st.binary(min_size=64, max_size=160))
    Image.fromarray(pixels.astype(np.uint8)).save(file, form)
    return file.getvalue()
