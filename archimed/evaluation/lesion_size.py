"""Results by the size of the lesion, the multi-scale evidence of MSTF-NAS (Table VI).

The paper partitions its test images by the share of the image that the lesion covers: large above 0.01, medium 0.001
to 0.01, small below 0.001. There benign findings have an area too, so each of its subsets holds both classes. Images
without any lesion have no size and belong to no bin. We therefore define a bin as every case whose lesion is of that
size, whatever its class, and *all* cases known to have no lesion (an area of zero, or none given, and not positive in a
binary task). A positive case of unknown size is in no bin and is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.evaluation.intervals import IntervalRow, metric_intervals
from archimed.task import ImagingTask

FEWEST = 5  # cases of either class below which a bin's figures say nothing


@dataclass(frozen=True)
class SizeBin:
    """What a network achieves on lesions of one size.

    Attributes:
        size: `small`, `medium` or `large`.
        low: smallest share of the image's area; 0 for the smallest.
        high: largest share of the image's area; 1 for the largest.
        lesions: test cases with a lesion of this size.
        positives: cases of the last class in the bin (the positive class of a binary task).
        negatives: the other cases in the bin, among them all cases without a lesion.
        too_few: True if fewer than five lesions (binary: or positives, or negatives) stand behind the figures.
        metrics: metric name -> value and interval; empty without a case.
    """

    size: str
    low: float
    high: float
    lesions: int
    positives: int
    negatives: int
    too_few: bool
    metrics: dict[str, IntervalRow]


@dataclass(frozen=True)
class LesionSizes:
    """Results by lesion size; `unknown_size` positive cases are in none of the bins."""

    bins: tuple[SizeBin, ...]
    unknown_size: int


def by_lesion_size(
    task: ImagingTask,
    repeats: Sequence[RepeatPredictions],
    areas: Mapping[str, float | None],
    bounds: tuple[float, float],
    seed: int,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> LesionSizes | None:
    """Measure a network on small, medium and large lesions.

    Args:
        task: one that asks for one class per image.
        repeats: test predictions of every (fold, seed).
        areas: case id -> lesion area as a share of the image; None, NaN or 0 without one.
        bounds: (small below, large above), shares of the image (0.001 and 0.01 in the paper).
        seed: seed of the intervals' resampling.
        resamples: bootstrap resamples.
        confidence: of the intervals.

    Returns:
        Bins from small to large; None if no test case has a known lesion area, or for a multi-label task.
    """
    if task.kind == "multi-label":
        return None
    sized = [_sized(task, repeat, areas) for repeat in repeats]
    if not any((one.area > 0).any() for one in sized):
        return None
    bins = []
    for size, (low, high) in _limits(bounds).items():
        lesions, positives, negatives = _counts(sized, size, bounds)
        fewest = min(lesions, positives, negatives) if task.kind == "binary" else lesions
        kept = [_subset(one.repeat, one.of_size(size, bounds) | one.healthy) for one in sized]
        kept = [repeat for repeat in kept if lesions and repeat.cases]
        found = metric_intervals(task, kept, seed, resamples, confidence=confidence) if kept else {}
        bins.append(SizeBin(size, low, high, lesions, positives, negatives, fewest < FEWEST, found))
    return LesionSizes(tuple(bins), len(set[str]().union(*(one.cases(one.unknown) for one in sized))))


@dataclass(frozen=True)
class _Sized:
    """One repeat with what is known of each case's lesion."""

    repeat: RepeatPredictions
    area: Float[np.ndarray, " case"]  # share of the image, 0 where none is given
    positive: Bool[np.ndarray, " case"]  # of the last class
    healthy: Bool[np.ndarray, " case"]  # no lesion
    unknown: Bool[np.ndarray, " case"]  # a positive case of unknown size

    def of_size(self, size: str, bounds: tuple[float, float]) -> Bool[np.ndarray, " case"]:
        """The cases whose lesion is of this size; both bounds belong to the medium ones."""
        small, large = bounds
        if size == "small":
            return (self.area > 0) & (self.area < small)
        if size == "large":
            return self.area > large
        return (self.area >= small) & (self.area <= large) & (self.area > 0)

    def cases(self, chosen: Bool[np.ndarray, " case"]) -> set[str]:
        """The ids of the cases that are chosen."""
        return {self.repeat.cases[k] for k in np.flatnonzero(chosen)}


def _sized(task: ImagingTask, repeat: RepeatPredictions, areas: Mapping[str, float | None]) -> _Sized:
    area = np.nan_to_num(np.array([areas.get(case) or 0.0 for case in repeat.cases], dtype=np.float64))
    positive = repeat.target == task.num_outputs - 1
    unknown = positive & (area == 0) & (task.kind == "binary")
    return _Sized(repeat, area, positive, (area == 0) & ~unknown, unknown)


def _counts(sized: Sequence[_Sized], size: str, bounds: tuple[float, float]) -> tuple[int, int, int]:
    """Lesions of the size, positive cases and other cases of the bin; each test case once, however often tested."""
    lesions, positives, cases = set[str](), set[str](), set[str]()
    for one in sized:
        inside = one.of_size(size, bounds)
        lesions |= one.cases(inside)
        positives |= one.cases(inside & one.positive)
        cases |= one.cases(inside | one.healthy)
    return len(lesions), len(positives), len(cases - positives)


def _limits(bounds: tuple[float, float]) -> dict[str, tuple[float, float]]:
    small, large = bounds
    return {"small": (0.0, small), "medium": (small, large), "large": (large, 1.0)}


def _subset(repeat: RepeatPredictions, kept: Bool[np.ndarray, " case"]) -> RepeatPredictions:
    index = np.flatnonzero(kept)
    return replace(
        repeat,
        cases=tuple(repeat.cases[k] for k in index),
        patients=tuple(repeat.patients[k] for k in index),
        target=repeat.target[index],
        probabilities=repeat.probabilities[index],
    )
