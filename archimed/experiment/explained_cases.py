"""Which cases of a run are explained, and which of their classes: those asked for, or a few by a rule that is told."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num

from archimed.errors import SettingsError
from archimed.experiment.predictions import SplitPredictions
from archimed.task import ImagingTask

MOST_CLASSES = 6  # of which cases are picked: those with most test cases
MOST_OUTPUTS = 3  # labels that are explained of one case
CALLED = 0.5  # probability above which a label is called positive
RULE = (
    "of each class the test case answered right and the one answered wrong that have the median probability of what "
    "was answered"
)
RULE_OF_LABELS = (
    "of each label the test case in which it was found and the one in which it was missed or invented that have the "
    "median probability of it"
)


@dataclass(frozen=True)
class PickedCase:
    """A case to explain.

    Attributes:
        case: its id.
        why: in a few words; empty where it was asked for.
        outputs: classes or labels to explain besides those that it has or is answered to have.
    """

    case: str
    why: str = ""
    outputs: tuple[int, ...] = ()


def asked_cases(text: str) -> list[str]:
    """The ids that `--cases` names: with commas, or one in each line of a file (the column `case` of a table).

    Raises:
        SettingsError: it names none.
    """
    path = Path(text)
    if not path.is_file():
        found = [name.strip() for name in text.split(",")]
    else:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        column = rows[0].index("case") if rows and "case" in rows[0] else None
        found = [row[column or 0].strip() for row in rows[column is not None :] if len(row) > (column or 0)]
    found = list(dict.fromkeys(name for name in found if name))
    if not found:
        raise SettingsError(
            f"--cases takes ids of cases with commas between them, or a file with one in each line; {text!r} names "
            "none. Leave it out to have a few picked."
        )
    return found


def picked_cases(task: ImagingTask, answers: SplitPredictions) -> list[PickedCase]:
    """A few test cases by the rule, right answers before wrong ones, class by class; no case twice."""
    found: dict[str, PickedCase] = {}
    for output in frequent(task, answers.target):
        name = task.class_names[output]
        for right, rows in ((True, right_rows(task, answers, output)), (False, wrong_rows(task, answers, output))):
            row = median_row(answers, rows, output if task.kind == "multi-label" else None)
            if row is not None and answers.cases[row] not in found:
                case = answers.cases[row]
                found[case] = PickedCase(case, f"{name}, answered {'right' if right else 'wrong'}", (output,))
    return list(found.values())


def frequent(task: ImagingTask, target: Num[np.ndarray, "case *label"]) -> list[int]:
    """The classes or labels of which cases are picked, in their order."""
    if task.kind == "multi-label":
        counts = np.nansum(target, axis=0)
    else:
        counts = np.bincount(target.astype(int), minlength=task.num_outputs)
    return sorted(np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist())


def right_rows(task: ImagingTask, answers: SplitPredictions, output: int) -> Num[np.ndarray, " row"]:
    """Cases of a class that are answered so."""
    if task.kind == "multi-label":
        return np.flatnonzero((answers.target[:, output] == 1) & (answers.probabilities[:, output] > CALLED))
    return np.flatnonzero((answers.target == output) & (answers.probabilities.argmax(1) == output))


def wrong_rows(task: ImagingTask, answers: SplitPredictions, output: int) -> Num[np.ndarray, " row"]:
    """Cases of a class that are answered otherwise; of a label also those that lack it and are answered to have it."""
    if task.kind == "multi-label":
        called = answers.probabilities[:, output] > CALLED
        known = ~np.isnan(answers.target[:, output])
        return np.flatnonzero(known & ((answers.target[:, output] == 1) != called))
    return np.flatnonzero((answers.target == output) & (answers.probabilities.argmax(1) != output))


def median_row(answers: SplitPredictions, rows: Num[np.ndarray, " row"], output: int | None) -> int | None:
    """Of some cases that with the median probability, of a label or else of what is answered; None of none."""
    if not len(rows):
        return None
    sure = answers.probabilities.max(1) if output is None else answers.probabilities[:, output]
    order = sorted(rows.tolist(), key=lambda row: (float(sure[row]), answers.cases[row]))
    return int(order[len(order) // 2])


def explained_outputs(
    task: ImagingTask,
    probabilities: Float[np.ndarray, " class"],
    target: Num[np.ndarray, "*label"],
    more: Sequence[int],
) -> list[int]:
    """The classes of one case to explain: the answered one, then the true one where it is another.

    Of labels those that the case is picked for, has or is answered to have, the likeliest first, three at most; the
    likeliest of all where it has none.
    """
    likeliest = int(probabilities.argmax())
    if task.kind != "multi-label":
        return list(dict.fromkeys([likeliest, int(target)]))
    shown = np.flatnonzero((probabilities > CALLED) | (target == 1)).tolist()
    ranked = sorted(shown, key=lambda output: -float(probabilities[output]))
    return list(dict.fromkeys([*more, *ranked]))[:MOST_OUTPUTS] or [likeliest]
