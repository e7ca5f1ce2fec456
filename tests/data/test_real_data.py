import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.data.inspection.check import check_dataset
from archimed.data.inspection.describe import class_counts
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset

pytestmark = pytest.mark.data


def counts(dataset: Dataset) -> list[list[int]]:
    return [list(class_counts(dataset)[name].values()) for name in SPLIT_NAMES]


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("cls2d/breastmnist", (28, 28), [[147, 399], [21, 57], [42, 114]]),
        ("cls2d/pneumoniamnist", (28, 28), [[1214, 3494], [135, 389], [234, 390]]),
        ("cls3d/adrenalmnist3d", (28, 28, 28), [[929, 259], [76, 22], [229, 69]]),
    ],
)
def test_published_counts(real_data: Path, name: str, size: tuple[int, ...], expected: list[list[int]]) -> None:
    dataset = load_dataset(str(real_data / f"{name}.npz"), DataSettings(), 0)
    assert counts(dataset) == expected
    assert dataset.task.image_size == size
    assert dataset.task.kind == "binary"
    assert dataset.medmnist_flag == name.split("/")[1]


def test_patches_of_two_modalities_keep_their_patients(real_data: Path) -> None:
    dataset = load_dataset(str(real_data / "cls3d" / "sts_patch24_petct.npz"), DataSettings(), 0)
    assert dataset.images.all().shape == (312, 2, 24, 24, 24)
    (fold,) = dataset.folds
    patients = [{dataset.cases[row].patient for row in dataset.rows(fold.split(name))} for name in SPLIT_NAMES]
    assert [len(group) for group in patients] == [16, 4, 6]


def test_known_duplicates_of_pneumoniamnist_are_found(real_data: Path) -> None:
    check = check_dataset(str(real_data / "cls2d" / "pneumoniamnist.npz"), DataSettings(), 0)
    assert not check.fatal
    assert len(check.problems) == 8  # as sources/pneumoniamnist_rebuilt.md: 8 of train and validation, none of test
    assert not any("(test)" in problem.message for problem in check.problems)


def test_chest_x_rays_as_a_multi_label_table(real_data: Path, write_table: Callable[..., str]) -> None:
    folder = real_data / "multilabel2d" / "nih_cxr14"
    with (folder / "labels.csv").open(newline="") as file:
        source = list(csv.DictReader(file))
    labels = list(source[0])[7:21]
    used = [row for row in source if (folder / "images" / row["image"]).is_file()]
    rows: list[dict[str, object]] = [
        {
            "image": folder / "images" / row["image"],
            "patient": row["Patient ID"],
            "split": row["split"],
            **{f"label_{name}": row[name] for name in labels},
        }
        for row in used
    ]
    dataset = load_dataset(write_table(rows), DataSettings(image_size=64), 0)
    (fold,) = dataset.folds
    assert [len(fold.split(name)) for name in SPLIT_NAMES] == [495, 68, 139]
    assert dataset.task.kind == "multi-label"
    assert dataset.task.class_names == tuple(labels)
    assert dataset.task.num_outputs == 14
    assert dataset.images.all().shape == (702, 1, 64, 64)
    expected = torch.tensor([[float(row[name]) for name in labels] for row in used])
    assert torch.equal(dataset.target, expected.to(dataset.target.dtype))
