"""`archimed evaluate`: measure a run's networks again, or validate them on other data."""

from pathlib import Path
from typing import Annotated

import typer

from archimed.cli.options import JsonOption, QuietOption, RunArgument


def evaluate(
    run: RunArgument,
    data: Annotated[str | None, typer.Option("--data", metavar="DATA", help="Other data, for validation.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where that validation goes.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure the trained networks again, or on other data; nothing is trained and nothing upstream changes."""
    from archimed.cli.stages import complete
    from archimed.errors import SettingsError

    if data is None and out is None:
        complete(run, ("evaluate", "report"), quiet, as_json)
        return
    if data is None or out is None:
        raise SettingsError(
            "External validation takes both --data and --out: archimed evaluate RUN --data OTHER --out DIR"
        )
    from archimed.cli.console import Console
    from archimed.cli.results import show_external
    from archimed.experiment.external import validate_externally

    with Console(quiet) as console:
        summary = validate_externally(run, data, out, console)
    show_external(summary, out, as_json)
