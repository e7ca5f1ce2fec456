"""The end of a command: the results as a short table on stdout, or as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from archimed.files import read_json
from archimed.runs import RunDirectory

SHOWN = (
    *("accuracy", "auc", "balanced_accuracy", "sensitivity", "specificity", "macro_f1", "exact_match"),
    *("dice", "surface_dice", "hausdorff_95"),
)
COLUMNS = 3


def show_results(run: RunDirectory, as_json: bool) -> None:
    """Print the summary's networks, the cautions and where the report is."""
    if not run.summary.exists():
        typer.echo(f"No results yet. Go on with: archimed resume {run.path}")
        return
    summary = read_json(run.summary)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    typer.echo()
    show_table(summary["networks"], "test")
    for caution in summary["cautions"]:
        typer.echo(f"Caution: {caution}")
    if run.report.exists():
        typer.echo(f"Report: {run.report}")


def show_external(summary: Mapping[str, Any], out: Path, as_json: bool) -> None:
    """Print the results of an external validation."""
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    show_table(summary["networks"], "test")
    for caution in summary["cautions"]:
        typer.echo(f"Caution: {caution}")
    typer.echo(f"Report: {out / 'report.html'}")


def show_table(networks: Mapping[str, Any], split: str) -> None:
    """One line per network: parameters and the first metrics with their 95 % intervals."""
    first = next(iter(networks.values()))[split]
    metrics = [name for name in SHOWN if name in first][:COLUMNS]
    typer.echo(f"{'network':<20}{'parameters':>12}" + "".join(f"{name:>24}" for name in metrics))
    for name, network in networks.items():
        cells = "".join(f"{interval(network[split][metric]):>24}" for metric in metrics)
        typer.echo(f"{name:<20}{network['parameters']:>12,}{cells}")


def interval(cell: Mapping[str, float | None]) -> str:
    """A value with its interval, as 0.872 (0.81-0.92)."""
    if cell["value"] is None:
        return "undefined"
    if cell.get("low") is None:
        return f"{cell['value']:.3f}"
    return f"{cell['value']:.3f} ({cell['low']:.2f}-{cell['high']:.2f})"
