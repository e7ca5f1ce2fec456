from collections.abc import Callable
from pathlib import Path

import pytest

from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

MakeImage = Callable[..., str]


def load(folder: Path) -> Dataset:
    return load_dataset(str(folder), DataSettings(), 0)


def test_folder_per_class_is_divided_with_a_caution(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(10):
        make_image(f"{'grade 2' if number % 2 else 'grade 10'}/{number}.png", seed=number)
    (tmp_path / "grade 2" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    dataset = load(tmp_path)
    assert (dataset.task.kind, dataset.task.class_names) == ("binary", ("grade 2", "grade 10"))
    assert dataset.target.tolist() == [0] * 5 + [1] * 5
    order = [int(case.file.stem) for case in dataset.cases if case.file]
    assert order == [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]
    assert len(dataset.folds[0].train) == 6
    assert "patient" in dataset.notes[0]


@pytest.mark.parametrize("validation", ["val", "validation", "Valid"])
def test_split_folders_are_official(tmp_path: Path, make_image: MakeImage, validation: str) -> None:
    for name, count in (("train", 4), (validation, 2), ("test", 2)):
        for number in range(count):
            make_image(f"{name}/{'ab'[number % 2]}/{number}.png", seed=number)
    dataset = load(tmp_path)
    (fold,) = dataset.folds
    assert [len(part) for part in (fold.train, fold.validation, fold.test)] == [4, 2, 2]
    assert dataset.notes == ()


def test_splits_beside_classes_are_refused(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("train/a/1.png")
    make_image("other/1.png")
    with pytest.raises(DataError, match="holds train beside other"):
        load(tmp_path)


def test_empty_and_flat_folders_are_refused(tmp_path: Path, make_image: MakeImage) -> None:
    with pytest.raises(DataError, match="one folder per class"):
        load(tmp_path)
    make_image("1.png")
    with pytest.raises(DataError, match="one folder per class"):
        load(tmp_path)


def test_single_class_is_refused(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(4):
        make_image(f"a/{number}.png", seed=number)
    with pytest.raises(DataError, match="at least two classes; all 4 cases"):
        load(tmp_path)


def test_unreadable_image_is_named(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(6):
        make_image(f"{'ab'[number % 2]}/{number}.png", seed=number)
    (tmp_path / "a" / "2.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"readable; a.2\.png"):
        load(tmp_path)
