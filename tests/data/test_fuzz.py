"""Damaged files of every format: a clear refusal or the true pixels, no traceback, no hang, no wrong silent read."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from archimed.data.listing import Listing
from archimed.data.problems import Problems
from archimed.data.readers.any_image import read_image
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import ArchimedError, DataError
from tests.data.dicom.conftest import make_header, write_header

CASES_PER_FORMAT = 80
SECONDS_PER_FORMAT = 120
RNG = np.random.default_rng(0)
FLAT = RNG.integers(0, 256, (24, 20), dtype=np.uint8)
Found = TypeVar("Found")
SOLID = RNG.integers(-900, 900, (9, 8, 7), dtype=np.int16)


def picture(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"image{suffix}"
        if suffix == ".tif":
            tifffile.imwrite(path, FLAT)
        else:
            Image.fromarray(FLAT).save(path)
        return path

    return write


def nifti(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"volume{suffix}"
        nibabel.save(nibabel.Nifti1Image(SOLID, np.diag([1.5, 2.0, 3.0, 1.0])), path)
        return path

    return write


def itk(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / f"volume{suffix}"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(SOLID), str(path))
        return path

    return write


def dicom(folder: Path) -> Path:
    return write_header(make_header(SOLID[0]), folder / "image.dcm")


IMAGES = {
    "png": picture(".png"),
    "jpeg": picture(".jpg"),
    "tiff": picture(".tif"),
    "bmp": picture(".bmp"),
    "nifti": nifti(".nii"),
    "nifti-gz": nifti(".nii.gz"),
    "metaimage": itk(".mha"),
    "nrrd": itk(".nrrd"),
    "dicom": dicom,
}


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One way of breaking a file."""
    kind = str(rng.choice(["truncated", "bits", "bytes", "zeros", "doubled", "header"]))
    data = bytearray(content)
    if kind == "truncated":
        return kind, bytes(data[: int(rng.integers(0, len(data)))])
    if kind == "doubled":
        at = int(rng.integers(0, len(data)))
        return kind, bytes(data[:at] + data[at // 2 : at] + data[at:])
    if kind == "zeros":
        at = int(rng.integers(0, len(data)))
        data[at : at + 16] = bytes(len(data[at : at + 16]))
        return kind, bytes(data)
    if kind == "header":
        at = int(rng.integers(0, min(len(data), 400) - 4))
        data[at : at + 4] = struct.pack("<i", int(rng.choice([-1, 2**31 - 1, 0, 65536, 3])))
        return kind, bytes(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, len(data)))
        data[at] = data[at] ^ (1 << int(rng.integers(0, 8))) if kind == "bits" else int(rng.integers(0, 256))
    return kind, bytes(data)


def read_or_refuse(read: Callable[[], Found]) -> Found | None:
    """What was read; None if it was refused by an error of one line."""
    try:
        return read()
    except ArchimedError as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None


@pytest.mark.timeout(SECONDS_PER_FORMAT)
@pytest.mark.parametrize("name", IMAGES)
def test_a_damaged_image_is_refused_or_read_rightly(tmp_path: Path, name: str) -> None:
    path = IMAGES[name](tmp_path)
    content, intact = path.read_bytes(), read_image(path, "the test").pixels
    rng = np.random.default_rng(sum(map(ord, name)))
    refused = 0
    for _ in range(CASES_PER_FORMAT):
        kind, data = damaged(content, rng)
        path.write_bytes(data)
        found = read_or_refuse(lambda: read_image(path, "the test"))
        if found is None:
            refused += 1
            continue
        assert np.isfinite(found.pixels).all()
        assert found.pixels.size <= 8 * max(len(data), intact.size), f"{kind} made an image of {found.pixels.shape}"
        if kind == "truncated":
            assert np.array_equal(found.pixels, intact), "a truncated file was read as another image"
    assert refused > CASES_PER_FORMAT // 10


@pytest.mark.parametrize("name", IMAGES)
def test_a_file_of_another_format_under_this_name_is_refused_or_read_rightly(tmp_path: Path, name: str) -> None:
    path = IMAGES[name](tmp_path)
    contents = {other: write(tmp_path / other) for other, write in _folders(tmp_path).items()}
    for other, source in contents.items():
        shutil.copy(source, path)
        found = read_or_refuse(lambda: read_image(path, "the test"))
        if found is not None:
            assert found.pixels.shape == read_image(source, "the test").pixels.shape, f"{other} named {path.name}"


def _folders(folder: Path) -> dict[str, Callable[[Path], Path]]:
    for name in IMAGES:
        (folder / name).mkdir()
    return IMAGES


def table(folder: Path) -> Path:
    rows = ["image,label,patient"]
    for number in range(12):
        Image.fromarray(RNG.integers(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},p{number}")
    (folder / "cases.csv").write_text("\n".join(rows))
    return folder / "cases.csv"


def archive(folder: Path) -> Path:
    arrays = {}
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        arrays[f"{split}_images"] = RNG.integers(0, 256, (count, 16, 16), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def datalist(folder: Path) -> Path:
    table(folder)
    items = [{"image": f"{number}.png", "label": number % 2} for number in range(12)]
    (folder / "list.json").write_text(json.dumps({"training": items[:8], "validation": items[8:]}))
    return folder / "list.json"


def nnunet(folder: Path) -> Path:
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir()
    for number in range(6):
        image = nibabel.Nifti1Image(SOLID + number, np.eye(4))
        nibabel.save(image, folder / "imagesTr" / f"case_{number}_0000.nii.gz")
        mask = nibabel.Nifti1Image((SOLID > 0).astype(np.uint8), np.eye(4))
        nibabel.save(mask, folder / "labelsTr" / f"case_{number}.nii.gz")
    facts = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1},
        "numTraining": 6,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder / "dataset.json"


SOURCES = {"csv": table, "npz": archive, "datalist": datalist, "nnunet": nnunet}


@pytest.mark.timeout(SECONDS_PER_FORMAT)
@pytest.mark.parametrize("name", SOURCES)
def test_a_damaged_source_is_refused_or_read_with_all_its_cases(tmp_path: Path, name: str) -> None:
    path = SOURCES[name](tmp_path)
    source = str(path.parent if name == "nnunet" else path)
    settings = DataSettings(cache=False)
    content, intact = path.read_bytes(), load_dataset(source, settings, 0)
    rng = np.random.default_rng(sum(map(ord, name)))
    refused = 0
    for _ in range(CASES_PER_FORMAT):
        kind, data = damaged(content, rng)
        path.write_bytes(data)
        found = read_or_refuse(lambda: load_dataset(source, settings, 0))
        if found is None:
            refused += 1
            continue
        assert len(found.cases) == len(found.images)
        assert len(found.cases) <= len(intact.cases) or kind == "doubled"
    assert refused > CASES_PER_FORMAT // 10


def test_a_listing_of_nothing_is_refused() -> None:
    from archimed.data.preparation.assembly import assemble

    with pytest.raises(DataError, match="needs"):
        assemble(Listing("empty", "csv", ()), DataSettings(cache=False), Problems(strict=True))
