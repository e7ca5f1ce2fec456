"""Equal images and images that look alike; altered copies are found, other pictures of the same kind are not."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset, Fold
from archimed.data.inspection import duplicates
from archimed.data.inspection.describe import look
from archimed.data.inspection.duplicates import (
    LOOK_ALIKE,
    crossing_fold,
    find_duplicates,
    look_alikes,
    signatures,
    split_numbers,
)
from archimed.data.phantoms import PHANTOMS, parse_options
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset

Make = Callable[..., Dataset]


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Three hundred phantoms of one kind, which share brightness and texture but no growth or vessel."""
    dataset = PHANTOMS["lesions2d"](parse_options("cases=300&size=64", None), 0)
    return dataset.images.all()[:, 0].numpy()


def jpeg(picture: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def small(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    return np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC))


def brighter(picture: np.ndarray) -> np.ndarray:
    return (picture * 0.7 + 60).astype(np.uint8)


def gamma(picture: np.ndarray) -> np.ndarray:
    return (255 * (picture / 255) ** 0.8).astype(np.uint8)


def of(pictures: np.ndarray) -> np.ndarray:
    return signatures(torch.from_numpy(pictures)[:, None])


@pytest.mark.parametrize("change", [jpeg, small, brighter, gamma])
def test_altered_copies_look_alike_and_other_pictures_do_not(
    pictures: np.ndarray, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    altered = np.stack([change(pictures[row]) for row in range(0, 300, 10)])
    pairs, likeness = look_alikes(np.concatenate([of(pictures), of(altered)]), LOOK_ALIKE)
    expected = {(row, 300 + k) for k, row in enumerate(range(0, 300, 10))}
    assert {tuple(pair) for pair in pairs.tolist()} == expected
    assert (np.diff(likeness) <= 0).all()


def test_pairs_are_those_of_a_comparison_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", 7)
    values = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)  # too few for components
    centred = values - values.mean(0)
    monkeypatch.setattr(duplicates, "SHARED_COMPONENTS", 0)
    length = np.linalg.norm(centred, axis=1)
    expected = {
        (i, j) for i in range(40) for j in range(i + 1, 40) if centred[i] @ centred[j] >= 0.8 * length[i] * length[j]
    }
    pairs, _ = look_alikes(values, 0.8)
    assert len(expected) > 3
    assert {tuple(pair) for pair in pairs.tolist()} == expected


def test_many_images_are_compared_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3000, 256)).astype(np.float32)
    values[1500:1800] = values[:300] + rng.normal(0, 0.15, (300, 256)).astype(np.float32)  # correlation near 0.99
    monkeypatch.setattr(duplicates, "ALL_PAIRS", 1000)
    pairs, _ = look_alikes(values, LOOK_ALIKE)
    assert {tuple(pair) for pair in pairs.tolist()} <= {(row, 1500 + row) for row in range(300)}
    assert len(pairs) > 290


def test_what_all_images_share_is_no_likeness() -> None:
    rng = np.random.default_rng(0)
    anatomy = 40 * np.sin(np.linspace(0, 9, 32))[:, None] * np.cos(np.linspace(0, 7, 32)) + 100
    pictures = (anatomy + rng.normal(0, 8, (60, 32, 32))).clip(0, 255).astype(np.uint8)
    plain = of(pictures) @ of(pictures).T
    assert np.median(plain) > LOOK_ALIKE  # the plain correlation would call all of them alike
    assert len(look_alikes(of(pictures), LOOK_ALIKE)[0]) == 0


def test_images_of_one_grey_and_volumes_and_several_channels() -> None:
    flat = signatures(torch.full((3, 1, 8, 8), 7, dtype=torch.uint8))
    assert not flat.any()
    assert len(look_alikes(flat, LOOK_ALIKE)[0]) == 0
    volumes = torch.rand(4, 2, 9, 10, 11)
    found = signatures(volumes)
    assert found.shape == (4, 2 * 8**3)
    assert np.allclose(found.reshape(4, 2, -1).sum(2), 0, atol=1e-4)
    assert np.allclose(np.square(found).reshape(4, 2, -1).sum(2), 1, atol=1e-4)
    scaled = signatures(volumes * torch.tensor([1.0, 1000.0]).view(1, 2, 1, 1, 1) - 500)
    assert np.allclose(found, scaled, atol=1e-3)


def test_equal_images_and_alike_ones_of_other_patients(make_dataset: Make, pictures: np.ndarray) -> None:
    dataset = make_dataset([0, 1] * 15, patients=[str(row // 3) for row in range(30)])
    images = pictures[:30].copy()
    images[9], images[20] = images[4], jpeg(images[13])  # equal, alike; of other patients
    images[1] = jpeg(images[0])  # of the same patient
    dataset = dataclasses.replace(dataset, images=Arrays.of(torch.from_numpy(images)[:, None]))
    seen = look(dataset, with_signatures=True)
    found = find_duplicates(dataset, seen.digests, seen.signatures)
    assert found.equal == ((4, 9),)
    assert found.alike == ((13, 20),)
    assert found.likeness[0] > LOOK_ALIKE
    assert find_duplicates(dataset, seen.digests, None).alike == ()


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "equal", "alike"),
    [  # across the published splits; pairs of BreastMNIST were looked at, down to the threshold
        ("cls2d/breastmnist", 1, 114),
        ("cls2d/pneumoniamnist", 8, 0),
        ("cls3d/adrenalmnist3d", 0, 0),
        ("cls3d/sts_patch24_petct", 0, 0),
    ],
)
def test_published_sets(real_data: Path, name: str, equal: int, alike: int) -> None:
    dataset = load_dataset(str(real_data / f"{name}.npz"), DataSettings(), 0)
    seen = look(dataset, with_signatures=True)
    found = find_duplicates(dataset, seen.digests, seen.signatures)
    splits = split_numbers(dataset)
    assert sum(crossing_fold(rows, splits) is not None for rows in found.equal) == equal
    assert sum(crossing_fold(pair, splits) is not None for pair in found.alike) == alike


@pytest.mark.data
def test_radiographs_of_different_patients_are_not_alike(real_data: Path) -> None:
    folder = real_data / "multilabel2d" / "nih_cxr14"
    columns = {"image": "images/{image}", "patient": "Patient ID"}
    settings = DataSettings(columns=columns, label_columns=("Pneumonia", "Effusion"))
    dataset = load_dataset(str(folder / "labels.csv"), settings, 0)
    seen = look(dataset, with_signatures=True)
    assert find_duplicates(dataset, seen.digests, seen.signatures).alike == ()


def test_splits_of_every_fold_are_looked_at(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1] * 3)
    ids = [case.id for case in dataset.cases]
    folds = (
        Fold((ids[0], ids[1], ids[2]), (ids[3],), (ids[4],)),
        Fold((ids[0], ids[4], ids[2]), (ids[3],), (ids[1],)),
    )
    splits = split_numbers(dataclasses.replace(dataset, folds=folds))
    assert splits.tolist() == [[0, 0, 0, 1, 2, -1], [0, 2, 0, 1, 0, -1]]
    assert crossing_fold((0, 3), splits) == 0
    assert crossing_fold((0, 1), splits) == 1
    assert crossing_fold((0, 2), splits) is None
    assert crossing_fold((0, 5), splits) is None
