"""Division into train, validation and test: by patient, stratified by class, repeatable from the seed.

What the source says is kept:

* an official split is the only fold; where it lacks validation or test, that part is taken from its training cases;
* with an official test split and several folds (`data.folds` or named folds) the test split stays as it is and the
  folds are validation folds over the official training and validation cases;
* named folds alone (a `fold` column, splits_final.json of nnU-Net) are test folds; validation is taken from the rest of
  each. What nnU-Net calls the validation cases of a fold are those its results are reported on, so they are our test.

Otherwise a single split of 60 % train, 20 % validation and 20 % test is drawn (a validation part large enough to pick
an epoch on, in sets of a few hundred cases), or `data.folds` test folds with validation inside the rest. With
`data.fold_repeats` that is done several times, divided anew each time: fold k of repeat r is fold r * K + k, and the
first repeat is the division without repeats.

The division depends on the seed, the settings and, by case id, the patients and targets; not on the order of the cases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from archimed.data.dataset import SPLIT_NAMES, Dataset, Fold, SplitName
from archimed.data.dealing import Dealer, Rows
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from archimed.seeding import derive_seed

Parts = tuple[Rows, Rows, Rows]  # of train, validation and test


def make_folds(dataset: Dataset, settings: DataSettings, seed: int, problems: Problems) -> tuple[Fold, ...]:
    """The folds of a data set; what cannot be divided is reported to `problems`, and gives no folds."""
    if dataset.folds:
        return dataset.folds
    order = np.argsort(np.array([case.id for case in dataset.cases]), kind="stable")
    ordered = replace(
        dataset,
        cases=tuple(dataset.cases[row] for row in order),
        images=dataset.images.select(order.tolist()),
        target=dataset.target[order],
        masks=None if dataset.masks is None else dataset.masks.select(order.tolist()),
        spacing=(),
    )
    try:
        found = list(_repeated(ordered, settings, seed, problems))
    except DataError as error:
        problems.fatal(str(error))
        return ()
    ids = np.array([case.id for case in dataset.cases], dtype=object)
    return tuple(Fold(*(tuple(ids[np.sort(order[part])]) for part in parts)) for parts in found)


def _repeated(dataset: Dataset, settings: DataSettings, seed: int, problems: Problems) -> Iterator[Parts]:
    """The folds of every repeat."""
    if settings.fold_repeats > 1 and ((settings.folds or 1) < 2 or any(case.fold for case in dataset.cases)):
        raise DataError(
            f"data.fold_repeats={settings.fold_repeats} divides the cases anew each time, so it needs --folds of 2 or "
            "more and no folds named by the source. Give --folds, or leave data.fold_repeats out."
        )
    for repeat in range(settings.fold_repeats):
        own_seed = derive_seed(seed, "fold repeat", repeat) if repeat else seed
        yield from _divide(dataset, settings, Dealer.of(dataset, own_seed), problems)


def _divide(dataset: Dataset, settings: DataSettings, dealer: Dealer, problems: Problems) -> Iterator[Parts]:
    """Rows of train, validation and test, fold by fold."""
    official = _official_rows(dataset)
    everything = np.arange(len(dataset.cases))
    if official is None:
        yield from _divide_freely(dataset, settings, dealer)
        return
    train, validation, test = official
    if not len(test):
        problems.caution("The source names no test split; it was taken from the training cases, by patient.")
        train, test = dealer.carve(train, _share(settings.test_fraction, everything, train), "test")
    pool = np.concatenate([train, validation])
    named = _named_folds(dataset, pool, settings)
    if named is not None or (settings.folds or 1) > 1:
        for part in named or dealer.parts(pool, settings.folds or 1, "folds"):
            yield np.setdiff1d(pool, part), part, test
        return
    if not len(validation):
        problems.caution("The source names no validation split; it was taken from the training cases, by patient.")
        train, validation = dealer.carve(train, _share(settings.validation_fraction, everything, train), "validation")
    yield train, validation, test


def _divide_freely(dataset: Dataset, settings: DataSettings, dealer: Dealer) -> Iterator[Parts]:
    """Where the source names no split: one split, or test folds with validation inside the rest."""
    everything = np.arange(len(dataset.cases))
    named = _named_folds(dataset, everything, settings)
    if named is None and settings.folds in (None, 1):
        dealer.require_patients(everything, 3)
        rest, test = dealer.carve(everything, settings.test_fraction, "test")
        yield *dealer.carve(rest, _share(settings.validation_fraction, everything, rest), "validation"), test
        return
    count = settings.folds or 1
    if named is None:
        dealer.require_patients(everything, max(count, 3))
    for k, test in enumerate(named or dealer.parts(everything, count, "folds")):
        rest = np.setdiff1d(everything, test)
        yield *dealer.carve(rest, _share(settings.validation_fraction, everything, rest), f"validation {k}"), test


def _share(fraction: float, everything: Rows, rest: Rows) -> float:
    """A share of all cases as a share of the rest."""
    return min(fraction * len(everything) / max(len(rest), 1), 0.5)


def _official_rows(dataset: Dataset) -> Parts | None:
    """Rows of the source's own splits; None if it names none, or only calls the cases of its folds training cases."""
    names = [case.split for case in dataset.cases]
    folds_alone = set(names) == {"train"} and any(case.fold for case in dataset.cases)
    if not any(names) or folds_alone:
        return None
    if not all(names):
        case = next(case for case in dataset.cases if case.split is None)
        raise DataError(
            f"Every case needs a split where some have one; {case.origin or case.id} has none. "
            "Fill in train, validation or test, or empty the whole column."
        )
    if "train" not in names:
        raise DataError(
            f"A data set needs training cases; the splits named are {sorted({str(name) for name in names})}. "
            "Mark some cases as train."
        )
    train, validation, test = (np.array([i for i, n in enumerate(names) if n == name], int) for name in SPLIT_NAMES)
    return train, validation, test


