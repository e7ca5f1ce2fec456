import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from archimed.data.dataset import SPLIT_NAMES, Dataset, Fold
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.data.splits import check_folds, make_folds
from archimed.errors import DataError

Make = Callable[..., Dataset]


def divide(dataset: Dataset, settings: DataSettings | None = None, seed: int = 0) -> tuple[Fold, ...]:
    folds = make_folds(dataset, settings or DataSettings(), seed, Problems(strict=True))
    check_folds(dataclasses.replace(dataset, folds=folds), Problems(strict=True))
    return folds


def patients_of(dataset: Dataset, ids: tuple[str, ...]) -> set[str]:
    return {dataset.cases[row].patient for row in dataset.rows(ids)}


@pytest.fixture
def grouped(make_dataset: Make) -> Dataset:
    """300 cases of about 100 patients, classes of 70, 20 and 10 %."""
    rng = np.random.default_rng(3)
    patients = np.sort(rng.integers(0, 100, 300))
    of_patient = rng.choice(3, 100, p=[0.7, 0.2, 0.1])
    return make_dataset(of_patient[patients], [f"p{number}" for number in patients])


@pytest.mark.parametrize("seed", range(5))
def test_single_split_is_a_stratified_partition_by_patient(grouped: Dataset, seed: int) -> None:
    (fold,) = divide(grouped, seed=seed)
    parts = [fold.split(name) for name in SPLIT_NAMES]
    assert sorted(sum(parts, ())) == sorted(case.id for case in grouped.cases)
    groups = [patients_of(grouped, part) for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    target = grouped.target.numpy()
    overall = np.bincount(target, minlength=3) / len(target)
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(part) / 300 - share) < 0.05
        mix = np.bincount(target[grouped.rows(part)], minlength=3) / len(part)
        assert np.abs(mix - overall).max() < 0.1


def test_split_depends_on_the_seed_and_on_nothing_else(grouped: Dataset) -> None:
    assert divide(grouped, seed=1) == divide(grouped, seed=1)
    assert divide(grouped, seed=1) != divide(grouped, seed=2)


@pytest.mark.parametrize("settings", [DataSettings(), DataSettings(folds=3), DataSettings(folds=2, fold_repeats=2)])
def test_split_does_not_depend_on_the_order_of_the_cases(grouped: Dataset, settings: DataSettings) -> None:
    order = np.random.default_rng(0).permutation(len(grouped.cases))
    shuffled = dataclasses.replace(
        grouped,
        cases=tuple(grouped.cases[row] for row in order),
        images=grouped.images.select(order.tolist()),
        target=grouped.target[order],
    )
    for one, other in zip(divide(grouped, settings), divide(shuffled, settings), strict=True):
        for name in SPLIT_NAMES:
            assert set(one.split(name)) == set(other.split(name))
            assert list(other.split(name)) == [case.id for case in shuffled.cases if case.id in one.split(name)]


def test_many_patients_are_divided_as_well(make_dataset: Make) -> None:
    rng = np.random.default_rng(5)
    patients = rng.integers(0, 3000, 6000)
    dataset = make_dataset(rng.choice(3, 6000, p=[0.7, 0.25, 0.05]), [f"p{number}" for number in patients])
    folds = divide(dataset, DataSettings(folds=4))
    target = dataset.target.numpy()
    for fold in folds:
        mix = np.bincount(target[dataset.rows(fold.test)], minlength=3)
        assert mix / np.bincount(target) == pytest.approx([0.25] * 3, abs=0.04)
    assert sorted(sum((fold.test for fold in folds), ())) == sorted(case.id for case in dataset.cases)


@pytest.mark.parametrize("count", [2, 5])
def test_every_case_is_tested_once_in_folds(grouped: Dataset, count: int) -> None:
    folds = divide(grouped, DataSettings(folds=count))
    assert len(folds) == count
    assert sorted(sum((fold.test for fold in folds), ())) == sorted(case.id for case in grouped.cases)
    for fold in folds:
        assert len({*fold.train, *fold.validation, *fold.test}) == 300
        assert not patients_of(grouped, fold.train) & patients_of(grouped, fold.validation)


