"""Division into train, validation and test: by patient, stratified by class, repeatable from the seed.

What the source says is kept:

* an official split is the only fold; where it lacks validation or test, that part is taken from its training cases;
* with an official split and several folds (`data.folds` or a `fold` column) the test split stays as it is and the
  folds are validation folds over the official training and validation cases;
* a `fold` column alone names the test folds; validation is taken from the rest of each.

Otherwise a single split of 60 % train, 20 % validation and 20 % test is drawn (a validation part large enough to pick
an epoch on, in sets of a few hundred cases), or `data.folds` test folds with validation inside the rest.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from archimed.data.dataset import SPLIT_NAMES, Dataset, Fold
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from archimed.seeding import derive_seed

Rows = Int[np.ndarray, " row"]
ATTEMPTS = 20  # shuffles tried until every class is in every part
MANY_PATIENTS = 2000  # from here on patients are dealt instead of cases


def make_folds(dataset: Dataset, settings: DataSettings, seed: int, problems: Problems) -> tuple[Fold, ...]:
    """The folds of a data set; what cannot be divided is reported to `problems`, and gives no folds."""
    if dataset.folds:
        return dataset.folds
    try:
        rows = list(_divide(dataset, settings, _Dealer.of(dataset, seed), problems))
    except DataError as error:
        problems.fatal(str(error))
        return ()
    ids = np.array([case.id for case in dataset.cases], dtype=object)
    return tuple(Fold(*(tuple(ids[np.sort(part)]) for part in parts)) for parts in rows)


def _divide(
    dataset: Dataset, settings: DataSettings, dealer: "_Dealer", problems: Problems
) -> Iterator[tuple[Rows, Rows, Rows]]:
    """Rows of train, validation and test, fold by fold."""
    official = _official_rows(dataset)
    everything = np.arange(len(dataset.cases))
    if official is None:
        named = _named_folds(dataset, everything, settings)
        if named is None and settings.folds in (None, 1):
            dealer.require_patients(dataset, everything, 3)
            rest, test = dealer.carve(everything, settings.test_fraction, "test")
            yield *dealer.carve(rest, _share(settings.validation_fraction, everything, rest), "validation"), test
            return
        parts = settings.folds or 1
        if named is None:
            dealer.require_patients(dataset, everything, max(parts, 3))
        for k, test in enumerate(named or dealer.parts(everything, parts, "folds")):
            rest = np.setdiff1d(everything, test)
            share = _share(settings.validation_fraction, everything, rest)
            yield *dealer.carve(rest, share, f"validation {k}"), test
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


def _share(fraction: float, everything: Rows, rest: Rows) -> float:
    """A share of all cases as a share of the rest."""
    return min(fraction * len(everything) / max(len(rest), 1), 0.5)


def _official_rows(dataset: Dataset) -> tuple[Rows, Rows, Rows] | None:
    """Rows of the source's own splits; None if it names none."""
    names = [case.split for case in dataset.cases]
    if not any(names):
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