def _named_folds(dataset: Dataset, rows: Rows, settings: DataSettings) -> list[Rows] | None:
    """The source's own folds among these rows, in the order of their names; None if it names none."""
    names = [dataset.cases[row].fold for row in rows]
    if not any(names):
        return None
    if not all(names):
        case = next(dataset.cases[row] for row in rows if dataset.cases[row].fold is None)
        raise DataError(
            f"Every case needs a fold where some have one; {case.origin or case.id} has none. "
            "Fill in its fold, or empty the whole column."
        )
    known = sorted({str(name) for name in names}, key=lambda name: (len(name), name))
    if len(known) < 2 or settings.folds not in (None, 1, len(known)):
        raise DataError(
            f"The `fold` column must name at least two folds and agree with data.folds; it names {len(known)} and "
            f"data.folds is {settings.folds}. Leave data.folds out to use the column."
        )
    parts = [rows[[i for i, name in enumerate(names) if name == fold]] for fold in known]
    return parts[:1] if settings.folds == 1 else parts


def check_folds(dataset: Dataset, problems: Problems) -> None:
    """Report splits that are empty, share a patient or lack a class."""
    several = len(dataset.folds) > 1
    lacking: dict[tuple[SplitName, int], list[int]] = {}
    for number, fold in enumerate(dataset.folds):
        where = f" of fold {number}" if several else ""
        _check_patients(dataset, fold, where, problems)
        for name in SPLIT_NAMES:
            rows = dataset.rows(fold.split(name))
            if not rows:
                problems.fatal(f"Every split needs cases; {name}{where} has none. Give it some, or name no splits.")
            for index in _lacking(dataset, rows) if rows else ():
                lacking.setdefault((name, index), []).append(number)
    for (name, index), folds in lacking.items():
        where = f" of {'fold' if len(folds) == 1 else 'folds'} {', '.join(map(str, folds))}" if several else ""
        _report_lacking(dataset, index, name, where, problems)


def _check_patients(dataset: Dataset, fold: Fold, where: str, problems: Problems) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for name in SPLIT_NAMES:
        for row in dataset.rows(fold.split(name)):
            case = dataset.cases[row]
            other, origin = seen.setdefault(case.patient, (name, case.origin or case.id))
            if other != name:
                problems.fatal(
                    f"A patient may be in one split only; {origin} ({other}) and {case.origin or case.id} "
                    f"({name}){where} are of the same patient. Move one of them."
                )
                return


def _lacking(dataset: Dataset, rows: Sequence[int]) -> list[int]:
    """Classes, or labels, of which these cases cannot tell anything."""
    target = dataset.target[list(rows)]
    if target.ndim == 1:
        return [index for index in range(dataset.task.num_outputs) if not (target == index).any()]
    there = (target == 1).any(0)
    if dataset.task.kind == "multi-label":
        there &= (target == 0).any(0)
    return [index for index, found in enumerate(there.tolist()) if not found]


def _report_lacking(dataset: Dataset, index: int, split: SplitName, where: str, problems: Problems) -> None:
    name = dataset.task.class_names[index]
    if dataset.task.kind == "multi-label":
        problems.caution(f"Label {name!r} does not occur both present and absent in {split}{where}.")
        return
    message = f"Class {name!r} does not occur in {split}{where}. "
    if split != "train":
        problems.caution(f"{message}Its results there are undefined.")
    elif dataset.task.kind == "segmentation":
        problems.caution(f"{message}A network cannot learn it there.")
    else:
        problems.fatal(f"{message}Add training cases of it, or leave its cases out.")
