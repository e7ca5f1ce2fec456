"""Whole data sets from the cache are those read from the files: cases, patients, masks, cautions."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.dataset import Dataset
from archimed.data.inspection.describe import describe
from archimed.data.preparation import assembly
from archimed.data.privacy import hash_of, hidden, patient_hash, user_key
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError
from tests.data.dicom.conftest import make_header, write_header

SECRETS = ("Doe", "Jane", "HN-0", "19610203", "secret-folder", "slice")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of prepared images, of this test alone."""
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """A class-per-folder tree of DICOM files, two of each of eight patients."""
    rng = np.random.default_rng(0)
    for number in range(16):
        pixels = rng.integers(0, 1000, (12, 10)).astype(np.uint16)
        tags = {"PatientID": f"HN-0{number // 2}", "SOPInstanceUID": f"1.2.{number}"}
        label = ("benign", "malignant")[number // 2 % 2]
        write_header(make_header(pixels, **tags), tmp_path / "secret-folder" / label / f"slice{number}.dcm")
    return tmp_path / "secret-folder"


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A table of RGBA images of several sizes and masks of 0, 128 and 255."""
    rng, rows = np.random.default_rng(0), []
    for number in range(10):
        size = (12 + number, 16)
        Image.fromarray(rng.integers(0, 256, (*size, 4), dtype=np.uint8)).save(tmp_path / f"image{number}.png")
        mask = rng.choice([0, 128, 255] if number else [0, 255], size).astype(np.uint8)
        Image.fromarray(mask).save(tmp_path / f"mask{number}.png")
        rows.append({"image": f"image{number}.png", "mask": f"mask{number}.png", "patient": f"Doe^Jane{number}"})
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path / "cases.csv"


def same(one: Dataset, other: Dataset) -> bool:
    pairs = [*zip(one.images, other.images, strict=True), *zip(one.masks or (), other.masks or (), strict=True)]
    return (
        all(torch.equal(a, b) for a, b in pairs)
        and torch.equal(one.target, other.target)
        and (one.images.dtype, one.task, one.cases, one.folds)
        == (other.images.dtype, other.task, other.cases, other.folds)
        and (one.notes, one.spacing, one.channel_names) == (other.notes, other.spacing, other.channel_names)
        and (one.channel_kinds, one.patients_known) == (other.channel_kinds, other.patients_known)
    )


def refuse(*_: object) -> None:
    raise DataError("a file is read again")


def read_three_times(source: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """From memory, from files into the cache, and from the cache, all equal."""
    from_memory = load_dataset(str(source), DataSettings(cache=False), 0)
    from_files = load_dataset(str(source), DataSettings(), 0)
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "prepare", refuse)
        from_cache = load_dataset(str(source), DataSettings(), 0)
        with pytest.raises(DataError, match="read again"):
            load_dataset(str(source), DataSettings(image_size=8), 0)
    assert same(from_memory, from_files)
    assert same(from_memory, from_cache)
    return from_cache


def test_patients_of_dicom_files(dicom: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read_three_times(dicom, monkeypatch)
    assert dataset.patients_known
    patients = [case.patient for case in dataset.cases]
    assert len(set(patients)) == 8
    assert not any(secret in patient for patient in patients for secret in SECRETS)
    assert patients[0] == patients[1] != patients[2]
    expected = sorted(patient_hash(f"HN-0{number}", user_key()) for number in range(8))
    assert describe(dataset)["patient_hashes"] == expected  # those of a table that names the same patients
    for path in folder.rglob("*"):
        assert not any(secret in path.name for secret in SECRETS)
        assert path.is_dir() or not any(secret.encode() in path.read_bytes() for secret in SECRETS)


def test_masks_of_several_sizes(masks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = read_three_times(masks, monkeypatch)
    assert dataset.task.class_names == ("background", "value 128", "value 255")
    assert dataset.images.shape is None
    assert any("alpha" in note for note in dataset.notes)
    assert dataset.masks is not None
    for number, mask in enumerate(dataset.masks):
        with Image.open(masks.parent / f"mask{number}.png") as image:
            assert np.array_equal(mask.numpy(), np.searchsorted([0, 128, 255], np.asarray(image)))
        assert dataset.target[number].tolist() == [1, float(number > 0), 1]


def test_labels_may_change_without_reading_images_again(
    table_rows: list[dict[str, object]], write_table: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_dataset(write_table(table_rows), DataSettings(), 0)
    for row in table_rows:
        row["label"] = {"benign": "malignant", "malignant": "benign"}[str(row["label"])]
    monkeypatch.setattr(assembly, "prepare", refuse)
    second = load_dataset(write_table(table_rows), DataSettings(), 0)
    assert second.target.tolist() == [1 - label for label in first.target.tolist()]
    assert torch.equal(second.images.all(), first.images.all())


@pytest.mark.parametrize("name", ["hidden:Doe", "hidden:0123456789abcde", "hidden:0123456789abcdefg", "HN-01"])
def test_a_name_that_looks_hidden_is_hashed(name: str) -> None:
    assert hash_of(name, user_key()) == patient_hash(name, user_key())
    assert hash_of(hidden(name), user_key()) == patient_hash(name, user_key())
