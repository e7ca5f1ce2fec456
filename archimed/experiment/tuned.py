"""The recipe of each network: the method's, with what the trials of `--tune` found best on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from archimed.data.dataset import Dataset
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import read_lines
from archimed.task import LOWER_IS_BETTER
from archimed.training.recipe import Recipe

TUNED = ("batch_size", "learning_rate", "weight_decay", "image_size")


def trials_of(bench: Workbench, network: str, repeat: Repeat) -> list[dict[str, Any]]:
    """The logged trials of a network in a fold of a data set, in order; no more than are asked for."""
    key = (network, repeat.fold, bench.scope(repeat.dataset))
    lines = read_lines(bench.run.trials) if bench.run.trials.exists() else []
    found = [line for line in lines if (line["network"], line["fold"], line.get("dataset")) == key]
    return found[: bench.experiment.tune.trials]


def best_trial(trials: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The trial of the best validation metric, the first of equals; None if none could be measured."""
    measured = [trial for trial in trials if trial["value"] is not None]
    return max(measured, key=lambda trial: signed(trial["metric"], trial["value"]), default=None)


def signed(metric: str, value: float) -> float:
    """The value, negative where lower is better."""
    return -value if metric in LOWER_IS_BETTER else value


def recipe_of(bench: Workbench, network: str, repeat: Repeat) -> Recipe:
    """The recipe that a network is trained by in a fold: all its seeds by the same."""
    recipe: Recipe = bench.experiment.method.training
    if not bench.experiment.tune.trials:
        return recipe
    best = best_trial(trials_of(bench, network, repeat))
    return recipe if best is None else replace(recipe, **best["settings"])


def dataset_of(bench: Workbench, network: str, repeat: Repeat) -> Dataset:
    """The data set of a repeat at the image size that the network is trained at."""
    return bench.datasets(recipe_of(bench, network, repeat).image_size)[repeat.dataset]
