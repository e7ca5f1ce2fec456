"""The official MedMNIST figures and result file, defined as its evaluator defines them (`medmnist/evaluator.py`).

They stand beside our own metrics, which differ in what they say when a class is missing: the official AUC is the mean
over all classes and is undefined if one of them does not occur.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from archimed.evaluation.auc import weighted_auc
from archimed.evaluation.metrics import answer_table, check_predictions, none_if_nan, truth_table
from archimed.task import ImagingTask

NATIVE_SIZE = 28  # pixels; other sizes are part of a file's name
SPLIT_NAMES: Mapping[str, str] = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class OfficialMetrics:
    """AUC and ACC of one split as MedMNIST counts them; None where its evaluator has no answer."""

    auc: float | None
    acc: float | None

    def as_json(self) -> dict[str, float | None]:
        """The two figures under their official names."""
        return {"AUC": self.auc, "ACC": self.acc}


def official_metrics(
    task: ImagingTask, target: Num[np.ndarray, "case *label"], probabilities: Float[np.ndarray, "case class"]
) -> OfficialMetrics:
    """AUC and ACC of one split.

    AUC: binary, of the last column; multi-class (ordinal grades too) and multi-label, the mean over all columns of
    one against the rest. ACC: binary, the last column above 0.5; multi-class, the likeliest class; multi-label, the
    mean over labels of each label's accuracy at 0.5. MedMNIST knows every label: with an unknown one both are None.

    Raises:
        ValueError: if shapes, classes or probabilities do not fit the task.
    """
    check_predictions(task, target, probabilities)
    truth, answers = truth_table(task, target), answer_table(task, probabilities)
    if np.isnan(truth).any():
        return OfficialMetrics(None, None)
    columns = [task.num_outputs - 1] if task.kind == "binary" else list(range(task.num_outputs))
    ones = np.ones((len(target), 1))
    areas = [weighted_auc(truth[:, k] == 1, probabilities[:, k], ones)[0] for k in columns]
    right = answers == (truth == 1)
    accuracy = right.mean() if task.kind == "multi-label" else right.all(axis=1).mean()
    return OfficialMetrics(none_if_nan(float(np.mean(areas))), float(accuracy))


def result_file_name(flag: str, size: int, split: str, official: OfficialMetrics, run: str) -> str:
    """The standard name, e.g. `breastmnist_test_[AUC]0.930_[ACC]0.872@resnet18.csv`.

    Args:
        flag: the data set's MedMNIST name, e.g. `breastmnist`.
        size: image side in pixels; 28 is not spelt out.
        split: `train`, `validation` or `test`.
        official: the figures that go into the name, three decimals each (`nan` where undefined).
        run: what tells runs apart; its evaluator reads it up to the first dot.

    Raises:
        ValueError: if the evaluator could not read the name back.
    """
    if "_" in flag or any(mark in run for mark in "@./\\") or not run:
        raise ValueError(
            f"A MedMNIST result file needs a data set name without _ and a run name without @ . / \\; "
            f"got {flag!r} and {run!r}. Choose another run name."
        )
    suffix = "" if size == NATIVE_SIZE else f"_{size}"
    figures = "_".join(
        f"[{name}]{np.nan if value is None else value:.3f}" for name, value in official.as_json().items()
    )
    return f"{flag}{suffix}_{SPLIT_NAMES[split]}_{figures}@{run}.csv"


def write_result_file(
    folder: Path,
    name: str,
    probabilities: Float[np.ndarray, "case class"],
) -> Path:
    """Write the scores as rows `index,score...` without a header, and return the file's path.

    Scores are written with the shortest digits that read back to the same number of their precision. A file that
    exists is replaced in one step.

    Args:
        folder: an existing folder.
        name: from `result_file_name`.
        probabilities: in the order of the official split; the row number is the index.
    """
    path = folder / name
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for index, row in enumerate(probabilities):
            writer.writerow([index, *(str(value) for value in row)])
    unfinished.replace(path)
    return path
