"""`archimed resume`, `search`, `train`, `report`: an existing run, all of it or one stage again."""

from pathlib import Path

from archimed.cli.options import FreshOption, JsonOption, QuietOption, RunArgument


def resume(run: RunArgument, quiet: QuietOption = False, as_json: JsonOption = False) -> None:
    """Go on with an interrupted run; it ends with the figures of an unbroken one."""
    complete(run, ("search", "train", "evaluate", "report"), quiet, as_json)


def search(run: RunArgument, fresh: FreshOption = False, quiet: QuietOption = False) -> None:
    """Complete the search of a run."""
    complete(run, ("search",), quiet, as_json=False, fresh=fresh)


def train(run: RunArgument, fresh: FreshOption = False, quiet: QuietOption = False) -> None:
    """Complete the training of a run."""
    complete(run, ("train",), quiet, as_json=False, fresh=fresh)


def report(run: RunArgument, quiet: QuietOption = False) -> None:
    """Write the report of a run again."""
    complete(run, ("report",), quiet, as_json=False)


def complete(run: Path, stages: tuple[str, ...], quiet: bool, as_json: bool, fresh: bool = False) -> None:
    """Run stages of an existing run and show what there is."""
    from archimed.cli.console import Console
    from archimed.cli.results import show_results
    from archimed.experiment.pipeline import run_again

    with Console(quiet) as console:
        directory = run_again(run, stages, console, fresh)
    show_results(directory, as_json)
