"""The training part of a fold halved by patient, with about the same mix of classes in both halves."""

from collections.abc import Sequence

import numpy as np

from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.dealing import Dealer
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


def _rows(subset: Subset, rows: "np.ndarray[tuple[int], np.dtype[np.int_]]") -> Subset:
    found = [int(row) for row in rows]
    masks = None if subset.masks is None else subset.masks.select(found)
    images = Arrays.of(subset.images).select(found)
    return Subset(tuple(subset.ids[row] for row in found), images, subset.target[found].contiguous(), masks)
