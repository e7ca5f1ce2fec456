"""Writes the index of a folder of runs: one table of all of them, that sorts by any column and opens each report."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

from archimed.errors import RunError
from archimed.report.reading import Record, Run, number, read_run, record, settings
from archimed.report.report import write_page
from archimed.report.results import leading_metric
from archimed.report.words import amount, cell_of, count, decimal, duration, interval, metric_name, network_name

DEPTH = 2  # folders below the given one in which runs are looked for
HEADS = ("Run", "Method", "Data", "Metric", "Result", "Parameters", "MACs", "Seeds", "Cautions", "Time", "Date")


def is_folder_of_runs(folder: Path) -> bool:
    """Whether a folder is no run itself, but has runs below it."""
    return not (folder / "experiment.yaml").exists() and next(iter(runs_below(folder)), None) is not None


def runs_below(folder: Path) -> list[Path]:
    """The run folders below a folder, by name."""
    found = {path.parent for depth in range(1, DEPTH + 1) for path in folder.glob("*/" * depth + "experiment.yaml")}
    runs = (path for path in found if (path / "splits.json").exists())
    return sorted(path for path in runs if not (path / "networks.jsonl").exists())  # which a correlation has


def write_index(folder: Path) -> Path:
    """Write index.html into a folder of runs, and return its path.

    Raises:
        RunError: there is no run below it.
    """
    runs = runs_below(folder)
    if not runs:
        raise RunError(f"An index is made of a folder of runs; {folder} has none below it. Name the folder above runs.")
    script = files("archimed.report").joinpath("index.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = [row_of(path, folder) for path in runs]
    page = {
        "title": f"{len(rows)} run{'s' * (len(rows) > 1)}",
        "heads": HEADS,
        "rows": rows,
        "unfinished": sum(row["unfinished"] for row in rows),
        "script": script,
        "digest": digest,
    }
    return write_page(folder / "index.html", page, "index.html")


def row_of(path: Path, folder: Path) -> dict[str, Any]:
    """One run: cells of text, each with what it sorts by, and the way to its report."""
    name = path.relative_to(folder).as_posix()
    if not (path / "summary.json").exists():
        experiment = settings(path / "experiment.yaml")
        cells = [cell(name), cell(network_name(str(experiment.get("method", "")))), cell("unfinished")]
        return {"link": "", "cells": [*cells, *(cell("") for _ in HEADS[3:])], "unfinished": True}
    run = read_run(path)
    report = path / "report.html"
    return {
        "link": report.relative_to(folder).as_posix() if report.exists() else "",
        "cells": [cell(name), *finished_cells(run)],
        "unfinished": False,
    }


def finished_cells(run: Run) -> list[dict[str, str]]:
    """The cells of a finished run, after its name."""
    results: Record = run.networks.get(run.chosen, {})
    metric = leading_metric(run)
    result = cell_of(results, "test", metric)
    limits = interval(result)
    spent = sum(number(value) or 0.0 for value in run.summary.get("seconds", {}).values())
    cautions = run.summary.get("cautions") or []
    started = str(record(run.folder / "environment.json").get("started") or "")
    return [
        cell(network_name(run.chosen)),
        cell(str(run.summary.get("data", ""))),
        cell(metric_name(metric)),
        cell(f"{decimal(result)}{f' ({limits})' if limits else ''}", number(result)),
        cell(amount(results.get("parameters")), number(results.get("parameters"))),
        cell(amount(results.get("macs")), number(results.get("macs"))),
        cell(count(seeds := len({repeat.seed for repeat in run.repeats(run.chosen)})), float(seeds)),
        cell(count(len(cautions)), float(len(cautions))),
        cell(duration(spent), spent),
        cell(started[:10], text=started),
    ]


def cell(words: str, value: float | None = None, text: str | None = None) -> dict[str, str]:
    """A cell: its words, and what it sorts by: a number, or a text."""
    key = f"{value:.12g}" if value is not None else ""
    return {"words": words, "number": key, "text": (words if text is None else text).lower()}
