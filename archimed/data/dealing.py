"""Cases dealt into parts: whole patients at a time, every part with about the same mix of classes."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from archimed.data.dataset import Dataset
from archimed.errors import DataError
from archimed.seeding import derive_seed

Rows = Int[np.ndarray, " row"]
Division = TypeVar("Division")
ATTEMPTS = 20  # shuffles tried until every class is in every part
MANY_PATIENTS = 2000  # from here on patients are dealt instead of cases


@dataclass(frozen=True)
class Dealer:
    """Deals the rows of one data set into parts.

    What is balanced: the class; of several labels the rarest that a case is known to have; of masks the rarest class
    that a case shows.

    Attributes:
        shows: whether a row is of a class, is known to have a label, or shows a class in its mask.
        strata: what to balance, by row.
        patients: number of the patient, by row.
        seed: of the shuffles.
        class_names: of the strata, where each case has one class; empty otherwise.
    """

    shows: Bool[np.ndarray, "row class"]
    strata: Rows
    patients: Rows
    seed: int
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> "Dealer":
        """The dealer of a data set."""
        patients = [case.patient for case in dataset.cases]
        return cls.of_cases(patients, dataset.target, dataset.task.class_names, seed)

    @classmethod
    def of_cases(
        cls, patients: Sequence[str], target: Shaped[Tensor, "case *label"], names: tuple[str, ...], seed: int
    ) -> "Dealer":
        """The dealer of cases with these patients and targets; `names` are the classes or labels of the task."""
        number: dict[str, int] = {}
        numbers = np.array([number.setdefault(patient, len(number)) for patient in patients], int)
        known = target.numpy()
        shows = known == 1 if known.ndim == 2 else known[:, None] == np.arange(len(names))
        return cls(shows, _rarest(shows), numbers, seed, names if known.ndim == 1 else ())

    def require_patients(self, rows: Rows, least: int) -> None:
        """DataError unless there are that many patients, and where each case has one class, that many of each."""
        self._enough(len(np.unique(self.patients[rows])), least)
        for name, count in zip(self.class_names, self.patients_of_classes(rows), strict=False):
            if 0 < count < least:
                raise DataError(
                    f"Dividing by patient needs at least {least} patients of each class; class {name!r} has {count}. "
                    "Add cases, merge classes, ask for fewer folds, or name the splits yourself (a `split` column)."
                )

    def parts(self, rows: Rows, count: int, name: str) -> list[Rows]:
        """`count` disjoint parts that make up `rows`, each with every class if one of a few shuffles gives that."""
        self._enough(len(np.unique(self.patients[rows])), count)
        wanted = self.patients_of_classes(rows) >= count

        def lacking(parts: list[Rows]) -> tuple[int, ...]:
            return (sum(self._lacking(part, wanted) for part in parts),)

        return _best((self._shuffle(rows, count, seed) for seed in self._seeds(name)), lacking)

    def carve(self, rows: Rows, fraction: float, name: str) -> tuple[Rows, Rows]:
        """`rows` without one part of about that fraction, and the part; each with every class if that can be."""
        patients = len(np.unique(self.patients[rows]))
        self._enough(patients, 2)
        count = min(max(2, round(1 / fraction)), patients)
        of_class = self.patients_of_classes(rows)

        def lacking(pair: tuple[Rows, Rows]) -> tuple[int, ...]:
            return self._lacking(pair[0], of_class >= 1), self._lacking(pair[1], of_class >= 2)

        shuffles = (self._shuffle(rows, count, seed) for seed in self._seeds(name))
        return _best(((np.setdiff1d(rows, part), part) for parts in shuffles for part in parts), lacking)

    def _seeds(self, name: str) -> Iterator[int]:
        return (derive_seed(self.seed, "splits", name, attempt) for attempt in range(ATTEMPTS))

    def patients_of_classes(self, rows: Rows) -> Int[np.ndarray, " class"]:
        """How many patients each class has."""
        patients = self.patients[rows]
        return np.array([len(np.unique(patients[column])) for column in self.shows[rows].T], int)

    def _lacking(self, part: Rows, wanted: Bool[np.ndarray, " class"]) -> int:
        """How many of the classes that are wanted do not occur in a part; all and one more if it is empty."""
        return int((wanted & ~self.shows[part].any(0)).sum()) + (len(part) == 0)

    def _enough(self, patients: int, parts: int) -> None:
        if patients < parts:
            raise DataError(
                f"Dividing by patient into {parts} parts needs at least {parts} patients; there {_are(patients)}. "
                "Add patients, ask for fewer folds, or name the splits yourself (a `split` column)."
            )

    def _shuffle(self, rows: Rows, count: int, seed: int) -> list[Rows]:
        """Balanced over cases, or, of many patients, over patients (by their rarest class), which is far faster."""
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        patients, patient_of = np.unique(self.patients[rows], return_inverse=True)
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


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _merge_rare(strata: Rows, count: int) -> Rows:
    """Strata with all those of fewer members than parts as one, since a splitter refuses if every one is rarer."""
    sizes = np.unique(strata, return_counts=True)[1]
    return strata if int(sizes.max()) >= count else np.zeros(len(strata), int)


def _rarest(shows: Bool[np.ndarray, "row class"]) -> Rows:
    """The rarest class that each row has; the number of classes if it has none."""
    rarest_first = np.argsort(shows.sum(0), kind="stable")
    ranked = shows[:, rarest_first]
    rarest: Rows = np.where(ranked.any(1), rarest_first[ranked.argmax(1)], shows.shape[1]).astype(int)
    return rarest


def _best(divisions: Iterable[Division], lacking: Callable[[Division], tuple[int, ...]]) -> Division:
    """The first division that lacks nothing, else the one that lacks least."""
    found: list[tuple[tuple[int, ...], Division]] = []
    for division in divisions:
        found.append((lacking(division), division))
        if not any(found[-1][0]):
            break
    return min(found, key=lambda pair: pair[0])[1]
