"""`archimed data check|describe|cache`: look at data before a run is spent on it, and at what is kept of them."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archimed.cli.options import JsonOption, QuietOption, SetOption

if TYPE_CHECKING:
    from archimed.data.settings import DataSettings

app = typer.Typer(help="Look at data before a run is spent on it.", no_args_is_help=True)
Source = Annotated[str, typer.Argument(metavar="DATA", help="As --data of: archimed run")]


@app.command("check")
def check(
    source: Source,
    assignments: SetOption = None,
    seed: int = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read every case once and tell all that is wrong; exit code 2 if a run would stop at it."""
    from archimed.cli.console import Console
    from archimed.cli.data_tables import show_check
    from archimed.data.inspection.check import check_dataset
    from archimed.data.own_files import remember_named

    remember_named([source])
    with Console(quiet) as console:
        console.stage("read data")
        found = check_dataset(
            source, data_settings(assignments), seed, lambda done, total: console.progress(done, total, "cases")
        )
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        show_check(found)
    if found.fatal:
        raise typer.Exit(2)


@app.command("describe")
def describe(
    source: Source,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where contact sheets and data.json go.")],
    assignments: SetOption = None,
    seed: int = 0,
    quiet: QuietOption = False,
) -> None:
    """Write contact sheets (PNG) and data.json, the fingerprint that runs carry."""
    from archimed.cli.console import Console
    from archimed.cli.data_tables import show_check
    from archimed.data.inspection.description import write_description

    settings = data_settings(assignments)
    with Console(quiet) as console:
        console.stage("read data")
        paths, found = write_description(
            source, settings, seed, out, lambda done, total: console.progress(done, total, "cases")
        )
    for path in paths:
        typer.echo(path)
    if found is not None:
        show_check(found)
        raise typer.Exit(2)


@app.command("cache")
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete all prepared images.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what is kept of data that were read before, and where; they are read anew where it is gone."""
    from archimed.data.preparation import cache_folder

    folder = cache_folder.prepared_folder()
    if clear:
        freed = cache_folder.clear()
        typer.echo(json.dumps({"folder": str(folder), "freed": freed}) if as_json else f"{mebibytes(freed)} freed.")
        return
    from archimed.data.preparation.cache import kept_sets

    sets = kept_sets()
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "sets": [asdict(one) for one in sets]}, indent=2))
        return
    typer.echo(f"{mebibytes(cache_folder.size_of(folder))} in {folder}")
    for one in sets:
        used = f"{datetime.fromtimestamp(one.last_used).astimezone():%Y-%m-%d %H:%M}"
        typer.echo(f"{one.key[:12]}  {mebibytes(one.bytes):>12}  last used {used}  {one.images or 'damaged'}")


def mebibytes(count: int) -> str:
    """A size for people."""
    return f"{count / 2**20:,.1f} MiB"


def data_settings(assignments: list[str] | None) -> "DataSettings":
    """The `data.*` settings that `--set` asks for."""
    from archimed.data.settings import DataSettings
    from archimed.experiment.layers import overlay, parse_assignment
    from archimed.experiment.settings import plain, section

    document = overlay({"data": plain(DataSettings())}, dict(map(parse_assignment, assignments or [])))
    settings: DataSettings = section("data", DataSettings, document["data"])
    return settings
