"""Finished runs as a comparison reads them, and whether they may be compared: same task, labels and test cases."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archimed.errors import RunError
from archimed.files import read_json
from archimed.report.reading import task_of
from archimed.runs import RunDirectory
from archimed.task import ImagingTask

ONE = ""  # the data set of a run that has one


@dataclass(frozen=True)
class RunFiles:
    """What a comparison reads of one run.

    Attributes:
        label: name of the run's folder, with as much of the path before it as tells runs apart.
        directory: where its files are.
        experiment: its settings.
        summary: its results.
        data: data set -> fingerprint; `ONE` names the only one.
        splits: data set -> folds, and patients where known.
    """

    label: str
    directory: RunDirectory
    experiment: Mapping[str, Any]
    summary: Mapping[str, Any]
    data: Mapping[str, Mapping[str, Any]]
    splits: Mapping[str, Mapping[str, Any]]

    @property
    def method(self) -> str:
        """The name of the run's own network."""
        return str(self.summary["chosen"])

    def task(self, dataset: str) -> ImagingTask:
        """The task of a data set; which label is the normal one only the results tell."""
        results = self.summary["datasets"][dataset] if dataset else self.summary
        normal = results.get("task", {}).get("normal_label")
        return replace(task_of(self.data[dataset]["task"]), normal_label=normal)

    def test_cases(self, dataset: str) -> list[list[str]]:
        """The ids of the test cases of each fold, in order."""
        return [sorted(fold["test"]) for fold in self.splits[dataset]["folds"]]

    def patients(self, dataset: str) -> Mapping[str, str]:
        """Case id -> patient, as far as the run tells."""
        found: Mapping[str, str] = self.splits[dataset].get("patients", {})
        return found


def read_runs(folders: Sequence[Path]) -> list[RunFiles]:
    """Read finished runs, and refuse those that cannot be compared.

    Raises:
        RunError: a folder holds no run, a run is unfinished, one is given twice, or two differ in what they test.
    """
    places = [folder.resolve() for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise RunError(f"A comparison names each run once; {folder} is given twice. Leave one out.")
    labels = labels_of(places)
    runs = [read_one(folder, label) for folder, label in zip(folders, labels, strict=True)]
    for run in runs[1:]:
        if difference := difference_of(runs[0], run):
            raise RunError(difference)
    return runs


def labels_of(places: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart."""
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(places):
        depth += 1
    return ["/".join(place.parts[-depth:]) for place in places]


def read_one(folder: Path, label: str) -> RunFiles:
    """Read one run.

    Raises:
        RunError: it is no run, or not finished.
    """
    directory = RunDirectory(folder)
    experiment = directory.read_experiment()
    if not directory.summary.exists():
        raise RunError(
            f"A comparison takes finished runs; {folder} has no summary.json yet. Go on with: archimed resume {folder}"
        )
    summary, data, splits = (read_json(path) for path in (directory.summary, directory.data, directory.splits))
    return RunFiles(label, directory, experiment, summary, by_dataset(data), by_dataset(splits))


def by_dataset(document: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The parts of data.json or splits.json by data set."""
    found: Mapping[str, Mapping[str, Any]] = document.get("datasets") or {ONE: document}
    return found


def difference_of(first: RunFiles, second: RunFiles) -> str | None:
    """Why two runs cannot be compared, in one line; None if they can."""
    pair = f"{first.label} and {second.label}"
    if list(first.data) != list(second.data):
        names = [" + ".join(run.data) or str(run.summary["data"]) for run in (first, second)]
        return f"Compared runs have the same data sets; {pair} differ: {' and '.join(names)}. Compare them apart."
    for dataset in first.data:
        of = f" of {dataset}" if dataset else ""
        mine, theirs = (run.task(dataset) for run in (first, second))
        for what, one, other in (
            ("task", mine.kind, theirs.kind),
            ("labels", ", ".join(mine.class_names), ", ".join(theirs.class_names)),
        ):
            if one != other:
                return f"Compared runs have the same {what}; {pair} differ{of}: {one} and {other}. Compare them apart."
        if difference := difference_of_cases(first, second, dataset):
            return (
                f"Compared runs have the same test cases; {pair} differ{of}: {difference}. Where the source names no "
                "split it depends on --seed: name a `split`, or repeat seeds within a run (--repeats)."
            )
        if difference := difference_of_patients(first, second, dataset):
            return f"Compared runs have the same patients; {pair} differ{of}: {difference}. Compare them apart."
    return None


def difference_of_cases(first: RunFiles, second: RunFiles, dataset: str) -> str | None:
    """How the test cases of two runs differ, in words; None if they are the same."""
    mine, theirs = first.test_cases(dataset), second.test_cases(dataset)
    if len(mine) != len(theirs):
        return f"{len(mine)} and {len(theirs)} folds"
    for number, (one, other) in enumerate(zip(mine, theirs, strict=True)):
        if one != other:
            alone, alone_there = sorted({*one} - {*other}), sorted({*other} - {*one})
            where = f" in fold {number}" if len(mine) > 1 else ""
            example = (alone or alone_there)[0]
            return (
                f"{len(one)} and {len(other)} test cases{where}, {len({*one} & {*other})} of them the same; "
                f"{example} is in {(first if alone else second).label} alone"
            )
    return None


def difference_of_patients(first: RunFiles, second: RunFiles, dataset: str) -> str | None:
    """How the patients of equal case ids differ, in words; None if they agree or one run does not tell."""
    mine, theirs = first.patients(dataset), second.patients(dataset)
    if not mine or not theirs:
        return None
    tested = {case for fold in first.test_cases(dataset) for case in fold}
    other = [case for case in sorted(tested) if mine.get(case) != theirs.get(case)]
    if not other:
        return None
    return f"test case {other[0]} is of another patient in each ({len(other)} such cases)"


def link_to(run: RunFiles, out: Path) -> str:
    """The way from a folder to the report of a run, for a link; empty if there is no report."""
    report = run.directory.report
    return Path(os.path.relpath(report.resolve(), out.resolve())).as_posix() if report.exists() else ""
