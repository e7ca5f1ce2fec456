"""`archimed resume`, `search`, `train`, `report`: an existing run again, or its architecture elsewhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

from archimed.cli.options import (
    ConfigOption,
    DataOption,
    DeviceOption,
    FreshOption,
    JsonOption,
    MlflowOption,
    QuietOption,
    RunArgument,
    SetOption,
    TensorBoardOption,
    ThreadsOption,
)


def resume(
    run: RunArgument,
    tensorboard: TensorBoardOption = False,
    mlflow: MlflowOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with an interrupted run; it ends with the figures of an unbroken one."""
    complete(run, ("search", "train", "evaluate", "report"), quiet, as_json, tracking=(tensorboard, mlflow))


def search(
    run: RunArgument,
    fresh: FreshOption = False,
    tensorboard: TensorBoardOption = False,
    mlflow: MlflowOption = None,
    quiet: QuietOption = False,
) -> None:
    """Complete the search of a run."""
    complete(run, ("search",), quiet, as_json=False, fresh=fresh, tracking=(tensorboard, mlflow))


def train(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="The folder of a run.")] = None,
    architecture: Annotated[
        Path | None,
        typer.Option("--architecture", metavar="RUN", help="Train the architecture of this run on other --data."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="RUN2", help="The folder of that new run.")] = None,
    data: DataOption = [],  # noqa: B006
    config: ConfigOption = None,
    assignments: SetOption = None,
    method: Annotated[
        str | None, typer.Option("--method", help="The run's method, where it is from a file that you trust.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="One seed fixes the whole run.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Train with this many seeds.")] = None,
    folds: Annotated[int | None, typer.Option(help="Cross-validation by patient.")] = None,
    baselines: Annotated[
        str | None, typer.Option(help="default, all, none, or names with commas; searched ones as RUN has them.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Wall clock for everything, as in 90s, 10m, 2h.")] = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and its time, memory, disk.")] = False,
    fresh: FreshOption = False,
    tensorboard: TensorBoardOption = False,
    mlflow: MlflowOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Complete the training of a run, or train its architecture on other data, as a new run with a report."""
    from archimed.errors import SettingsError

    flags: dict[str, Any] = {
        "sources": data or None,
        "seed": seed,
        "repeats": repeats,
        "budget_seconds": budget,
        "data.folds": folds,
        "evaluation.baselines": baselines,
        "machine.device": device,
        "machine.threads": threads,
    }
    if architecture is None:
        new = [out, config, assignments, method, *flags.values()]
        if run is None or any(value is not None for value in new) or dry_run:
            raise SettingsError(
                "Training takes the folder of a run (archimed train RUN), or another run's architecture and data for "
                "it (archimed train --architecture RUN --data OTHER --out RUN2). Give one of the two."
            )
        complete(run, ("train",), quiet, as_json, fresh, (tensorboard, mlflow))
        return
    if run is not None or out is None or fresh:
        raise SettingsError(
            "An architecture is trained in a new folder: archimed train --architecture RUN --data OTHER --out RUN2, "
            "without --fresh. The same command goes on with it."
        )
    tracking = tensorboard, mlflow
    transfer(architecture, out, config, assignments or [], flags, method, dry_run, quiet, as_json, tracking)


def transfer(
    architecture: Path,
    out: Path,
    config: Path | None,
    assignments: list[str],
    flags: dict[str, Any],
    method: str | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    tracking: tuple[bool, str | None],
) -> None:
    """Train, evaluate and report a run's architecture on other data."""
    from archimed.cli.console import Console
    from archimed.cli.results import show_results
    from archimed.cli.run import show_plan
    from archimed.experiment.budget import parse_budget
    from archimed.experiment.transfer import resolve_transfer

    seconds = parse_budget(flags["budget_seconds"]) if flags["budget_seconds"] else None
    experiment = resolve_transfer(str(architecture), config, assignments, {**flags, "budget_seconds": seconds}, method)
    with Console(quiet) as console:
        if dry_run:
            show_plan(experiment, out, console, as_json)
            return
        from archimed.experiment.pipeline import run_experiment
        from archimed.experiment.tracking import Tracking

        directory = run_experiment(experiment, out, console, Tracking(*tracking))
    show_results(directory, as_json)


def report(run: RunArgument, quiet: QuietOption = False) -> None:
    """Write the report of a run again, or of a folder of runs an index that opens each report."""
    from archimed.report.index import is_folder_of_runs, write_index

    if is_folder_of_runs(run):
        typer.echo(f"Index: {write_index(run)}")
        return
    complete(run, ("report",), quiet, as_json=False)


def complete(
    run: Path,
    stages: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    fresh: bool = False,
    tracking: tuple[bool, str | None] = (False, None),
) -> None:
    """Run stages of an existing run and show what there is."""
    from archimed.cli.console import Console
    from archimed.cli.results import show_results
    from archimed.experiment.pipeline import run_again
    from archimed.experiment.tracking import Tracking

    with Console(quiet) as console:
        directory = run_again(run, stages, console, fresh, Tracking(*tracking))
    show_results(directory, as_json)
