"""Metrics with their 95 % intervals: the mean over folds and seeds, and how far another sample would move it."""

from collections.abc import Sequence

import numpy as np

from archimed.evaluation.bootstrap import Bootstrap, Tested, bootstrap_metrics
from archimed.task import ImagingTask

IntervalRow = dict[str, float | int | None]


def metric_intervals(
    task: ImagingTask,
    repeats: Sequence[Tested],
    seed: int,
    resamples: int = 1000,
    *,
    confidence: float = 0.95,
    network: str = "",
) -> dict[str, IntervalRow]:
    """Every metric of a network as {"value", "low", "high"}: the mean over its repeats and its interval.

    Patients are resampled within folds, and seeds where there are several: see `archimed.evaluation.bootstrap`.

    Args:
        task: what was asked.
        repeats: test answers of every (fold, seed).
        seed: seed of the resampling.
        resamples: number of bootstrap resamples.
        confidence: share of the resamples inside the interval.
        network: name of the network, which names its own stream of seed draws.

    Returns:
        Per metric `value`, `low` and `high`, None where undefined. Resamples in which the metric is undefined (all of
        one class) are left out; their number is then given as `undefined`. If that is more than half of them, there
        is a value without an interval.
    """
    return intervals_of(bootstrap_metrics(task, repeats, seed, network, resamples), confidence)


def intervals_of(bootstrap: Bootstrap, confidence: float = 0.95) -> dict[str, IntervalRow]:
    """The intervals of metrics that were resampled already; see `metric_intervals`."""
    return {name: interval_row(value, bootstrap.draws[name], confidence) for name, value in bootstrap.values.items()}


def interval_row(value: float | None, draws: np.ndarray, confidence: float = 0.95) -> IntervalRow:
    """One value with the percentile interval of its resamples; NaN resamples are left out and counted."""
    defined = draws[~np.isnan(draws)]
    row: IntervalRow = {"value": value, "low": None, "high": None}
    if value is not None and 2 * len(defined) >= len(draws):
        low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
        row |= {"low": float(low), "high": float(high)}
    if len(defined) < len(draws):
        row["undefined"] = len(draws) - len(defined)
    return row
