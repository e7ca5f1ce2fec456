import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset, Fold
from archimed.data.inspection import survey
from archimed.data.inspection.describe import describe, look
from archimed.data.privacy import patient_hash, user_key
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError
from archimed.task import ImagingTask

Rows = list[dict[str, object]]


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIMED_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def dataset(table_rows: Rows, write_table: Callable[..., str]) -> Dataset:
    return load_dataset(write_table(table_rows), DataSettings(), 0)


@pytest.fixture
def volumes() -> Dataset:
    """Six volumes of CT and PET of several sizes with masks of three classes."""
    rng = np.random.default_rng(0)
    shapes = [(4, 6, 5), (4, 6, 5), (6, 5, 9), (5, 5, 5), (4, 6, 5), (7, 8, 9)]
    images = [torch.from_numpy(rng.normal(50, 100, (2, *shape)).astype(np.float32)) for shape in shapes]
    masks = [torch.from_numpy(rng.integers(0, 3, shape, dtype=np.uint8)) for shape in shapes]
    masks[1] = masks[1].clamp(max=1)
    target = torch.stack([torch.tensor([(mask == k).any() for k in range(3)]) for mask in masks]).float()
    cases = tuple(Case(f"c{row}", f"p{row}") for row in range(6))
    return Dataset(
        "volumes",
        "nnunet",
        ImagingTask("segmentation", ("background", "liver", "tumour"), 2, (7, 8, 9)),
        cases,
        Arrays.of(images),
        target,
        Arrays.of(masks),
        folds=(Fold(("c0", "c1", "c2", "c3"), ("c4",), ("c5",)),),
        channel_names=("CT", "PET"),
        channel_kinds=("ct", "pet"),
        spacing=((3.0, 1.0, 1.0),) * 5 + (None,),
        patients_known=True,
    )


def test_fingerprint_is_plain_and_names_no_patient_and_no_file(dataset: Dataset) -> None:
    found = describe(dataset)
    text = json.dumps(found)
    assert "Doe" not in text
    assert ".png" not in text
    assert found["cases"] == 12
    assert found["patients"] == 6
    assert found["patient_hashes"] == sorted({patient_hash(case.patient, user_key()) for case in dataset.cases})
    assert sum(sum(counts.values()) for counts in found["counts"].values()) == 12
    assert sum(sizes["cases"] for sizes in found["splits"].values()) == 12
    pixels = dataset.images.all().numpy()
    assert found["channels"]["grey"]["min"] == pixels.min()
    assert found["channels"]["grey"]["max"] == pixels.max()
    assert found["task"]["image_size"] == [12, 10]


def test_volumes_tell_sizes_spacing_units_and_areas(volumes: Dataset) -> None:
    found = json.loads(json.dumps(describe(volumes)))
    assert found["images"]["shapes"] == {
        "smallest": [4, 5, 5],
        "median": [5, 6, 5],
        "largest": [7, 8, 9],
        "different": 4,
    }
    assert found["spacing_mm"] == {
        "smallest": [3, 1, 1],
        "median": [3, 1, 1],
        "largest": [3, 1, 1],
        "unknown": 1,
    }
    assert [(name, channel["kind"], channel["unit"]) for name, channel in found["channels"].items()] == [
        ("CT", "ct", "HU"),
        ("PET", "pet", "SUV"),
    ]
    pet = np.concatenate([image[1].numpy().ravel() for image in volumes.images])
    assert found["channels"]["PET"]["median"] == pytest.approx(np.median(pet), rel=0.02)
    assert volumes.masks is not None
    everything = np.concatenate([mask.numpy().ravel() for mask in volumes.masks])
    expected = [round(float((everything == k).mean()), 4) for k in range(3)]
    assert [round(share, 4) for share in found["voxels"].values()] == expected
    assert found["counts"]["train"] == {"background": 4, "liver": 4, "tumour": 3}
    assert found["duplicates_across_splits"] == 0


def test_unknown_labels_are_counted_label_by_label(make_dataset: Callable[..., Dataset]) -> None:
    target = np.array([[0, 1], [1, np.nan], [np.nan, np.nan], [1, 0]], dtype=np.float32)
    assert list(describe(make_dataset(target))["unknown_labels"].values()) == [1, 2]


def test_checksum_notices_every_change(dataset: Dataset, volumes: Dataset) -> None:
    images = dataset.images.all().clone()
    images[3, 0, 5, 5] ^= 1
    target = dataset.target.clone()
    target[0] = 1 - target[0]
    cases = (dataclasses.replace(dataset.cases[0], id="other"), *dataset.cases[1:])
    turned = dataset.images.all().transpose(2, 3).contiguous()
    changed = [
        dataclasses.replace(dataset, images=Arrays.of(images)),
        dataclasses.replace(dataset, target=target),
        dataclasses.replace(dataset, cases=cases),
        dataclasses.replace(dataset, images=Arrays.of(turned)),
    ]
    same = dataclasses.replace(dataset, images=Arrays.of(dataset.images.all().clone()))
    assert checksum(dataset) == checksum(same)
    assert len({checksum(dataset), *map(checksum, changed)}) == 5
    assert volumes.masks is not None
    masks = [mask.clone() for mask in volumes.masks]
    masks[5][0, 0, 0] ^= 1
    assert checksum(volumes) != checksum(dataclasses.replace(volumes, masks=Arrays.of(masks)))


def checksum(dataset: Dataset) -> str:
    return look(dataset).checksum


def test_how_many_images_are_taken_at_a_time_changes_nothing(
    dataset: Dataset, volumes: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [describe(data) for data in (dataset, volumes)]
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(survey, "AT_ONCE", 300)  # two images of the table
    assert [describe(data) for data in (dataset, volumes)] == before
    seen = look(dataset, with_signatures=True, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(2, 13, 2)]
    monkeypatch.setattr(survey, "AT_ONCE", 2**22)
    whole = look(dataset, with_signatures=True)
    assert seen.digests == whole.digests
    assert np.allclose(seen.signatures, whole.signatures, atol=1e-6)  # type: ignore[arg-type]


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
