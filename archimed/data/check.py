"""`archimed data check`: read every case once and tell all that is wrong, instead of stopping at the first flaw."""

from dataclasses import dataclass
from typing import Any

from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.data.describe import (
    class_counts,
    class_text,
    duplicates_across_splits,
    intensity_range,
    unknown_labels,
)
from archimed.data.problems import Problem, Problems
from archimed.data.settings import DataSettings
from archimed.data.source import read_source
from archimed.errors import DataError


@dataclass(frozen=True)
class DataCheck:
    """What a check found.

    Attributes:
        source: what the user typed.
        table: rows of a table, name and value; empty if nothing could be read.
        problems: one line each, in the order of reading.
    """

    source: str
    table: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]

    @property
    def fatal(self) -> bool:
        """Whether a run on these data would stop with an error."""
        return any(problem.fatal for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json`."""
        return {
            "source": self.source,
            "fatal": self.fatal,
            "table": dict(self.table),
            "problems": [{"message": problem.message, "fatal": problem.fatal} for problem in self.problems],
        }


def check_dataset(source: str, settings: DataSettings, seed: int) -> DataCheck:
    """Read the data as a run would, and collect every flaw; the table tells what can be used."""
    problems = Problems(strict=False)
    try:
        dataset = read_source(source, settings, seed, problems)
    except DataError as error:
        problems.add(Problem(str(error), fatal=True))
        return DataCheck(source, (), tuple(problems.found))
    duplicates = duplicates_across_splits(dataset)
    _report_duplicates(dataset, duplicates, problems)
    for note in dataset.notes:
        problems.caution(note)
    return DataCheck(source, _table(dataset, len(duplicates)), tuple(problems.found))


def _report_duplicates(dataset: Dataset, duplicates: list[dict[str, list[int]]], problems: Problems) -> None:
    for group in duplicates:
        firsts = [(name, dataset.cases[rows[0]]) for name, rows in group.items()]
        places = [f"{case.origin or case.id} ({name})" for name, case in firsts]
        problems.caution(
            f"The same image lies in several splits: {', '.join(places)}. Leave all but one out if a test is to count."
        )


def positive_class(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """Which class sensitivity and AUC are about, for a binary task."""
    if dataset.task.kind != "binary":
        return ()
    return (
        ("positive class", f"{dataset.task.class_names[-1]} (of a table or folders: --set data.positive_class=NAME)"),
    )


def _table(dataset: Dataset, duplicates: int) -> tuple[tuple[str, str], ...]:
    low, high = intensity_range(dataset.images)
    patients = len({case.patient for case in dataset.cases})
    cases = {name: len(fold.split(name)) for fold in dataset.folds[:1] for name in SPLIT_NAMES}
    sizes = sum(case.lesion_area is not None for case in dataset.cases)
    return (
        ("data", f"{dataset.name} ({dataset.source_kind})"),
        ("task", f"{dataset.task.kind}: {', '.join(dataset.task.class_names)}"),
        *positive_class(dataset),
        ("cases", str(len(dataset.cases))),
        ("patients", str(patients) if dataset.patients_known else "not given"),
        ("folds", str(len(dataset.folds))),
        *((name, f"{cases[name]}: {class_text(counts)}") for name, counts in class_counts(dataset).items()),
        ("image size", " x ".join(map(str, dataset.task.image_size))),
        ("channels", str(dataset.task.channels)),
        ("stored as", str(dataset.images.dtype).removeprefix("torch.")),
        ("intensity", ", ".join(f"{a:g} to {b:g}" for a, b in zip(low, high, strict=True))),
        ("unknown labels", str(unknown_labels(dataset))),
        ("lesion area", f"known for {sizes}"),
        ("same image in several splits", str(duplicates)),
    )
