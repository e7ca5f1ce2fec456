"""The threshold a binary network is used at: chosen on validation cases, applied unchanged to the test cases.

Two rules: the highest threshold that still finds a required share of the positive cases, and the one of the best F1
along the precision-recall curve, which the MSTF-NAS paper's CBIS-DDSM accuracies use (Sec. IV-D, Table V).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.evaluation.intervals import IntervalRow, metric_intervals
from archimed.task import ImagingTask


@dataclass(frozen=True)
class OperatingPoint:
    """What a network does at thresholds chosen on validation.

    Attributes:
        rule: how the thresholds were chosen, in plain words.
        thresholds: one row per repeat: `fold`, `seed`, `threshold` (None where validation has no positive case).
        validation: metrics on the cases the thresholds were chosen on; they flatter.
        test: metrics on the test cases, with intervals that take the thresholds as given.
    """

    rule: str
    thresholds: tuple[dict[str, int | float | None], ...]
    validation: dict[str, IntervalRow]
    test: dict[str, IntervalRow]


def threshold_for_sensitivity(
    positive: Bool[np.ndarray, " case"], scores: Float[np.ndarray, " case"], required: float
) -> float | None:
    """The highest threshold above which at least the required share of positive cases lies; None without any.

    It lies half-way between the last score that must be called positive and the next lower one, so that it
    does not hang on a case's last digit.

    Raises:
        ValueError: unless 0 < required <= 1.
    """
    if not 0 < required <= 1:
        raise ValueError(f"A required sensitivity is above 0 and at most 1; got {required}.")
    if not positive.any():
        return None
    ordered = np.sort(scores[positive])[::-1]
    needed = int(np.ceil(required * len(ordered) - 1e-9))
    return below(float(ordered[needed - 1]), scores)


def threshold_of_best_f1(positive: Bool[np.ndarray, " case"], scores: Float[np.ndarray, " case"]) -> float | None:
    """The threshold of the highest F1; the lowest of several, which finds more cases. None without a positive."""
    if not positive.any():
        return None
    lowest_called = np.unique(scores)
    ordered_all, ordered_hits = np.sort(scores), np.sort(scores[positive])
    called = len(scores) - np.searchsorted(ordered_all, lowest_called)
    hits = positive.sum() - np.searchsorted(ordered_hits, lowest_called)
    f1 = 2 * hits / (called + positive.sum())
    return below(float(lowest_called[int(f1.argmax())]), scores)


def operating_point(
    task: ImagingTask,
    validation: Sequence[RepeatPredictions],
    test: Sequence[RepeatPredictions],
    required_sensitivity: float | None,
    seed: int,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> OperatingPoint | None:
    """Choose each repeat's threshold on its own validation cases and measure it on its test cases.

    Args:
        task: a binary task.
        validation: validation predictions of every (fold, seed).
        test: test predictions of the same (fold, seed)s.
        required_sensitivity: share of positive cases to find; None takes the threshold of the best F1.
        seed: seed of the intervals' resampling.
        resamples: bootstrap resamples.
        confidence: of the intervals.

    Returns:
        The operating point; None for other than binary tasks, or if no validation set has a positive case.
    """
    if task.kind != "binary":
        return None
    rows: list[dict[str, int | float | None]] = []
    chosen_on, applied_to = [], []
    tested = {(repeat.fold, repeat.seed): repeat for repeat in test}
    for repeat in sorted(validation, key=lambda r: (r.fold, r.seed)):
        positive, scores = repeat.target == 1, repeat.probabilities[:, -1]
        if required_sensitivity is None:
            threshold = threshold_of_best_f1(positive, scores)
        else:
            threshold = threshold_for_sensitivity(positive, scores, required_sensitivity)
        rows.append({"fold": repeat.fold, "seed": repeat.seed, "threshold": threshold})
        if threshold is not None:
            chosen_on.append(replace(repeat, threshold=threshold))
            applied_to.append(replace(tested[repeat.fold, repeat.seed], threshold=threshold))
    if not chosen_on:
        return None
    return OperatingPoint(
        rule=_rule(required_sensitivity),
        thresholds=tuple(rows),
        validation=metric_intervals(task, chosen_on, seed, resamples, confidence=confidence),
        test=metric_intervals(task, applied_to, seed, resamples, confidence=confidence),
    )


def _rule(required_sensitivity: float | None) -> str:
    if required_sensitivity is None:
        return "threshold of the best F1 on the validation cases"
    return f"highest threshold that finds at least {required_sensitivity:.1%} of the positive validation cases"


def below(score: float, scores: Float[np.ndarray, " case"]) -> float:
    """A threshold between this score and the next lower one; below every score if there is none."""
    lower = scores[scores < score]
    if len(lower):
        middle = (score + float(lower.max())) / 2
        return middle if middle < score else float(lower.max())
    return score / 2 if score > 0 else -1.0
