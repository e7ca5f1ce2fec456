"""Reads a run directory into plain values; only this module knows the files' names and forms."""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archimed.errors import RunError
from archimed.files import read_json, read_yaml
from archimed.task import ImagingTask

Record = Mapping[str, Any]  # one object of a JSON file


@dataclass(frozen=True)
class Predictions:
    """What one network said about the cases of one split.

    Attributes:
        target: class indices [case] (int64), or labels [case, label] (float, NaN where unknown).
        probabilities: [case, class], in the order of the task's classes.
    """

    cases: tuple[str, ...]
    target: NDArray[Any]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class TrainedNetwork:
    """One training of one network: a fold and a seed, and the data set in a run of several.

    `scores` has a record for each class of each test case, of a segmentation; undefined scores are None.
    """

    name: str
    fold: int
    seed: int
    dataset: str = ""
    architecture: Record = field(default_factory=dict)
    epochs: tuple[Record, ...] = ()
    metrics: Record = field(default_factory=dict)
    test: Predictions | None = None
    scores: tuple[Record, ...] = ()

    @property
    def repeat(self) -> str:
        """The fold and seed in words, after the data set where there are several."""
        return f"{self.dataset}{', ' if self.dataset else ''}fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Run:
    """The content of a run directory, as far as it is there."""

    folder: Path
    summary: Record
    experiment: Record
    environment: Record
    data: Record
    selected: tuple[Record, ...]
    rule: str
    candidates: tuple[Record, ...]
    trained: tuple[TrainedNetwork, ...]
    search_epochs: tuple[Record, ...] = ()
    trials: tuple[Record, ...] = ()

    @property
    def task(self) -> ImagingTask:
        """The task of the run; empty fields where neither data.json nor summary.json tells."""
        task = task_of(mapping(self.data, "task") or mapping(self.summary, "task"))
        channels = tuple(str(name) for name in mapping(self.data, "channels"))
        named = task.channel_names or (channels if len(channels) == task.channels else ())
        return replace(task, channel_names=named)

    @property
    def datasets(self) -> Mapping[str, Record]:
        """What data.json tells of each data set, by its name."""
        several = mapping(self.data, "datasets")
        found = {str(name): mapping(several, name) for name in several}
        return found or ({str(self.data.get("name") or ""): self.data} if self.data else {})

    @property
    def chosen(self) -> str:
        """The name of the network that the run is about."""
        return str(self.summary.get("chosen") or self.summary.get("method") or next(iter(self.networks), ""))

    @property
    def networks(self) -> Mapping[str, Record]:
        """The results by network, the chosen one first."""
        networks = mapping(self.summary, "networks")
        first = self.summary.get("chosen")
        return {name: mapping(networks, name) for name in sorted(networks, key=lambda name: name != first)}

    def repeats(self, name: str) -> tuple[TrainedNetwork, ...]:
        """Every training of a network, by fold and seed."""
        return tuple(network for network in self.trained if network.name == name)


def read_run(folder: Path) -> Run:
    """Read a run directory; anything but its summary may be absent.

    Raises:
        RunError: the folder has no summary.json, or a file of it is damaged.
    """
    if not (folder / "summary.json").is_file():
        raise RunError(
            f"A report is made of an evaluated run; {folder} has no summary.json. Run: archimed evaluate {folder}"
        )
    data = record(folder / "data.json")
    selected = record(folder / "search" / "selected.json")
    return Run(
        folder=folder,
        summary=record(folder / "summary.json"),
        experiment=settings(folder / "experiment.yaml"),
        environment=record(folder / "environment.json"),
        data=data,
        selected=tuple(item for item in selected.get("selected") or () if isinstance(item, dict)),
        rule=str(selected.get("rule") or ""),
        candidates=tuple(lines(folder / "search" / "candidates.jsonl")),
        trained=tuple(trained_networks(folder / "networks")),
        search_epochs=tuple(lines(folder / "search" / "epochs.jsonl")),
        trials=tuple(lines(folder / "tune" / "trials.jsonl")),
    )


