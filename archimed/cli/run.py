"""`archimed run`: search, train, evaluate and report in one go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archimed.cli.budgets import BudgetMacsOption, BudgetParamsOption, DepthOption, budget_flags
from archimed.cli.options import (
    ClusterOption,
    ConfigOption,
    DataOption,
    DeviceOption,
    JsonOption,
    MlflowOption,
    OutOption,
    QuietOption,
    SetOption,
    TensorBoardOption,
    ThreadsOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from archimed.experiment.settings import Experiment


def run(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="See: archimed list methods")],
    out: OutOption,
    data: DataOption = [],  # noqa: B006
    preset: Annotated[str, typer.Option(help="quick, default, or paper (the paper's exact protocol).")] = "default",
    config: ConfigOption = None,
    assignments: SetOption = None,
    seed: Annotated[int | None, typer.Option(help="One seed fixes the whole run.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Search and train with this many seeds.")] = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validation by patient; repeated with --set data.fold_repeats=R.")
    ] = None,
    tune: Annotated[
        int | None, typer.Option(help="Try this many settings of training for every network, on validation.")
    ] = None,
    baselines: Annotated[str | None, typer.Option(help="default, all, none, or names with commas.")] = None,
    budget: Annotated[str | None, typer.Option(help="Wall clock for everything, as in 90s, 10m, 2h.")] = None,
    budget_macs: BudgetMacsOption = None,
    budget_params: BudgetParamsOption = None,
    depth: DepthOption = None,
    device: DeviceOption = None,
    workers: WorkersOption = None,
    cluster: ClusterOption = None,
    threads: ThreadsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and its time, memory, disk.")] = False,
    tensorboard: TensorBoardOption = False,
    mlflow: MlflowOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search, train, evaluate and report. The same command goes on with a run that was interrupted."""
    from archimed.cli.console import Console
    from archimed.experiment.budget import parse_budget
    from archimed.experiment.layers import resolve

    flags: dict[str, Any] = {
        "sources": data or None,
        "seed": seed,
        "repeats": repeats,
        "budget_seconds": parse_budget(budget) if budget else None,
        "data.folds": folds,
        "tune.trials": tune,
        "evaluation.baselines": baselines,
        "machine.device": device,
        "machine.workers": workers,
        "machine.cluster": cluster,
        "machine.threads": threads,
        **budget_flags(method, budget_macs, budget_params, depth),
    }
    experiment = resolve(method, preset, config, assignments or [], flags)
    with Console(quiet) as console:
        if dry_run:
            show_plan(experiment, out, console, as_json)
            return
        from archimed.experiment.pipeline import run_experiment
        from archimed.experiment.tracking import Tracking

        directory = run_experiment(experiment, out, console, Tracking(tensorboard, mlflow))
    from archimed.cli.results import show_results

    show_results(directory, as_json)


def show_plan(experiment: "Experiment", out: Path, console: Any, as_json: bool) -> None:
    """Print what would run, without writing anything."""
    import dataclasses
    import json

    from archimed.cli.console import duration
    from archimed.experiment.estimate import estimate
    from archimed.experiment.pipeline import open_bench
    from archimed.runs import RunDirectory

    directory = RunDirectory(out)
    directory.check(experiment.document())
    bench = open_bench(directory, experiment, console)
    expected = estimate(bench)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(expected), indent=2))
        return
    repeats = len(list(bench.repeats())) // len(experiment.sources)
    typer.echo(f"{experiment.method.name} on {', '.join(experiment.sources)}, {repeats} repeat(s), nothing run yet:")
    scored = f"{expected.candidates} candidates, " if expected.candidates else ""
    typer.echo(f"  search     {scored}about {duration(expected.search_seconds)}")
    if expected.tune_seconds:
        trials = experiment.tune.trials
        typer.echo(f"  tuning     {trials} trials of each network, at most {duration(expected.tune_seconds)}")
    typer.echo(f"  training   at most {duration(expected.train_seconds)}; early stopping makes it less:")
    for name, seconds in expected.epoch_seconds.items():
        whole = seconds * experiment.method.training.epochs * repeats
        typer.echo(f"             {name:<18} {seconds:6.1f} s an epoch, at most {duration(whole)}")
    typer.echo(
        f"  memory     about {expected.memory_gib:.1f} GiB      disk  about {expected.disk_mib:.0f} MiB in {out}"
    )
