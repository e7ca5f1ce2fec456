"""`archimed compare`: networks of several runs against one reference, with tests, in one page."""

from pathlib import Path
from typing import Annotated

import typer

from archimed.cli.options import JsonOption, QuietOption


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="The folders of finished runs.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the comparison goes.")],
    reference: Annotated[
        str | None, typer.Option(help="The network that methods are compared with; resnet50 if the runs have it.")
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics with commas; those of the task if left out.")] = None,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Rank tests of all networks with each other, not corrected.")
    ] = False,
    checkpoint: Annotated[
        str | None, typer.Option(help="Compare the weights kept by this metric; each network's own if left out.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the networks of finished runs on their common test cases; runs with other seeds count as repeats."""
    from archimed.cli.comparisons import show_comparison
    from archimed.cli.console import Console
    from archimed.studies.comparing import Asked, compare_runs

    names = tuple(name.strip() for name in (metrics or "").split(",") if name.strip())
    with Console(quiet) as console:
        document = compare_runs(runs, out, Asked(reference, names, all_pairs, checkpoint), console)
    show_comparison(document, out, as_json)
