"""Scores of answered masks: of each class in each case, then means over cases, then over classes.

The rule for a class that a mask lacks:

- in neither the truth nor the answer: the case says nothing about the class and is left out of its means;
- in one of the two only: Dice, Jaccard and surface Dice are zero, and the Hausdorff distance is undefined, so the case
  is left out of its mean.

`left_out` counts both. The background is never scored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Integer
from torch import Tensor

from archimed.evaluation.counts import mean_of_defined, ratio
from archimed.evaluation.metrics import Resampled, none_if_nan
from archimed.evaluation.overlap import dice, jaccard, overlap_counts
from archimed.evaluation.settings import SURFACE_TOLERANCE_MM
from archimed.evaluation.surfaces import class_boxes, surface_distances
from archimed.task import ImagingTask

MASK_METRICS = ("dice", "jaccard", "hausdorff_95", "surface_dice")


@dataclass(frozen=True)
class ClassScores:
    """How one class of one case was answered; None where undefined.

    Attributes:
        name: the class.
        dice: 0 to 1.
        jaccard: 0 to 1.
        hausdorff_95: in millimetres, or in pixels where no spacing was given.
        surface_dice: 0 to 1, at the tolerance.
        true_size: pixels of the class in the truth.
        answered_size: pixels of the class in the answer.
    """

    name: str
    dice: float | None
    jaccard: float | None
    hausdorff_95: float | None
    surface_dice: float | None
    true_size: int
    answered_size: int


@dataclass(frozen=True)
class RepeatMasks:
    """Scores of the masks that one trained network gave the test cases of its fold (`archimed.evaluation.bootstrap`).

    Attributes:
        fold: number of the fold.
        seed: the training seed.
        cases: case ids [case].
        patients: the patient of each case [case].
        scores: of every class in each case [case][class].
    """

    fold: int
    seed: int
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    scores: tuple[tuple[ClassScores, ...], ...]

    def metrics(self, task: ImagingTask) -> dict[str, float | None]:  # noqa: ARG002
        """See `mask_metrics`."""
        return _means(self.scores)

    def resampled(self, task: ImagingTask, weights: Float[np.ndarray, "case resample"]) -> Resampled:  # noqa: ARG002
        """See `weighted_mask_metrics`."""
        return weighted_mask_metrics(score_table(self.scores), weights)

    def of_class(self, name: str) -> "RepeatMasks":
        """The same of one class alone."""
        return replace(self, scores=tuple(tuple(one for one in case if one.name == name) for case in self.scores))


@dataclass(frozen=True)
class LeftOut:
    """Of how many cases of one class a score had to be left out.

    Attributes:
        cases: all cases.
        absent: the class is in neither mask, so no score is defined.
        missed: the class is in the truth only: overlap zero, distance undefined.
        invented: the class is in the answer only: overlap zero, distance undefined.
    """

    cases: int
    absent: int
    missed: int
    invented: int

    @property
    def present(self) -> int:
        """Cases whose truth holds the class."""
        return self.cases - self.absent - self.invented


def case_scores(
    task: ImagingTask,
    answer: Integer[Tensor, "*space"],
    truth: Integer[Tensor, "*space"],
    spacing_mm: Sequence[float] | None,
    *,
    tolerance_mm: float = SURFACE_TOLERANCE_MM,
    surfaces: bool = True,
) -> list[ClassScores]:
    """Scores of every class but the background, in the task's order.

    Args:
        task: a segmentation.
        answer: class numbers as answered.
        truth: class numbers as they are.
        spacing_mm: millimetres between pixels along each axis; None measures distances, and the tolerance, in pixels.
        tolerance_mm: how far apart outlines may lie that the surface Dice counts as one.
        surfaces: whether to measure distances, which takes longer than all else.

    Raises:
        ValueError: if the masks differ in size, or hold a number that is no class.
    """
    counts = overlap_counts(answer, truth, task.num_outputs)
    areas, sizes = zip(dice(counts).tolist(), jaccard(counts).tolist(), strict=True), counts[:, 1:].tolist()
    outlines = _surface_scores(task, answer, truth, spacing_mm, tolerance_mm) if surfaces else {}
    return [
        ClassScores(
            name=name,
            dice=none_if_nan(overlap[0]),
            jaccard=none_if_nan(overlap[1]),
            hausdorff_95=outlines.get(k, (None, None))[0],
            surface_dice=outlines.get(k, (None, None))[1],
            true_size=true,
            answered_size=answered,
        )
        for k, (name, overlap, (answered, true)) in enumerate(zip(task.class_names, areas, sizes, strict=True))
        if k > 0
    ]


def mask_metrics(task: ImagingTask, scores_of_cases: Sequence[Sequence[ClassScores]]) -> dict[str, float | None]:
    """Dice, Jaccard, 95 % Hausdorff distance and surface Dice: means over the cases of a class, then over classes.

    Raises:
        ValueError: if the scores are not of the task's classes.
    """
    for scores in scores_of_cases:
        if tuple(one.name for one in scores) != task.class_names[1:]:
            raise ValueError(
                f"Every case has one score for each class, {', '.join(task.class_names[1:])}; "
                f"got {', '.join(one.name for one in scores)}."
            )
    return _means(scores_of_cases)


def score_table(scores_of_cases: Sequence[Sequence[ClassScores]]) -> dict[str, Float[np.ndarray, "case class"]]:
    """Each metric's scores of all cases, one column per class; NaN where undefined."""
    return {
        metric: np.array([[getattr(one, metric) for one in scores] for scores in scores_of_cases], dtype=np.float64)
        for metric in MASK_METRICS
    }


