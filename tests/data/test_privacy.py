"""No word that a run, a description or the cache writes could name a patient: canaries, searched byte by byte.

They lie in patient columns, file and folder names, further columns of the table and every text tag of DICOM files. The
path of the data and the table's own `id` are the user's to choose, and are kept.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import archimed
from archimed.data.inspection.description import write_description
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from tests.experiment.tiny import TINY

CANARY = "zqxanary"
BIRTH = "19470203"
UID = "1.2.826.0.1.3680043.8.47020347"
TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT", "AE")
CASES = 24


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARCHIMED_CONFIG", str(tmp_path / "config"))


def secrets() -> Iterator[bytes]:
    """The canaries as they are, and as base64 at each of its three alignments."""
    for word in (CANARY, CANARY.upper(), BIRTH, UID):
        yield word.encode()
        yield word.encode("utf-16-le")
        for before in range(3):
            whole = base64.b64encode(b"\0" * before + word.encode())
            yield whole[4 if before else 0 : -4]


def leaks(folder: Path) -> list[str]:
    """Files that hold a canary, or are named with one."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.is_file() and any(word in path.read_bytes() for word in secrets())
        if inside or CANARY in str(path.relative_to(folder)).lower():
            found.append(str(path.relative_to(folder)))
    return found


def write_table(folder: Path, names: Sequence[str]) -> Path:
    """A table of images with canaries in every column that may hold any."""
    lines = ["image,label,patient,physician,comment,birth_date,lesion_area"]
    for row, name in enumerate(names):
        patient = f"{CANARY}^Jane{row // 2}"
        lines.append(f"{name},{'ill' if row % 4 < 2 else 'well'},{patient},Dr {CANARY},seen {CANARY} {row},{BIRTH},")
    path = folder / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def pixels(row: int, shape: tuple[int, ...]) -> np.ndarray:
    """Noise with a bright square in half of the images; the last one is the first, a little brighter."""
    of = row % (CASES - 1)
    values = np.random.default_rng(of).integers(0, 150, shape, dtype=np.uint8)
    if of % 4 < 2:
        values[..., 3:8, 3:8] += 100
    return values + (of < row)


def write_dicom(path: Path, row: int, number: int = 0) -> None:
    """A CT slice whose every text tag, UID and date is a canary."""
    from pydicom.datadict import DicomDictionary, keyword_for_tag
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"{UID}.{row}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationVersionName = CANARY
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    for tag, (vr, many, _, retired, _) in DicomDictionary.items():
        keyword = keyword_for_tag(tag)
        if keyword and not retired and tag > 0x00080000 and many == "1":
            if vr in TEXT:
                setattr(file, keyword, CANARY)
            elif vr == "DA":
                setattr(file, keyword, BIRTH)
    file.PatientName, file.PatientID = f"{CANARY}^Jane", f"{CANARY}{row // 2}"
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, f"{UID}.{row}.{number}"
    file.SeriesInstanceUID = file.StudyInstanceUID = file.FrameOfReferenceUID = f"{UID}.{row}"
    file.Modality, file.PhotometricInterpretation = "CT", "MONOCHROME2"
    file.Rows = file.Columns = 12
    file.SamplesPerPixel, file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 1, 16, 16, 15, 1
    file.RescaleIntercept, file.RescaleSlope = -100, 1
    file.PixelSpacing, file.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
    file.ImagePositionPatient = [0, 0, 2 * number]
    file.PixelData = (pixels(row, (12, 12)).astype(np.int16) + number).tobytes()
    file.save_as(path, enforce_file_format=True)


def write_pictures(folder: Path) -> Path:
    names = [f"{CANARY}-ward/{CANARY}_{row:02d}.png" for row in range(CASES)]
    (folder / f"{CANARY}-ward").mkdir(parents=True)
    for row, name in enumerate(names):
        Image.fromarray(pixels(row, (12, 12))).save(folder / name)
    return write_table(folder, names)


def write_dicom_files(folder: Path) -> Path:
    names = [f"{CANARY}-ward/{CANARY}_{row:02d}.dcm" for row in range(CASES)]
    (folder / f"{CANARY}-ward").mkdir(parents=True)
    for row, name in enumerate(names):
        write_dicom(folder / name, row)
    return write_table(folder, names)


