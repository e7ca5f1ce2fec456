"""The training part of a fold divided in two by patient, with about the same mix of classes in both."""

from collections.abc import Sequence

import numpy as np

from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.dealing import Dealer
from archimed.errors import DataError
from archimed.task import ImagingTask


def halves(training: Subset, patients: Sequence[str], task: ImagingTask, seed: int, name: str) -> tuple[Subset, Subset]:
    """Two disjoint subsets that make up the training cases; no patient is in both.

    Args:
        training: the cases to divide.
        patients: who each case is of; empty if every case counts as its own.
        task: whose classes are balanced.
        seed: of the division.
        name: what the halves are for; each use has its own.

    Raises:
        DataError: there are fewer than two patients.
    """
    dealer = Dealer.of_cases(patients or training.ids, training.target, task.class_names, seed)
    first, second = dealer.parts(np.arange(len(training)), 2, name)
    return _rows(training, first), _rows(training, second)


def held_out(
    training: Subset, patients: Sequence[str], task: ImagingTask, seed: int, name: str, fraction: float
) -> tuple[Subset, Subset]:
    """The training cases without about that fraction of them, and these; no patient is in both.

    Args:
        training: the cases to divide.
        patients: who each case is of; empty if every case counts as its own.
        task: whose classes are balanced.
        seed: of the division.
        name: what the division is for; each use has its own.
        fraction: 0 to 0.5.

    Raises:
        DataError: there are fewer than two patients, or fewer than two of a class.
    """
    dealer = Dealer.of_cases(patients or training.ids, training.target, task.class_names, seed)
    rows = np.arange(len(training))
    for class_name, count in zip(dealer.class_names, dealer.patients_of_classes(rows), strict=False):
        if count == 1:
            raise DataError(
                f"Training cases are held out by patient to measure {name}, so every class needs at least 2 patients "
                f"among them; class {class_name!r} has 1. Add cases, merge classes, or use another method."
            )
    rest, part = dealer.carve(rows, fraction, name)
    return _rows(training, rest), _rows(training, part)


def _rows(subset: Subset, rows: "np.ndarray[tuple[int], np.dtype[np.int_]]") -> Subset:
    found = [int(row) for row in rows]
    masks = None if subset.masks is None else subset.masks.select(found)
    images = Arrays.of(subset.images).select(found)
    return Subset(tuple(subset.ids[row] for row in found), images, subset.target[found].contiguous(), masks)
