"""The official MedMNIST figures and result file, defined as its evaluator defines them (`medmnist/evaluator.py`).

They stand beside our own metrics, which differ in what they say when a class is missing: the official AUC is the mean
over all classes and is undefined if one of them does not occur.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from archimed.evaluation.auc import weighted_auc
from archimed.evaluation.metrics import answer_table, check_predictions, none_if_nan, truth_table
from archimed.files import write_text
from archimed.task import ImagingTask

SPLIT_NAMES: Mapping[str, str] = {"train": "train", "validation": "val", "test": "test"}


def medmnist_metrics(
    task: ImagingTask, target: Num[np.ndarray, "case *label"], probabilities: Float[np.ndarray, "case class"]
) -> dict[str, float | None]:
    """The official `AUC` and `ACC` of one split; None where MedMNIST's evaluator has no answer.

    AUC: binary, of the last column; multi-class (ordinal grades too) and multi-label, the mean over all columns of
    one against the rest. ACC: binary, the last column above 0.5; multi-class, the likeliest class; multi-label, the
    mean over labels of each label's accuracy at 0.5. MedMNIST knows every label: with an unknown one both are None.

    Raises:
        ValueError: if shapes, classes or probabilities do not fit the task.
    """
    check_predictions(task, target, probabilities)
    truth, answers = truth_table(task, target), answer_table(task, probabilities)
    if np.isnan(truth).any():
        return {"AUC": None, "ACC": None}
    columns = [task.num_outputs - 1] if task.kind == "binary" else list(range(task.num_outputs))
    ones = np.ones((len(target), 1))
    areas = [weighted_auc(truth[:, k] == 1, probabilities[:, k], ones)[0] for k in columns]
    right = answers == (truth == 1)
    accuracy = right.mean() if task.kind == "multi-label" else right.all(axis=1).mean()
    return {"AUC": none_if_nan(float(np.mean(areas))), "ACC": float(accuracy)}


def result_file_name(flag: str, split: str, run: str, figures: Mapping[str, float | None]) -> str:
    """The standard name, e.g. `breastmnist_test_[AUC]0.930_[ACC]0.872@resnet18.csv`.

    Args:
        flag: the data set's MedMNIST name, size included if it is not 28 pixels, e.g. `breastmnist_224`.
        split: `train`, `validation` or `test`.
        run: what tells runs apart. The evaluator reads it from the last `@` to the next dot, so anything but letters,
            digits, `-` and `_` becomes `-`.
        figures: from `medmnist_metrics`; three decimals each go into the name, `nan` where undefined.
    """
    spelt = "_".join(f"[{name}]{np.nan if value is None else value:.3f}" for name, value in figures.items())
    return f"{flag}_{SPLIT_NAMES[split]}_{spelt}@{re.sub('[^A-Za-z0-9_-]', '-', run)}.csv"


def write_medmnist_result(
    folder: Path,
    flag: str,
    split: str,
    run: str,
    *,
    probabilities: Float[np.ndarray, "case class"],
    figures: Mapping[str, float | None],
) -> Path:
    """Write a standard result file and return its path: rows `index,score...`, no header.

    Scores have the shortest digits that read back as the same number of their precision, as pandas writes them.

    Args:
        folder: where to; made if missing.
        flag: as in `result_file_name`.
        split: as in `result_file_name`.
        run: as in `result_file_name`.
        probabilities: in the order of the official split: the row number is the index.
        figures: from `medmnist_metrics`.
    """
    path = folder / result_file_name(flag, split, run, figures)
    rows = [",".join([str(index), *(str(score) for score in row)]) for index, row in enumerate(probabilities)]
    write_text(path, "".join(f"{row}\n" for row in rows))
    return path
