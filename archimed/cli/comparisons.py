"""The end of a comparison or a correlation: what was found, as short tables and sentences on stdout, or as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from archimed.cli.results import interval


def show_comparison(document: Mapping[str, Any], out: Path, as_json: bool) -> None:
    """Print what a comparison found."""
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    show_networks(document)
    for sentence in document["verdict"]:
        typer.echo(sentence)
    if document["all_pairs"]:
        show_matrices(document)
    for note in document["notes"]:
        typer.echo(f"Caution: {note}")
    typer.echo(f"Comparison: {out / 'compare.html'}")


def show_networks(document: Mapping[str, Any]) -> None:
    """One line per network: seeds, parameters, and the compared metrics with intervals."""
    metrics, networks = document["metrics"], document["networks"]
    width = max(len(name) for name in networks) + 2
    typer.echo(f"{'network':<{width}}{'seeds':>6}{'parameters':>14}" + "".join(f"{metric:>24}" for metric in metrics))
    for name, part in networks.items():
        cells = "".join(f"{interval(part['test'][metric]):>24}" for metric in metrics)
        typer.echo(f"{name:<{width}}{len(part['seeds']):>6}{part['parameters']:>14,}{cells}")
    typer.echo()


def show_matrices(document: Mapping[str, Any]) -> None:
    """The rank tests of all pairs, a matrix for each metric, and what they can show."""
    from archimed.report.comparing import pairs_words

    pairs = document["all_pairs"]
    names = pairs["networks"]
    first, widths = max(map(len, names)), [max(8, len(name) + 2) for name in names]
    for metric, rows in pairs["p"].items():
        typer.echo(f"\n{metric}, p of the rank test over seeds")
        typer.echo(" " * first + "".join(f"{name:>{width}}" for name, width in zip(names, widths, strict=True)))
        for name, row in zip(names, rows, strict=True):
            cells = ["" if p is None else f"{p:.4f}" for p in row]
            typer.echo(f"{name:<{first}}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True)))
    typer.echo(f"\n{pairs_words(document)}")


def show_correlation(document: Mapping[str, Any], out: Path, as_json: bool) -> None:
    """Print how well each indicator ranks the networks, the best first."""
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    from archimed.studies.agreements import tau_words

    rows = {name: row["tau"] for name, row in document["indicators"].items()}
    width = max(map(len, rows)) + 2
    typer.echo(f"{'indicator':<{width}}tau, by {document['metric']} of {document['trained']} trained networks")
    for name in sorted(
        rows, key=lambda name: -2.0 if rows[name]["value"] is None else rows[name]["value"], reverse=True
    ):
        typer.echo(f"{name:<{width}}{'undefined' if rows[name]['value'] is None else tau_words(rows[name])}")
    typer.echo()
    for sentence in document["verdict"]:
        typer.echo(sentence)
    for note in document["notes"]:
        typer.echo(f"Caution: {note}")
    typer.echo(f"Correlation: {out / 'correlate.html'}")