def test_folds_are_divided_anew_in_every_repeat(grouped: Dataset) -> None:
    folds = divide(grouped, DataSettings(folds=4, fold_repeats=3))
    assert len(folds) == 12
    assert folds[:4] == divide(grouped, DataSettings(folds=4))
    everyone = sorted(case.id for case in grouped.cases)
    for start in (0, 4, 8):
        assert sorted(sum((fold.test for fold in folds[start : start + 4]), ())) == everyone
    assert len({fold.test for fold in folds}) == 12
    assert folds[4:8] != divide(grouped, DataSettings(folds=4, fold_repeats=3), seed=1)[4:8]
    for fold in folds:
        assert not patients_of(grouped, fold.test) & patients_of(grouped, fold.train + fold.validation)


def test_validation_folds_are_divided_anew_around_an_official_test_split(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1] * 20, splits=["train"] * 30 + ["test"] * 10)
    folds = divide(dataset, DataSettings(folds=3, fold_repeats=2))
    assert {fold.test for fold in folds} == {tuple(f"c{row:04d}" for row in range(30, 40))}
    for start in (0, 3):
        parts = [fold.validation for fold in folds[start : start + 3]]
        assert sorted(sum(parts, ())) == [f"c{row:04d}" for row in range(30)]
    assert {fold.validation for fold in folds[:3]} != {fold.validation for fold in folds[3:]}


def test_what_cannot_be_divided_anew_is_refused(make_dataset: Make) -> None:
    for dataset, folds in (
        (make_dataset([0, 1] * 20), None),
        (make_dataset([0, 1] * 20), 1),
        (make_dataset([0, 1] * 20, folds=["0", "1"] * 20), 2),
    ):
        with pytest.raises(DataError, match=r"data.fold_repeats=2 divides the cases anew"):
            divide(dataset, DataSettings(folds=folds, fold_repeats=2))


def test_official_split_is_kept(make_dataset: Make) -> None:
    splits = ["train", "train", "validation", "test", "validation", "test"]
    (fold,) = divide(make_dataset([0, 1, 0, 1, 1, 0], splits=splits))
    assert fold == Fold(("c0000", "c0001"), ("c0002", "c0004"), ("c0003", "c0005"))


def test_folds_leave_the_official_test_split_alone(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1] * 20, splits=["train"] * 20 + ["validation"] * 10 + ["test"] * 10)
    folds = divide(dataset, DataSettings(folds=3))
    assert {fold.test for fold in folds} == {tuple(f"c{row:04d}" for row in range(30, 40))}
    assert sorted(sum((fold.validation for fold in folds), ())) == [f"c{row:04d}" for row in range(30)]


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_missing_official_part_is_taken_from_train_and_said(make_dataset: Make, missing: str) -> None:
    present = "test" if missing == "validation" else "validation"
    dataset = make_dataset([0, 1] * 20, splits=["train"] * 30 + [present] * 10)
    problems = Problems(strict=True)
    (fold,) = make_folds(dataset, DataSettings(), 0, problems)
    assert set(fold.split(present)) == {f"c{row:04d}" for row in range(30, 40)}  # type: ignore[arg-type]
    assert len(fold.split(missing)) == pytest.approx(8, abs=3)  # type: ignore[arg-type]
    assert missing in problems.cautions[0]


