"""The Python interface: the same engine as the command line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from archimed.experiment.layers import resolve
from archimed.experiment.networks import load_chosen
from archimed.experiment.pipeline import run_experiment
from archimed.experiment.progress import Observer, Silent
from archimed.experiment.tracking import Tracking
from archimed.experiment.transfer import resolve_transfer


def run(
    method: str,
    data: str | Sequence[str],
    out: str | Path,
    *,
    preset: str = "default",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    tensorboard: bool = False,
    mlflow: str | None = None,
) -> Path:
    """Search, train, evaluate and report, as `archimed run` does; goes on with an interrupted run.

    Args:
        method: name of a method, or `file.py:Class`.
        data: any form that `--data` takes; several for methods that take them.
        out: the run's folder.
        preset: quick, default or paper.
        seed: one seed fixes the whole run.
        settings: dotted settings, e.g. {"training.epochs": 20}.
        observer: hears of progress; silent if left out.
        tensorboard: whether measurements also go to `tensorboard/` of the run.
        mlflow: the address of an MLflow server or database to which they also go.

    Returns:
        The run's folder.

    Raises:
        ArchimedError: the input or the surroundings do not allow the run; the message says what to do.
    """
    flags = {"sources": sources_of(data), "seed": seed, **(settings or {})}
    experiment = resolve(method, preset, None, [], flags)
    return run_experiment(experiment, Path(out), observer or Silent(), Tracking(tensorboard, mlflow)).path


def transfer(
    architecture: str | Path,
    data: str | Sequence[str],
    out: str | Path,
    *,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
) -> Path:
    """Train the architecture that a run chose on other data, as `archimed train --architecture` does.

    Args:
        architecture: the run, or the folder of its chosen network for one fold, seed and data set.
        data: any form that `--data` takes; several for methods that take them.
        out: the new run's folder.
        seed: of the new run; None takes that of the run.
        settings: dotted settings over those of the run.
        observer: hears of progress; silent if left out.

    Returns:
        The new run's folder.

    Raises:
        ArchimedError: the input or the surroundings do not allow it; the message says what to do.
    """
    flags = {"sources": sources_of(data), "seed": seed, **(settings or {})}
    experiment = resolve_transfer(str(architecture), None, [], flags)
    return run_experiment(experiment, Path(out), observer or Silent()).path


def sources_of(data: str | Sequence[str]) -> list[str]:
    """What `--data` names, one or several."""
    return [str(data)] if isinstance(data, str | Path) else [str(one) for one in data]


def load(run: str | Path, dataset: str | None = None) -> nn.Module:
    """The chosen network of a finished run: a plain PyTorch module in eval mode, of the run's first fold and seed.

    It takes images normalised as its architecture.json says, [batch, channel, *space], and gives logits.

    Args:
        run: the run's folder.
        dataset: in a run of several data sets the name of one; None takes the first.

    Raises:
        RunError: the run is unfinished or damaged, or has no such data set.
    """
    return load_chosen(run, dataset).network
