"""Does a probability of 80 % come true in 80 % of the cases: reliability bins, calibration error, Brier score."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Num

from archimed.evaluation.bootstrap import RepeatPredictions, mean_of_known
from archimed.evaluation.metrics import check_predictions, metrics, truth_table
from archimed.task import ImagingTask

Binning = Literal["equal mass", "equal width"]


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of nearly the same probability.

    Attributes:
        low: lower edge, not included except in the first bin.
        high: upper edge, included.
        count: predictions in the bin.
        predicted: their mean probability.
        observed: share of them that came true.
    """

    low: float
    high: float
    count: int
    predicted: float
    observed: float


def reliability_bins(
    came_true: Bool[np.ndarray, " prediction"],
    probability: Float[np.ndarray, " prediction"],
    bins: int = 10,
    binning: Binning = "equal mass",
) -> tuple[ReliabilityBin, ...]:
    """Group predictions by probability; empty bins are left out.

    `equal mass` puts edges at quantiles, so that every bin rests on about as many cases (equal probabilities stay
    together); `equal width` cuts [0, 1] evenly, and its outer bins usually hold nearly everything.
    """
    if len(probability) == 0:
        return ()
    shares = np.linspace(0, 1, bins + 1)
    edges = np.quantile(probability, shares) if binning == "equal mass" else shares
    member = np.searchsorted(edges[1:-1], probability)
    found = []
    for number in np.unique(member):
        inside = member == number
        found.append(
            ReliabilityBin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                count=int(inside.sum()),
                predicted=float(probability[inside].mean()),
                observed=float(came_true[inside].mean()),
            )
        )
    return tuple(found)


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    """Mean gap between predicted and observed, bins weighted by their counts; None without any prediction."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.predicted - b.observed) for b in bins) / total if total else None


def stated_probabilities(
    task: ImagingTask, target: Num[np.ndarray, "case *label"], probabilities: Float[np.ndarray, "case class"]
) -> tuple[Bool[np.ndarray, " prediction"], Float[np.ndarray, " prediction"]]:
    """The predictions that calibration judges: whether each came true, and its probability.

    Binary: the positive class of every case. Multi-class and ordinal: the likeliest class of every case. Multi-label:
    every known label of every case.
    """
    check_predictions(task, target, probabilities)
    truth = truth_table(task, target)
    if task.kind == "binary":
        return truth[:, -1] == 1, probabilities[:, -1]
    if task.kind in ("multi-class", "ordinal"):
        return probabilities.argmax(axis=1) == target, probabilities.max(axis=1)
    known = ~np.isnan(truth)
    return truth[known] == 1, probabilities[known]


def calibration(
    task: ImagingTask, repeats: Sequence[RepeatPredictions], bins: int = 10, binning: Binning = "equal mass"
) -> dict[str, object]:
    """Calibration of a network over its repeats.

    Returns:
        `expected_calibration_error` and `brier`, means over repeats (each computed on one trained network), `bins`
        of all repeats' predictions together, for drawing, and `binning`. The error grows by chance with fewer cases
        per bin: it is to be compared between networks on the same cases, not with zero.
    """
    stated = [stated_probabilities(task, r.target, r.probabilities) for r in repeats]
    errors = [expected_calibration_error(reliability_bins(*one, bins, binning)) for one in stated]
    pooled = reliability_bins(
        np.concatenate([came_true for came_true, _ in stated]),
        np.concatenate([probability for _, probability in stated]),
        bins,
        binning,
    )
    return {
        "expected_calibration_error": mean_of_known(errors),
        "brier": mean_of_known([metrics(task, r.target, r.probabilities)["brier"] for r in repeats]),
        "binning": binning,
        "bins": [asdict(one) for one in pooled],
    }