def test_fold_column_names_the_test_folds(make_dataset: Make) -> None:
    dataset = make_dataset([0, 1] * 15, folds=[str(row // 2 % 3) for row in range(30)])
    folds = divide(dataset)
    assert [len(fold.test) for fold in folds] == [10, 10, 10]
    assert folds[1].test[0] == "c0002"
    assert len(divide(dataset, DataSettings(folds=1))) == 1
    with pytest.raises(DataError, match=r"names 3 and data\.folds is 4"):
        divide(dataset, DataSettings(folds=4))


def test_named_folds_are_validation_folds_beside_an_official_test_split(make_dataset: Make) -> None:
    splits, folds = ["train"] * 30 + ["test"] * 6, [str(row % 3) for row in range(30)] + [None] * 6
    divided = divide(make_dataset([0, 1] * 18, splits=splits, folds=folds))
    assert {fold.test for fold in divided} == {tuple(f"c{row:04d}" for row in range(30, 36))}
    for number, fold in enumerate(divided):
        assert fold.validation == tuple(f"c{row:04d}" for row in range(number, 30, 3))
        assert len(fold.train) == 20


def test_named_folds_of_training_cases_alone_are_test_folds(make_dataset: Make) -> None:
    names = [str(row // 2 % 3) for row in range(30)]
    alone = divide(make_dataset([0, 1] * 15, folds=names))
    assert divide(make_dataset([0, 1] * 15, splits=["train"] * 30, folds=names)) == alone


def masks_of(make_dataset: Make, shown: np.ndarray, patients: list[str] | None = None) -> Dataset:
    """A segmentation of which each case shows certain classes, the background always."""
    count, classes = shown.shape
    dataset = make_dataset([0] * (count - 1) + [classes - 1], patients)
    masks = torch.zeros(count, 8, 8, dtype=torch.uint8)
    for row, kinds in enumerate(shown):
        masks[row, 0, : kinds.sum()] = torch.from_numpy(np.flatnonzero(kinds).astype(np.uint8))
    task = dataclasses.replace(dataset.task, kind="segmentation")
    return dataclasses.replace(dataset, task=task, target=torch.from_numpy(shown).float(), masks=masks)


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_divided_by_the_rarest_class_they_show(make_dataset: Make, seed: int) -> None:
    shown = np.ones((60, 3), bool)
    shown[:, 2] = np.random.default_rng(seed).permutation(60) < 10
    shown[:, 1] = np.random.default_rng(seed + 9).permutation(60) < 40
    for folds in (5, 2):
        dataset = masks_of(make_dataset, shown, [f"p{row // 2}" for row in range(60)])
        rare = [int(shown[dataset.rows(fold.test), 2].sum()) for fold in divide(dataset, DataSettings(folds=folds))]
        assert sum(rare) == 10
        assert max(rare) - min(rare) <= 2


def test_mask_class_that_a_split_lacks_is_a_caution(make_dataset: Make) -> None:
    shown = np.ones((12, 3), bool)
    shown[1:, 2] = False
    dataset = masks_of(make_dataset, shown)
    problems = Problems(strict=True)
    folds = make_folds(dataset, DataSettings(folds=4), 0, problems)
    check_folds(dataclasses.replace(dataset, folds=folds), problems)
    tested = next(number for number, fold in enumerate(folds) if "c0000" in fold.test)
    others = ", ".join(str(number) for number in range(4) if number != tested)
    assert set(problems.cautions) == {
        f"Class 'k2' does not occur in test of folds {others}. Its results there are undefined.",
        "Class 'k2' does not occur in validation of folds 0, 1, 2, 3. Its results there are undefined.",
        f"Class 'k2' does not occur in train of fold {tested}. A network cannot learn it there.",
    }


def test_label_that_is_unknown_or_one_sided_is_said_once_for_all_folds(make_dataset: Make) -> None:
    target = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(float)
    target[:, 1] = np.nan
    dataset = make_dataset(target)
    problems = Problems(strict=True)
    folds = make_folds(dataset, DataSettings(folds=2), 0, problems)
    check_folds(dataclasses.replace(dataset, folds=folds), problems)
    assert problems.cautions == tuple(
        f"Label 'k1' does not occur both present and absent in {name} of folds 0, 1." for name in SPLIT_NAMES
    )


def test_multi_label_is_divided_by_the_rarest_label(make_dataset: Make) -> None:
    target = np.zeros((100, 3))
    target[:50, 0] = 1
    target[:10, 2] = 1
    target[0, 1] = np.nan
    folds = divide(make_dataset(target), DataSettings(folds=5))
    dataset = make_dataset(target)
    assert [int(dataset.target[dataset.rows(fold.test), 2].sum()) for fold in folds] == [2] * 5


def test_patient_in_two_splits_is_refused_without_naming_the_patient(make_dataset: Make) -> None:
    splits = ["train", "train", "validation", "validation", "test", "test"]
    dataset = make_dataset([0, 1, 0, 1, 0, 1], ["a", "b", "c", "d", "b", "f"], splits)
    with pytest.raises(DataError, match=r"row 1 \(train\) and row 4 \(test\) are of the same patient") as error:
        divide(dataset)
    assert "'b'" not in str(error.value)


def test_class_with_too_few_patients_is_named(make_dataset: Make) -> None:
    with pytest.raises(DataError, match="class 'k1' has 2"):
        divide(make_dataset([0] * 20 + [1] * 4, [f"p{row}" for row in range(20)] + ["a", "a", "b", "b"]))
    with pytest.raises(DataError, match="at least 5 patients of each class; class 'k1' has 4"):
        divide(make_dataset([0] * 20 + [1] * 4), DataSettings(folds=5))


@pytest.mark.parametrize("kind", ["labels", "masks"])
def test_fewer_patients_than_parts_are_refused(make_dataset: Make, kind: str) -> None:
    shown = np.tile([[1, 0], [1, 1]], (4, 1))
    make = make_dataset if kind == "labels" else lambda shown, owners: masks_of(make_dataset, shown > 0, owners)
    dataset = make(shown, ["a", "b", "c", "d"] * 2)
    with pytest.raises(DataError, match=r"into 5 parts needs at least 5 patients; there are 4. Add patients, ask for"):
        divide(dataset, DataSettings(folds=5))
    assert len(divide(dataset, DataSettings(folds=4))) == 4
    (fold,) = divide(dataset)
    assert min(len(fold.split(name)) for name in SPLIT_NAMES) >= 2
    with pytest.raises(DataError, match="needs at least 3 patients; there are 2"):
        divide(make(shown, ["a", "b"] * 4))


@pytest.mark.parametrize("seed", range(30))
def test_no_patient_is_ever_in_two_splits(make_dataset: Make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, people = int(rng.integers(20, 60)), int(rng.integers(5, 20))
    owners = [f"p{number}" for number in rng.permutation(np.arange(count) % people)]
    target = rng.choice([0.0, 1.0, np.nan], (count, 3), p=[0.5, 0.3, 0.2])
    dataset = make_dataset(target, owners)
    settings = DataSettings(folds=int(rng.integers(1, 5)))
    problems = Problems(strict=True)
    folds = make_folds(dataset, settings, seed, problems)
    check_folds(dataclasses.replace(dataset, folds=folds), problems)
    for fold in folds:
        groups = [patients_of(dataset, fold.split(name)) for name in SPLIT_NAMES]
        assert all(groups)
        assert sum(map(len, groups)) == len(set.union(*groups)) == people
        assert sorted(fold.train + fold.validation + fold.test) == [case.id for case in dataset.cases]


def test_class_absent_from_official_train_is_an_error_from_test_a_caution(make_dataset: Make) -> None:
    splits = ["train", "train", "validation", "validation", "test", "test"]
    with pytest.raises(DataError, match="Class 'k1' does not occur in train"):
        divide(make_dataset([0, 0, 0, 1, 0, 1], splits=splits))
    dataset = make_dataset([0, 1, 0, 1, 0, 0], splits=splits)
    problems = Problems(strict=True)
    check_folds(dataclasses.replace(dataset, folds=make_folds(dataset, DataSettings(), 0, problems)), problems)
    assert problems.cautions == ("Class 'k1' does not occur in test. Its results there are undefined.",)


def test_split_named_for_some_cases_only_is_refused(make_dataset: Make) -> None:
    with pytest.raises(DataError, match="row 2 has none"):
        divide(make_dataset([0, 1, 0, 1], splits=["train", "train", None, "test"]))
    with pytest.raises(DataError, match="needs training cases"):
        divide(make_dataset([0, 1, 0, 1], splits=["test"] * 4))


def test_rare_class_reaches_every_split_if_it_can(make_dataset: Make) -> None:
    for seed in range(10):
        dataset = make_dataset([0] * 40 + [1] * 3)
        (fold,) = divide(dataset, seed=seed)
        assert [int(dataset.target[dataset.rows(fold.split(name))].sum()) for name in SPLIT_NAMES] == [1, 1, 1]
