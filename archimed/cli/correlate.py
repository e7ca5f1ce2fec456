"""`archimed correlate`: how well indicators rank the trained networks of a space on one's own data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from archimed.cli.options import (
    ConfigOption,
    DataOption,
    DeviceOption,
    JsonOption,
    QuietOption,
    SetOption,
    ThreadsOption,
)


def correlate(
    space: Annotated[str, typer.Option("--space", metavar="SPACE", help="See: archimed list spaces")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the correlation goes.")],
    data: DataOption = [],  # noqa: B006
    networks: Annotated[int | None, typer.Option(help="Networks drawn and trained; 50 if left out.")] = None,
    indicators: Annotated[str | None, typer.Option(help="Names with commas; all of them if left out.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs that each is trained for; 10 if left out.")] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="Draws the networks and trains them.")] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draw networks of a space, train each for a short while, and tell how well indicators rank them.

    The same command goes on with one that was interrupted.
    """
    from archimed.cli.comparisons import show_correlation
    from archimed.cli.console import Console
    from archimed.studies.correlating import correlate as run_correlation
    from archimed.studies.correlation_settings import resolve_correlation

    flags: dict[str, Any] = {
        "sources": data or None,
        "seed": seed,
        "search.networks": networks,
        "search.indicators": indicators,
        "training.epochs": epochs,
        "machine.device": device,
        "machine.threads": threads,
    }
    experiment = resolve_correlation(space, config, assignments or [], flags)
    with Console(quiet) as console:
        document = run_correlation(experiment, out, console)
    show_correlation(document, out, as_json)