def record(path: Path) -> Record:
    """A JSON object; empty if the file is absent."""
    found: Record = read_json(path) if path.is_file() else {}
    return found


def settings(path: Path) -> Record:
    """A YAML mapping; empty if the file is absent."""
    try:
        value = read_yaml(path) if path.is_file() else {}
    except ValueError:
        raise RunError(f"The settings of a run are damaged: {path}. Mend or delete it.") from None
    return value if isinstance(value, dict) else {}


def lines(path: Path) -> Iterator[Record]:
    """The records of a JSON-lines log that may still be growing: what cannot be read yet is left out."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def mapping(value: Record, key: str) -> Record:
    """The mapping at a key; empty if it is absent or something else."""
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def number(value: object) -> float | None:
    """A finite number, None for anything else; a cell {"value": x} counts as x."""
    if isinstance(value, Mapping):
        value = value.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if np.isfinite(value) else None


def task_of(task: Record) -> ImagingTask:
    """A task from its JSON form, as far as it is told."""
    return ImagingTask(
        kind=task.get("kind") or "multi-class",
        class_names=tuple(str(name) for name in task.get("class_names") or ()),
        channels=int(task.get("channels") or 1),
        image_size=tuple(int(side) for side in task.get("image_size") or ()),
        channel_names=tuple(str(name) for name in task.get("channel_names") or ()),
    )


def trained_networks(folder: Path) -> Iterator[TrainedNetwork]:
    """Every `networks/<name>/fold<k>.seed<s>`, `<dataset>.` before it in a run of several; by name, fold and seed."""
    places = []
    for path in folder.glob("*/*fold*.seed*"):
        found = re.fullmatch(r"(?:(.+)\.)?fold([0-9]+)\.seed([0-9]+)", path.name)
        if found:
            places.append((path.parent.name, found[1] or "", int(found[2]), int(found[3]), path))
    for name, dataset, fold, seed, path in sorted(places):
        yield TrainedNetwork(
            name=name,
            fold=fold,
            seed=seed,
            dataset=dataset,
            architecture=record(path / "architecture.json"),
            epochs=tuple(lines(path / "epochs.jsonl")),
            metrics=record(path / "metrics.json"),
            test=read_predictions(path / "predictions.csv", "test"),
            scores=tuple(read_scores(path / "predictions.csv", "test")),
        )


def read_predictions(path: Path, split: str) -> Predictions | None:
    """The rows of one split of a predictions.csv; None if the file is absent or has none."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("split") == split]
    if not rows:
        return None
    names = [column.removeprefix("probability_") for column in rows[0] if column and column.startswith("probability_")]
    try:
        probabilities = np.array([[float(row[f"probability_{name}"]) for name in names] for row in rows])
        target = class_indices(rows, names) if "label" in rows[0] else label_matrix(rows, names)
    except (KeyError, ValueError, TypeError, IndexError):
        raise RunError(f"A table of predictions is damaged: {path}. Run again: archimed evaluate RUN") from None
    return Predictions(tuple(row.get("case") or "" for row in rows), target, probabilities)


def read_scores(path: Path, split: str) -> Iterator[Record]:
    """The rows of one split of a segmentation's predictions.csv; none of another task's, or if it is absent."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("split") == split and "class" in row and "dice" in row:
                yield {"case": row.get("case"), "class": row["class"], "dice": defined(row["dice"])}


def defined(cell: str | None) -> float | None:
    """A number in a table; None where the cell is empty or holds something else."""
    try:
        return float(cell) if cell else None
    except ValueError:
        return None


def label_matrix(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> NDArray[np.float64]:
    """The columns label_<name>; empty cells are unknown."""
    return np.array([[float(row[f"label_{name}"] or "nan") for name in names] for row in rows])


def class_indices(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> NDArray[np.int64]:
    """The column `label`, which holds a class's name or its index; names win, as classes may be called 1, 2, 3."""
    labels = [row["label"] for row in rows]
    if set(labels) <= set(names):
        return np.array([names.index(label) for label in labels], dtype=np.int64)
    return np.array([int(float(label)) for label in labels], dtype=np.int64)
