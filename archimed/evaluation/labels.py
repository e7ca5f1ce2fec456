"""What a network achieves on each label by itself, with intervals, and the name of the label that says "normal"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from archimed.evaluation.bootstrap import RepeatPredictions, bootstrap_metrics
from archimed.evaluation.intervals import interval_row
from archimed.evaluation.metrics import Resampled, label_rates, none_if_nan
from archimed.task import ImagingTask

NORMAL_NAMES = ("normal", "no finding", "no findings", "healthy")  # in any case, with spaces, `_` or `-`


def normal_label(class_names: Sequence[str], setting: str) -> str | None:
    """The label that says that nothing was found: as named, of `auto` that which is called so, of `none` none.

    Raises:
        ValueError: there is no label of the name that was given.
    """
    if setting == "none":
        return None
    if setting != "auto":
        if setting not in class_names:
            raise ValueError(f"{setting!r} is none of {', '.join(class_names)}")
        return setting
    called = [
        name
        for name in class_names
        if " ".join(name.lower().replace("_", " ").replace("-", " ").split()) in NORMAL_NAMES
    ]
    return called[0] if len(called) == 1 else None


@dataclass(frozen=True)
class LabelAnswers:
    """The answers of one trained network (`Tested`), measured label by label; metrics are named `<label>.<metric>`."""

    answers: RepeatPredictions

    @property
    def fold(self) -> int:
        """As of the answers."""
        return self.answers.fold

    @property
    def seed(self) -> int:
        """As of the answers."""
        return self.answers.seed

    @property
    def cases(self) -> tuple[str, ...]:
        """As of the answers."""
        return self.answers.cases

    @property
    def patients(self) -> tuple[str, ...]:
        """As of the answers."""
        return self.answers.patients

    def metrics(self, task: ImagingTask) -> dict[str, float | None]:
        """The rates of each label, by the number of the label; None where the data leave them undefined."""
        values = self.resampled(task, np.ones((len(self.cases), 1)))
        return {name: none_if_nan(float(value[0])) for name, value in values.items()}

    def resampled(self, task: ImagingTask, weights: Float[np.ndarray, "case resample"]) -> Resampled:
        """The same in every resample."""
        one = self.answers
        rates = label_rates(task, one.target, one.probabilities, weights, one.threshold)
        return {f"{k}.{name}": values[k] for name, values in rates.items() for k in range(task.num_outputs)}


def label_intervals(
    task: ImagingTask,
    repeats: Sequence[RepeatPredictions],
    seed: int,
    network: str,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """One row per label: its name, its known cases and positives in all test cases, and its rates with intervals.

    Args:
        task: a multi-label task.
        repeats: test answers of every (fold, seed), each with its thresholds.
        seed: seed of the resampling.
        network: name of the network.
        resamples: bootstrap resamples.
        confidence: of the intervals.

    Returns:
        `label`, `cases`, `positives` (each case counted once in each fold) and `metrics`: of `auc`, `f1`,
        `sensitivity`, `specificity`, `precision`, `accuracy` and `weighted_tpr_fpr` as in
        `archimed.evaluation.intervals.metric_intervals`.
    """
    found = bootstrap_metrics(task, [LabelAnswers(repeat) for repeat in repeats], seed, network, resamples)
    targets = {repeat.fold: repeat.target for repeat in repeats}.values()
    rows = []
    for k, label in enumerate(task.class_names):
        own = [name for name in found.values if name.partition(".")[0] == str(k)]
        rows.append(
            {
                "label": label,
                "cases": int(sum((~np.isnan(target[:, k])).sum() for target in targets)),
                "positives": int(sum((target[:, k] == 1).sum() for target in targets)),
                "metrics": {
                    name.partition(".")[2]: interval_row(found.values[name], found.draws[name], confidence)
                    for name in own
                },
            }
        )
    return rows
