"""`archimed data check|describe`: look at data before a run is spent on it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archimed.cli.options import JsonOption, SetOption

if TYPE_CHECKING:
    from archimed.data.settings import DataSettings

app = typer.Typer(help="Look at data before a run is spent on it.", no_args_is_help=True)
Source = Annotated[str, typer.Argument(metavar="DATA", help="As --data of: archimed run")]


@app.command("check")
def check(source: Source, assignments: SetOption = None, seed: int = 0, as_json: JsonOption = False) -> None:
    """Read every case once and tell all that is wrong; exit code 2 if a run would stop at it."""
    from archimed.data.check import check_dataset

    found = check_dataset(source, data_settings(assignments), seed)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        for name, value in found.table:
            typer.echo(f"{name:<30}{value}")
        for problem in found.problems:
            typer.echo(f"{'ERROR' if problem.fatal else 'note'}: {problem.message}")
        typer.echo("A run would stop at the errors above." if found.fatal else "Ready for a run.")
    if found.fatal:
        raise typer.Exit(2)


@app.command("describe")
def describe(
    source: Source,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where contact sheets and data.json go.")],
    assignments: SetOption = None,
    seed: int = 0,
) -> None:
    """Write contact sheets (PNG) of each class and data.json, the fingerprint that runs carry."""
    from archimed.data.describe import contact_sheets
    from archimed.data.describe import describe as fingerprint
    from archimed.data.source import load_dataset
    from archimed.files import write_json

    dataset = load_dataset(source, data_settings(assignments), seed)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "data.json", fingerprint(dataset))
    for path in [*contact_sheets(dataset, out), out / "data.json"]:
        typer.echo(path)


def data_settings(assignments: list[str] | None) -> "DataSettings":
    """The `data.*` settings that `--set` asks for."""
    from archimed.data.settings import DataSettings
    from archimed.experiment.settings import overlay, parse_assignment, plain, section

    document = overlay({"data": plain(DataSettings())}, dict(map(parse_assignment, assignments or [])))
    settings: DataSettings = section("data", DataSettings, document["data"])
    return settings
