from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from archimed.data.dicom.reader import read_dicom
from archimed.errors import DataError

PATIENT = "HN-0421"
NAME = "Doe^Jane"
CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"


def make_header(pixels: np.ndarray, **tags: object) -> Dataset:
    """A CT slice, or what `tags` make of it; a tag of None is left out."""
    header = Dataset()
    colours = pixels.ndim >= 3 and pixels.shape[-1] == 3
    grid = pixels.shape[:-1] if colours else pixels.shape
    bits = 8 * pixels.dtype.itemsize
    given: dict[str, object] = {
        "SOPClassUID": CT_CLASS,
        "SOPInstanceUID": generate_uid(entropy_srcs=[str(tags), str(pixels)]),
        "SeriesInstanceUID": "1.2.3.4",
        "Modality": "CT",
        "PatientID": PATIENT,
        "PatientName": NAME,
        "PatientBirthDate": "19610203",
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [1, 1],
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "Rows": grid[-2],
        "Columns": grid[-1],
        "NumberOfFrames": grid[0] if len(grid) == 3 else None,
        "SamplesPerPixel": 3 if colours else 1,
        "PlanarConfiguration": 0 if colours else None,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.astype(pixels.dtype.newbyteorder("<")).tobytes(),
    } | tags
    for keyword, value in given.items():
        if value is not None:
            setattr(header, keyword, value)
    if "PixelData" in header:
        header["PixelData"].VR = "OW" if bits > 8 else "OB"
    return header


def write_header(header: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, header, enforce_file_format=True)
    return path


@pytest.fixture
def make() -> Callable[..., Dataset]:
    return make_header


@pytest.fixture
def save() -> Callable[..., Path]:
    return write_header


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes one file of given pixels and tags in the test's folder."""

    def write(name: str, pixels: np.ndarray, **tags: object) -> Path:
        return write_header(make_header(pixels, **tags), tmp_path / name)

    return write


@pytest.fixture
def write_series(write: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes one file per slice, under names in another order than that of the slices."""

    def write_series(
        stored: np.ndarray,
        folder: str = "series",
        step: tuple[float, float, float] = (0, 0, 3),
        start: tuple[float, float, float] = (0, 0, 0),
        orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
        **tags: object,
    ) -> Path:
        names = np.random.default_rng(len(stored)).permutation(len(stored))
        for index, slice_ in enumerate(stored):
            position = [f"{a + index * b:.6f}" for a, b in zip(start, step, strict=True)]
            own = {
                tag: value[index] if isinstance(value, list) and len(value) == len(stored) else value
                for tag, value in tags.items()
            }
            given = {"ImagePositionPatient": position, "ImageOrientationPatient": list(orientation), **own}
            write(f"{folder}/{names[index]:03d}.dcm", slice_, **given)
        return tmp_path / folder

    return write_series


@pytest.fixture
def stored() -> np.ndarray:
    """Five slices of 6 x 7 random values that a CT may store."""
    return np.random.default_rng(3).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)


def refusal(path: Path) -> str:
    """The one line in which a file is refused, which never names the patient."""
    with pytest.raises(DataError) as caught:
        read_dicom(path, "line 2 of cases.csv")
    message = str(caught.value)
    assert "line 2 of cases.csv" in message
    assert "\n" not in message
    assert not any(text in message for text in (PATIENT, "Doe", "Jane", "19610203"))
    return message


@pytest.fixture
def refused() -> Callable[[Path], str]:
    return refusal
