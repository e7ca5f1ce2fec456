"""predictions.csv: what a network answered to every validation and test case, as a table that any tool reads."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archimed.errors import RunError
from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.evaluation.metrics import Thresholds, metrics
from archimed.experiment.mask_predictions import COLUMNS, SplitMasks, read_masks
from archimed.files import write_through
from archimed.task import ImagingTask


@dataclass(frozen=True)
class SplitPredictions:
    """What a network said about the cases of one split.

    Attributes:
        split: validation, test or external.
        cases: case ids.
        target: class indices [case] or labels [case, label] with NaN where unknown.
        probabilities: [case, class].
        threshold: a case is called positive above it, or above that of the label (multi-label tasks).
    """

    split: str
    cases: tuple[str, ...]
    target: NDArray[Any]
    probabilities: NDArray[np.float32]
    threshold: Thresholds = 0.5

    def metrics(self, task: ImagingTask) -> dict[str, float | None]:
        """Every metric of the split; None where the data leave it undefined."""
        return metrics(task, self.target, self.probabilities, self.threshold)

    def tested(self, fold: int, seed: int, patients: Mapping[str, str]) -> RepeatPredictions:
        """The same as the evaluation takes it, with the patient of each case."""
        members = tuple(patients[case] for case in self.cases)
        return RepeatPredictions(fold, seed, self.cases, members, self.target, self.probabilities, self.threshold)


Split = SplitPredictions | SplitMasks


def write_predictions(path: Path, task: ImagingTask, splits: Sequence[Split]) -> None:
    """Write the table: case, split, label (or one column per label, empty where unknown), one probability per class.

    Of a segmentation it has one line for each class of each case, with its scores: see `SplitMasks`.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(columns(task))
            for split in splits:
                table.writerows(split.rows() if isinstance(split, SplitMasks) else rows(task, split))

    write_through(path, write)


def read_predictions(path: Path, task: ImagingTask) -> dict[str, Split]:
    """Read back what `write_predictions` wrote, by split.

    Raises:
        RunError: the table is missing or is not one of this task.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        read = read_masks if task.kind == "segmentation" else read_split
        return {
            split: read(task, split, [line for line in lines if line["split"] == split])
            for split in dict.fromkeys(line["split"] for line in lines)
        }
    except FileNotFoundError:
        raise RunError(f"Predictions are missing: {path}. Make them with: archimed evaluate RUN") from None
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"Predictions are damaged: {path} ({error}). Make them with: archimed evaluate RUN") from None


def read_split(task: ImagingTask, split: str, lines: list[dict[str, str]]) -> SplitPredictions:
    """The lines of one split as arrays."""
    names = label_columns(task)
    if task.kind == "multi-label":
        target = np.array([[float(line[name]) if line[name] else math.nan for name in names] for line in lines])
    else:
        target = np.array([task.class_names.index(line["label"]) for line in lines], dtype=np.int64)
    probabilities = [[float(line[name]) for name in probability_columns(task)] for line in lines]
    return SplitPredictions(
        split, tuple(line["case"] for line in lines), target, np.array(probabilities, dtype=np.float32)
    )


def rows(task: ImagingTask, split: SplitPredictions) -> Iterator[list[str]]:
    """The lines of one split."""
    for case, target, probabilities in zip(split.cases, split.target, split.probabilities, strict=True):
        if task.kind == "multi-label":
            labels = ["" if math.isnan(value) else str(int(value)) for value in target]
        else:
            labels = [task.class_names[int(target)]]
        yield [case, split.split, *labels, *(repr(float(value)) for value in probabilities)]


def columns(task: ImagingTask) -> Sequence[str]:
    """The names of all columns."""
    return (
        COLUMNS if task.kind == "segmentation" else ["case", "split", *label_columns(task), *probability_columns(task)]
    )


def label_columns(task: ImagingTask) -> list[str]:
    """The names of the columns that hold what is true."""
    return [f"label_{name}" for name in task.class_names] if task.kind == "multi-label" else ["label"]


def probability_columns(task: ImagingTask) -> list[str]:
    """The names of the columns that hold what the network said."""
    return [f"probability_{name}" for name in task.class_names]
