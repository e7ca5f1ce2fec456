"""What a tracker may see of a run: measurements by step, read from the run's own logs, and its settings.

No pixel, no case, no name or path of the data is among them.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from archimed.files import read_json
from archimed.runs.directory import RunDirectory, place_name, read_place

HELD_BACK = ("sources", "architecture", "training.initial_weights")  # paths, which may name a person
NOT_MEASURED = ("fold", "seed", "number", "epoch", "generation", "low", "high")
PARTS = ("measurements", "validation", "test")


@dataclass(frozen=True)
class Point:
    """Measurements of one step of a series.

    Attributes:
        series: what is followed, e.g. `train/mstf-nas/fold0.seed0`.
        step: number of the candidate (from 0) or of the epoch (from 1); 0 for results.
        values: finite measurements by name.
    """

    series: str
    step: int
    values: Mapping[str, float]


@dataclass
class Log:
    """A JSON-lines log that is read as it grows; from its beginning again where it was written anew."""

    path: Path
    offset: int = 0
    written_as: int = 0  # the file's inode

    def fresh_lines(self) -> list[dict[str, Any]]:
        """The whole lines that were added since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            status = self.path.stat()
            if status.st_ino != self.written_as or status.st_size < self.offset:
                self.offset, self.written_as = 0, status.st_ino
            file.seek(self.offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]


@dataclass
class RunPoints:
    """The points of a run, each given once, in the order of the logs."""

    run: RunDirectory
    logs: dict[Path, Log] = field(default_factory=dict)
    given: set[tuple[str, int]] = field(default_factory=set)

    def fresh(self) -> list[Point]:
        """The points that the run gained since the last call; at the first call all it has."""
        found = [point for point in self._all() if point.values and (point.series, point.step) not in self.given]
        self.given |= {(point.series, point.step) for point in found}
        return found

    def _all(self) -> Iterator[Point]:
        run = self.run
        for line in self._lines(run.candidates):
            yield Point(f"candidates/{line['search']}/{self._place(line)}", line["number"], numbers(line))
        for line in self._lines(run.search_epochs):
            yield Point(f"search/{line['search']}/{self._place(line)}", line["epoch"], numbers(line))
        for path in sorted((run.path / "networks").glob("*/*/epochs.jsonl")):
            if place := read_place(path.parent.name):
                fold, seed, dataset = place
                where = self._place({"fold": fold, "seed": seed, "dataset": dataset})
                for line in self._lines(path):
                    yield Point(f"train/{path.parent.parent.name}/{where}", line["epoch"], numbers(line))
        if run.summary.exists():
            for name, network in read_json(run.summary)["networks"].items():
                yield Point(f"result/{name}", 0, numbers(network))

    def _lines(self, path: Path) -> list[dict[str, Any]]:
        return self.logs.setdefault(path, Log(path)).fresh_lines()

    def _place(self, line: Mapping[str, Any]) -> str:
        dataset = line.get("dataset")
        return place_name(line["fold"], line["seed"], self._numbered(dataset) if dataset else None)

    def _numbered(self, dataset: str) -> str:
        """A data set by its place in the run: its name may be that of a folder of patients."""
        return f"data{list(read_json(self.run.data)['datasets']).index(dataset) + 1}"


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a line of a log; those of its measurements too, of metrics with intervals the value."""
    found = {name: float(value) for name, value in line.items() if name not in NOT_MEASURED and is_number(value)}
    for part in PARTS:
        for name, value in (line.get(part) or {}).items():
            shown = value.get("value") if isinstance(value, Mapping) else value
            if is_number(shown):
                found[name if part == "measurements" else f"{part}/{name}"] = float(shown)
    return found


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def tracked_settings(document: Mapping[str, Any]) -> dict[str, str]:
    """The settings of a run as flat text for a tracker.

    Left out: where the data lie, and of the section `data` all that is text, as columns and classes may name anything.
    Of a part of the user's own only the last part of its path is told.
    """
    flat: dict[str, object] = {}
    for key, value in document.items():
        inner = {f"{key}.{name}": one for name, one in value.items()} if isinstance(value, Mapping) else {key: value}
        flat |= inner
    return {
        name: without_folder(value if isinstance(value, str) else json.dumps(value))
        for name, value in flat.items()
        if name not in HELD_BACK and (not name.startswith("data.") or is_plain(value))
    }


def is_plain(value: object) -> bool:
    """Whether a setting holds numbers or a switch only."""
    if isinstance(value, list):
        return bool(value) and all(map(is_plain, value))
    return value is None or isinstance(value, bool) or is_number(value)


def without_folder(text: str) -> str:
    """Text in which paths to parts of the user's own have lost their folders."""
    return re.sub(r"""[^\s",]*/(?=[^/\s",]+\.py:)""", "", text)
