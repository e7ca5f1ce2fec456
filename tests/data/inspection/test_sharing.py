from pathlib import Path

import pytest
import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset, Fold
from archimed.data.inspection.describe import look
from archimed.data.inspection.sharing import refuse_shared, source_folder
from archimed.errors import DataError
from archimed.task import ImagingTask


def dataset(name: str, patients: list[str], seed: int, test: tuple[int, ...] = (4, 5)) -> Dataset:
    """Six cases of which the named ones are tested, the fourth (or first) validates."""
    images = torch.randint(0, 255, (6, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    ids = [f"{name}{number}" for number in range(6)]
    rest = [number for number in range(6) if number not in test]
    fold = Fold(*(tuple(ids[k] for k in part) for part in (rest[:-1], rest[-1:], test)))
    return Dataset(
        name=name,
        source_kind="csv",
        task=ImagingTask("binary", ("no", "yes"), 1, (8, 8)),
        cases=tuple(Case(one, patient) for one, patient in zip(ids, patients, strict=True)),
        images=Arrays.of(images),
        target=torch.arange(6) % 2,
        folds=(fold,),
        patients_known=True,
    )


PEOPLE = ["1", "2", "3", "4", "5", "6"]
HERE, THERE = Path("/a"), Path("/b")


def check(datasets: list[Dataset], folders: list[Path | None]) -> None:
    refuse_shared(datasets, [look(one).digests for one in datasets], folders)


def test_patients_of_one_folder_must_not_be_trained_on_here_and_tested_there() -> None:
    one, other = dataset("one", PEOPLE, 0), dataset("other", PEOPLE, 1, test=(0, 1))
    with pytest.raises(DataError, match=r"one trains on 2 patients that other tests on\. Give both the same splits"):
        check([one, other], [HERE, HERE])


def test_equal_names_of_two_collections_are_different_people() -> None:
    one, other = dataset("one", PEOPLE, 0), dataset("other", PEOPLE, 1, test=(0, 1))
    check([one, other], [HERE, THERE])
    check([one, other], [None, None])


def test_the_same_splits_of_the_same_patients_may_stand_together() -> None:
    check([dataset("one", PEOPLE, 0), dataset("other", PEOPLE, 1)], [HERE, HERE])
    check([dataset("one", PEOPLE, 0), dataset("other", PEOPLE, 0)], [HERE, THERE])


def test_equal_images_are_found_wherever_they_lie() -> None:
    one, other = dataset("one", PEOPLE, 0), dataset("other", ["a", "b", "c", "d", "e", "f"], 0, test=(0, 3))
    with pytest.raises(DataError, match="one trains on 2 equal images that other tests on"):
        check([one, other], [HERE, THERE])
    with pytest.raises(DataError, match="other trains on 2 equal images that one tests on"):
        check([other, one], [HERE, THERE])


def test_images_of_one_grey_are_no_evidence() -> None:
    found = [dataset("one", PEOPLE, 0), dataset("other", PEOPLE, 1)]
    for one, row in zip(found, (0, 5), strict=True):
        one.images[row].zero_()
    check(found, [HERE, THERE])


def test_a_source_lies_in_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.touch()
    (tmp_path / "mine.py").touch()
    assert source_folder(str(file)) == source_folder(f"{file}?channels=3") == tmp_path.resolve()
    assert source_folder(str(tmp_path)) == source_folder(f"{tmp_path / 'mine.py'}:data") == tmp_path.resolve()
    assert source_folder("phantom:cells?cases=20") is source_folder("breastmnist") is None
