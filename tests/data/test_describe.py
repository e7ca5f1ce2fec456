import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.dataset import Dataset
from archimed.data.describe import checksum, contact_sheets, describe
from archimed.data.privacy import patient_hash, user_key
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

Rows = list[dict[str, object]]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIMED_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def dataset(table_rows: Rows, write_table: Callable[..., str]) -> Dataset:
    return load_dataset(write_table(table_rows), DataSettings(), 0)


def test_fingerprint_is_plain_and_names_no_patient_and_no_file(dataset: Dataset) -> None:
    found = describe(dataset)
    text = json.dumps(found)
    assert "Doe" not in text
    assert ".png" not in text
    assert found["cases"] == 12
    assert found["patients"] == 6
    assert found["patient_hashes"] == sorted({patient_hash(case.patient, user_key()) for case in dataset.cases})
    assert sum(sum(counts.values()) for counts in found["counts"].values()) == 12
    pixels = dataset.images.numpy()
    assert found["intensity"] == {"min": [float(pixels.min())], "max": [float(pixels.max())]}
    assert found["task"]["image_size"] == [12, 10]


def test_checksum_notices_every_change(dataset: Dataset) -> None:
    images = dataset.images.clone()
    images[3, 0, 5, 5] ^= 1
    target = dataset.target.clone()
    target[0] = 1 - target[0]
    cases = (dataclasses.replace(dataset.cases[0], id="other"), *dataset.cases[1:])
    changed = [
        dataclasses.replace(dataset, images=images),
        dataclasses.replace(dataset, target=target),
        dataclasses.replace(dataset, cases=cases),
        dataclasses.replace(dataset, images=dataset.images.transpose(2, 3).contiguous()),
    ]
    assert checksum(dataset) == checksum(dataclasses.replace(dataset, images=dataset.images.clone()))
    assert len({checksum(dataset), *map(checksum, changed)}) == 5


def test_unknown_patients_make_no_key(config: Path) -> None:
    phantom = load_dataset("phantom:lesions2d?cases=40&size=16", DataSettings(), 0)
    found = describe(dataclasses.replace(phantom, patients_known=False))
    assert found["patients"] is None
    assert found["patient_hashes"] is None
    assert not config.exists()


def test_the_key_is_made_once_for_the_user_alone(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = user_key()
    assert len(key) == 32
    assert user_key() == key
    (path,) = config.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert patient_hash("a", key) == patient_hash("a", key) != patient_hash("b", key)
    monkeypatch.setenv("ARCHIMED_CONFIG", str(config.parent / "other"))
    assert patient_hash("a", user_key()) != patient_hash("a", key)


def test_hash_is_hmac_sha256() -> None:
    # RFC 4231, test case 2
    assert patient_hash("what do ya want for nothing?", b"Jefe") == "5bdcc146bf60754e"


def test_damaged_or_unwritable_key_is_one_clear_line(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.mkdir()
    (config / "patient.key").write_bytes(b"short")
    with pytest.raises(DataError, match=r"has 32 bytes; .* has 5"):
        user_key()
    monkeypatch.setenv("ARCHIMED_CONFIG", str(config / "patient.key" / "below"))
    with pytest.raises(DataError, match="Set ARCHIMED_CONFIG"):
        user_key()


def test_contact_sheets_show_images_of_each_class(tmp_path: Path, dataset: Dataset) -> None:
    paths = contact_sheets(dataset, tmp_path / "sheets")
    assert [path.name for path in paths] == ["00-benign.png", "01-malignant.png"]
    with Image.open(paths[0]) as sheet:
        assert sheet.size == (288, 192)  # six tiles of 96 pixels
        first = np.asarray(sheet)[:96, :96, 0]
    expected = Image.fromarray(dataset.images[0, 0].numpy()).resize((96, 96), Image.Resampling.BICUBIC)
    assert np.array_equal(first, np.asarray(expected))


@pytest.mark.parametrize(("dtype", "space"), [(torch.uint16, (8, 8)), (torch.float32, (4, 8, 8))])
def test_contact_sheets_of_other_types_and_volumes(
    tmp_path: Path, dataset: Dataset, dtype: torch.dtype, space: tuple[int, ...]
) -> None:
    images = (torch.rand(12, 2, *space) * 5000).to(dtype)
    assert len(contact_sheets(dataclasses.replace(dataset, images=images), tmp_path)) == 2
    assert describe(dataclasses.replace(dataset, images=images))["images"]["shape"] == [2, *space]
