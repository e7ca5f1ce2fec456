"""A finished run in whose files one value was replaced or lost: what reads it works, or says in a line why not."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from archimed.errors import ArchimedError
from archimed.experiment.networks import load_chosen
from archimed.experiment.settings import experiment_from_document
from archimed.report.report import write_report
from archimed.runs import RunDirectory

WRONG = (None, 5, -1, 1.5, "x", "", [], {}, [1], {"a": 1}, True, 1e308, ["x"], "../../etc")
LOST = object()
DAMAGES = 5  # of each file


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value within a value, by the keys and numbers that lead to it."""
    yield place
    inner = value.items() if isinstance(value, dict) else enumerate(value[:20]) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*place, key))


def damaged(value: Any, rng: np.random.Generator) -> Any:
    """The value with one part of it replaced, or lost."""
    every = list(places(value))
    place = every[rng.integers(len(every))]
    wrong = (*WRONG, LOST)[rng.integers(len(WRONG) + 1)]
    if not place:
        return None if wrong is LOST else wrong
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    if wrong is LOST:
        del holder[place[-1]]
    else:
        holder[place[-1]] = wrong
    return value


def damage(file: Path, rng: np.random.Generator) -> None:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".jsonl":
        lines = text.splitlines()
        row = rng.integers(len(lines))
        lines[row] = json.dumps(damaged(json.loads(lines[row]), rng))
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif file.suffix == ".yaml":
        file.write_text(yaml.safe_dump(damaged(yaml.safe_load(text), rng)), encoding="utf-8")
    else:
        file.write_text(json.dumps(damaged(json.loads(text), rng)), encoding="utf-8")


def readers(run: Path) -> Iterator[Any]:
    yield lambda: experiment_from_document(RunDirectory(run).read_experiment())
    yield lambda: load_chosen(run)
    yield lambda: write_report(run)


@pytest.mark.parametrize(
    "name",
    [
        *("experiment.yaml", "data.json", "summary.json", "splits.json", "selected.json", "candidates.jsonl"),
        "architecture.json",
    ],
)
def test_a_damaged_value_ends_nothing_but_in_a_line(finished: Path, tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(len(name))
    for number in range(DAMAGES):
        run = tmp_path / str(number)
        shutil.copytree(finished, run)
        damage(next(file for file in run.rglob(name)), rng)
        for read in readers(run):
            with suppress(ArchimedError):
                read()
        shutil.rmtree(run)
