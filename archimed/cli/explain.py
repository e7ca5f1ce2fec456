"""`archimed explain`: where a network saw what it answered, and whether that is to be believed."""

import json
from pathlib import Path
from typing import Annotated

import typer

from archimed.cli.options import JsonOption, QuietOption, RunArgument


def explain(
    run: RunArgument,
    cases: Annotated[
        str | None,
        typer.Option("--cases", metavar="ID,ID|FILE", help="Which cases; a few test cases if left out."),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="Which network of the run; the method's own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="A new folder; RUN/explained/NAME if left out.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show by heat maps what a network of a run looked at, and test whether the maps are faithful."""
    from archimed.cli.console import Console
    from archimed.experiment.explain_stage import explain_run
    from archimed.files import read_json

    with Console(quiet) as console:
        folder = explain_run(run, cases, network, out, console)
    document = read_json(folder / "maps.json")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    test = document["deletion"]
    typer.echo(f"{len(document['cases'])} cases of {document['data']}, explained by {document['network']}:")
    for case in document["cases"]:
        likeliest = max(case["probabilities"], key=case["probabilities"].get)
        told = f"{likeliest} ({case['probabilities'][likeliest]:.2f})"
        typer.echo(f"  {case['case']:<24} {', '.join(case['truth']) or 'none'}; answered {told}")
    typer.echo(f"Deletion test on {test['cases']} test cases: {test['verdict']} ({gap(test)})")
    typer.echo(f"Written to: {folder / 'explain.html'}")


def gap(test: dict[str, float | None]) -> str:
    """How much more of the probability goes by the map than by chance, with its interval."""
    if test["low"] is None or test["high"] is None:
        return "of too few patients for an interval"
    return f"blurring by the map costs {test['gap']:.3f} more than by chance, {test['low']:.3f} to {test['high']:.3f}"