@dataclass(frozen=True)
class _Dealer:
    """Deals rows into parts, whole patients at a time, each part with about the same mix of classes."""

    strata: Rows
    patients: Rows
    seed: int
    single_label: bool

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> "_Dealer":
        number: dict[str, int] = {}
        patients = np.array([number.setdefault(case.patient, len(number)) for case in dataset.cases], int)
        target = dataset.target.numpy()
        return cls(_strata(target), patients, seed, single_label=target.ndim == 1)

    def require_patients(self, dataset: Dataset, rows: Rows, least: int) -> None:
        """DataError unless each class of a single-label task has at least that many patients."""
        if not self.single_label:
            return
        for stratum in np.unique(self.strata[rows]):
            count = len(np.unique(self.patients[rows][self.strata[rows] == stratum]))
            if count < least:
                raise DataError(
                    f"Dividing by patient needs at least {least} patients of each class; class "
                    f"{dataset.task.class_names[stratum]!r} has {count}. Add cases, merge classes, ask for fewer "
                    "folds, or name the splits yourself (a `split` column)."
                )

    def parts(self, rows: Rows, count: int, name: str) -> list[Rows]:
        """`count` disjoint parts that make up `rows`, each with every class if one of a few shuffles gives that."""
        for attempt in range(ATTEMPTS):
            parts = self._shuffle(rows, count, derive_seed(self.seed, "splits", name, attempt))
            if all(self._complete(part, rows) for part in parts):
                break
        return parts

    def carve(self, rows: Rows, fraction: float, name: str) -> tuple[Rows, Rows]:
        """`rows` without one part of about that fraction, and the part."""
        count = max(2, round(1 / fraction))
        for attempt in range(ATTEMPTS):
            parts = self._shuffle(rows, count, derive_seed(self.seed, "splits", name, attempt))
            for part in parts:
                rest = np.setdiff1d(rows, part)
                if self._complete(part, rows) and self._complete(rest, rows):
                    return rest, part
        return np.setdiff1d(rows, parts[0]), parts[0]

    def _complete(self, part: Rows, rows: Rows) -> bool:
        if not self.single_label:
            return len(part) > 0
        return len(np.unique(self.strata[part])) == len(np.unique(self.strata[rows]))

    def _shuffle(self, rows: Rows, count: int, seed: int) -> list[Rows]:
        """Balanced over cases, or, of many patients, over patients (by their rarest class), which is far faster."""
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        patients, patient_of = np.unique(self.patients[rows], return_inverse=True)
        if len(patients) < count:
            raise DataError(
                f"Dividing by patient into {count} parts needs at least {count} patients; there are "
                f"{len(patients)}. Add patients, or name the splits yourself (a `split` column)."
            )
        strata = self.strata[rows]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # classes rarer than parts are reported by check_folds
            if len(patients) <= MANY_PATIENTS:
                splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed % 2**32)
                parts = splitter.split(np.zeros(len(rows)), _merge_rare(strata, count), patient_of)
                return [rows[part] for _, part in parts]
            rarity = np.argsort(np.argsort(np.bincount(strata), kind="stable"))
            rarest = np.full(len(patients), len(rarity))
            np.minimum.at(rarest, patient_of, rarity[strata])
            splitter = StratifiedKFold(n_splits=count, shuffle=True, random_state=seed % 2**32)
            by_patient = splitter.split(np.zeros(len(patients)), _merge_rare(rarest, count))
            return [rows[np.isin(patient_of, part)] for _, part in by_patient]


def _merge_rare(strata: Rows, count: int) -> Rows:
    """Strata with all those of fewer members than parts as one, since a splitter refuses if every one is rarer."""
    sizes = np.unique(strata, return_counts=True)[1]
    return strata if int(sizes.max()) >= count else np.zeros(len(strata), int)


def _strata(target: np.ndarray) -> Rows:
    """What to balance: the class, or for labels the rarest one that the case has (the number of labels if none)."""
    if target.ndim == 1:
        return target.astype(int)
    positives = target == 1
    rarest_first = np.argsort(positives.sum(0), kind="stable")
    ranked = positives[:, rarest_first]
    rarest: Rows = np.where(ranked.any(1), rarest_first[ranked.argmax(1)], target.shape[1]).astype(int)
    return rarest


def check_folds(dataset: Dataset, problems: Problems) -> None:
    """Report splits that are empty, share a patient or lack a class."""
    for number, fold in enumerate(dataset.folds):
        where = f" of fold {number}" if len(dataset.folds) > 1 else ""
        _check_patients(dataset, fold, where, problems)
        for name in SPLIT_NAMES:
            rows = dataset.rows(fold.split(name))
            if not rows:
                problems.fatal(f"Every split needs cases; {name}{where} has none. Give it some, or name no splits.")
            else:
                _check_classes(dataset, rows, f"{name}{where}", name == "train", problems)


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


def _check_classes(dataset: Dataset, rows: Sequence[int], where: str, training: bool, problems: Problems) -> None:
    target = dataset.target[list(rows)].numpy()
    for index, name in enumerate(dataset.task.class_names):
        if target.ndim == 1:
            if (target == index).any():
                continue
            message = f"Class {name!r} does not occur in {where}. "
            if training:
                problems.fatal(f"{message}Add training cases of it, or leave its cases out.")
            else:
                problems.caution(f"{message}Its results there are undefined.")
        elif not (target[:, index] == 1).any() or not (target[:, index] == 0).any():
            problems.caution(f"Label {name!r} does not occur both present and absent in {where}.")