def write_series(folder: Path) -> Path:
    names = [f"{CANARY}-{row:02d}" for row in range(CASES)]
    for row, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            write_dicom(folder / name / f"{CANARY}{number}", row, number)
    return write_table(folder, names)


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, word in enumerate((CANARY, f"x{CANARY}".encode("utf-16-le").decode("latin-1"), BIRTH)):
        (tmp_path / "in" / f"{number}").write_text(f"..{word}..", encoding="latin-1")
    (tmp_path / "in" / "3").write_bytes(base64.b64encode(f"ab{CANARY}cd".encode()))
    (tmp_path / "in" / "4").write_text("nothing")
    (tmp_path / "in" / f"{CANARY}5").write_text("nothing")
    assert leaks(tmp_path / "in") == ["0", "1", "2", "3", f"{CANARY}5"]


@pytest.mark.parametrize("write", [write_pictures, write_dicom_files])
def test_a_run_names_no_patient(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    source = write(tmp_path / "data")
    archimed.run("mstf-nas", str(source), tmp_path / "run", settings=TINY)
    write_description(str(source), DataSettings(), 0, tmp_path / "look")
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "look" / "look-alikes.png").exists()
    assert any((tmp_path / "cache").rglob("*"))
    for folder in ("run", "look", "cache"):
        assert leaks(tmp_path / folder) == []


def test_a_dicom_series_names_no_patient(tmp_path: Path) -> None:
    source = write_series(tmp_path / "data")
    paths, _ = write_description(str(source), DataSettings(), 0, tmp_path / "look")
    assert len(paths) >= 3
    assert any((tmp_path / "cache").rglob("*"))
    for folder in ("look", "cache"):
        assert leaks(tmp_path / folder) == []


def write_class_folders(folder: Path) -> DataSettings:
    for row in range(CASES):
        ward = folder / ("ill" if row % 4 < 2 else "well")
        (ward / f"{CANARY}-{row}").mkdir(parents=True)  # no series: left out, and said so
        Image.fromarray(pixels(row, (12, 12))).save(ward / f"{CANARY}_{row:02d}.png")
    return DataSettings()


def write_images_and_masks(folder: Path) -> DataSettings:
    for row in range(CASES):
        for kind, values in (("images", pixels(row, (12, 12))), ("masks", np.uint8(pixels(row, (12, 12)) > 100))):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / kind / f"{CANARY}_{row:02d}.png")
    return DataSettings(image_pattern="images/*.png", mask_pattern="masks/{name}")


def write_nnunet(folder: Path) -> DataSettings:
    for row in range(CASES):
        for kind, end, values in (
            ("imagesTr", "_0000", pixels(row, (12, 12))),
            ("labelsTr", "", np.uint8(pixels(row, (12, 12)) > 100)),
        ):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / kind / f"{CANARY}_{row:02d}{end}.png")
    description = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "bright": 1},
        "numTraining": CASES + 1,
        "file_ending": ".png",
        "name": "ward",
        "description": CANARY,
        "reference": CANARY,
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return DataSettings()


def write_datalist(folder: Path) -> DataSettings:
    (folder / CANARY).mkdir(parents=True)
    entries = []
    for row in range(CASES):
        name = f"{CANARY}/{CANARY}_{row:02d}.png"
        Image.fromarray(pixels(row, (12, 12))).save(folder / name)
        entries.append({"image": name, "label": int(row % 4 < 2), "patient": f"{CANARY}{row // 2}", "comment": CANARY})
    (folder / "list.json").write_text(json.dumps({"training": entries, "numTraining": CASES + 1}))
    return DataSettings()


@pytest.mark.parametrize("write", [write_class_folders, write_images_and_masks, write_nnunet, write_datalist])
def test_no_form_of_data_names_a_patient(tmp_path: Path, write: Callable[[Path], DataSettings]) -> None:
    settings = write(tmp_path / "data")
    listed = tmp_path / "data" / "list.json"
    source = str(listed if listed.exists() else tmp_path / "data")
    paths, _ = write_description(source, settings, 0, tmp_path / "look")
    assert paths
    for folder in ("look", "cache"):
        assert leaks(tmp_path / folder) == []


@pytest.mark.parametrize(
    ("write", "expected"), [(write_pictures, False), (write_dicom_files, True), (write_series, True)]
)
def test_cases_say_whether_their_images_are_dicom(
    tmp_path: Path, write: Callable[[Path], Path], expected: bool
) -> None:
    dataset = load_dataset(str(write(tmp_path / "data")), DataSettings(), 0)
    assert {case.from_dicom for case in dataset.cases} == {expected}
