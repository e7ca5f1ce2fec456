"""Points of ROC and precision-recall curves, and the confusion matrix, as few as a drawing needs."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from archimed.evaluation.metrics import answer_table, check_predictions, truth_table
from archimed.task import ImagingTask

MOST_POINTS = 200  # of a drawn curve; more cannot be seen


@dataclass(frozen=True)
class Curve:
    """A curve of one class against the rest, from the strictest threshold to the laxest.

    Attributes:
        x: false positive rate (ROC) or recall (precision-recall).
        y: true positive rate (ROC) or precision (precision-recall).
    """

    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]

    def as_json(self) -> dict[str, list[float]]:
        """Lists of plain numbers."""
        return {"x": self.x.tolist(), "y": self.y.tolist()}


def roc_curve(
    positive: Bool[np.ndarray, " case"], scores: Float[np.ndarray, " case"], most_points: int = MOST_POINTS
) -> Curve | None:
    """True against false positive rate at every threshold, from (0, 0) to (1, 1); None if a class is missing."""
    hits, alarms = _running_counts(positive, scores)
    if hits[-1] == 0 or alarms[-1] == 0:
        return None
    return thinned(Curve(alarms / alarms[-1], hits / hits[-1]), most_points)


def precision_recall_curve(
    positive: Bool[np.ndarray, " case"], scores: Float[np.ndarray, " case"], most_points: int = MOST_POINTS
) -> Curve | None:
    """Precision against recall, starting at (0, 1) by convention; None without a positive case."""
    hits, alarms = _running_counts(positive, scores)
    if hits[-1] == 0:
        return None
    precision = np.concatenate([[1.0], hits[1:] / (hits[1:] + alarms[1:])])
    return thinned(Curve(hits / hits[-1], precision), most_points)


def class_curves(
    task: ImagingTask,
    target: Num[np.ndarray, "case *label"],
    probabilities: Float[np.ndarray, "case class"],
    curve: Callable[[Bool[np.ndarray, " case"], Float[np.ndarray, " case"]], Curve | None],
) -> dict[str, Curve | None]:
    """`roc_curve` or `precision_recall_curve` of every class or label, each against the rest.

    A binary task has one curve, of its positive class. Unknown labels are left out.
    """
    check_predictions(task, target, probabilities)
    truth = truth_table(task, target)
    curves = {}
    for k, name in enumerate(task.class_names):
        if task.kind == "binary" and k != task.num_outputs - 1:
            continue
        known = ~np.isnan(truth[:, k])
        curves[name] = curve(truth[known, k] == 1, probabilities[known, k]) if known.any() else None
    return curves


def confusion_matrix(
    task: ImagingTask,
    target: Num[np.ndarray, "case *label"],
    probabilities: Float[np.ndarray, "case class"],
    threshold: float = 0.5,
) -> Int[np.ndarray, "class class"]:
    """Cases by true class (rows) and answered class (columns); a multi-label task has none (see `class_table`).

    Raises:
        ValueError: for a multi-label task, or if shapes do not fit.
    """
    check_predictions(task, target, probabilities)
    if task.kind == "multi-label":
        raise ValueError("A confusion matrix needs one class per case; a multi-label task has a table of labels.")
    answers = answer_table(task, probabilities, threshold).argmax(axis=1)
    classes = task.num_outputs
    cells = np.bincount(target.astype(np.int64) * classes + answers, minlength=classes * classes)
    return cells.reshape(classes, classes)


def thinned(curve: Curve, most_points: int) -> Curve:
    """Drop points on straight runs, then keep points evenly spaced along the curve, its ends always."""
    x, y = curve.x, curve.y
    if len(x) > 2:
        ahead, behind = (np.diff(x)[1:], np.diff(y)[1:]), (np.diff(x)[:-1], np.diff(y)[:-1])
        bends = np.abs(ahead[0] * behind[1] - ahead[1] * behind[0]) > 1e-12
        kept = np.concatenate([[True], bends, [True]])
        x, y = x[kept], y[kept]
    if len(x) > most_points:
        travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        wanted = np.linspace(0, travelled[-1], most_points)
        kept = np.unique(np.concatenate([[0], np.searchsorted(travelled, wanted[1:-1]), [len(x) - 1]]))
        x, y = x[kept], y[kept]
    return Curve(x, y)


def _running_counts(
    positive: Bool[np.ndarray, " case"], scores: Float[np.ndarray, " case"]
) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """True and false positives above each distinct score, from none to all; equal scores enter together."""
    order = np.argsort(-scores, kind="stable")
    ordered = positive[order]
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.concatenate([[0.0], np.cumsum(ordered)[ends]])
    alarms = np.concatenate([[0.0], np.cumsum(~ordered)[ends]])
    return hits, alarms