def weighted_mask_metrics(
    tables: Mapping[str, Float[np.ndarray, "case class"]], weights: Float[np.ndarray, "case resample"]
) -> Resampled:
    """Every metric in every resample: the mean over a class's cases, then over the classes that have a score at all.

    A resample that lost one of these classes would measure something else: there the metric is NaN.

    Args:
        tables: from `score_table`.
        weights: how often each case counts in each resample.
    """
    return {metric: _mean_of_classes(table, weights) for metric, table in tables.items()}


def left_out(task: ImagingTask, scores_of_cases: Sequence[Sequence[ClassScores]]) -> dict[str, LeftOut]:
    """What the rule for empty masks left out, by class."""
    found = {}
    for k, name in enumerate(task.class_names[1:]):
        sizes = [(scores[k].true_size, scores[k].answered_size) for scores in scores_of_cases]
        found[name] = LeftOut(
            cases=len(sizes),
            absent=sum(true == 0 and answered == 0 for true, answered in sizes),
            missed=sum(true > 0 and answered == 0 for true, answered in sizes),
            invented=sum(true == 0 and answered > 0 for true, answered in sizes),
        )
    return found


def _means(scores_of_cases: Sequence[Sequence[ClassScores]]) -> dict[str, float | None]:
    ones = np.ones((len(scores_of_cases), 1))
    values = weighted_mask_metrics(score_table(scores_of_cases), ones)
    return {name: none_if_nan(float(value[0])) for name, value in values.items()}


def _mean_of_classes(
    table: Float[np.ndarray, "case class"], weights: Float[np.ndarray, "case resample"]
) -> Float[np.ndarray, " resample"]:
    defined = ~np.isnan(table)
    kept = defined.any(axis=0)
    totals = np.where(defined, table, 0.0).T[kept] @ weights
    means = ratio(totals, defined.T[kept].astype(np.float64) @ weights)
    lost: Float[np.ndarray, " resample"] = np.where(np.isnan(means).any(axis=0), np.nan, mean_of_defined(means))
    return lost


def _surface_scores(
    task: ImagingTask,
    answer: Integer[Tensor, "*space"],
    truth: Integer[Tensor, "*space"],
    spacing_mm: Sequence[float] | None,
    tolerance: float,
) -> dict[int, tuple[float | None, float]]:
    """Hausdorff distance and surface Dice of the classes that one of the masks has, by class number."""
    ours, theirs = (mask.numpy().astype(np.int32, copy=False) for mask in (answer, truth))
    spacing = tuple(spacing_mm) if spacing_mm is not None else (1.0,) * answer.ndim
    found: dict[int, tuple[float | None, float]] = {}
    for number, box in enumerate(class_boxes(ours, theirs, task.num_outputs), start=1):
        if box is None:
            continue
        answered, true = ours[box] == number, theirs[box] == number
        if answered.any() and true.any():
            distances = surface_distances(answered, true, spacing)
            found[number] = distances.hausdorff_95, distances.surface_dice(tolerance)
        else:
            found[number] = None, 0.0
    return found
