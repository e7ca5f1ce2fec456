"""What can be known to be wrong before a run begins: then its folder is not even made, and no search is wasted."""

from collections.abc import Sequence

import numpy as np

from archimed.data.dataset import Dataset
from archimed.errors import SettingsError
from archimed.evaluation.metrics import metrics
from archimed.experiment.search_stage import wanted_networks
from archimed.experiment.workbench import Workbench
from archimed.genotype import random_genotype
from archimed.methods import METHODS
from archimed.seeding import numpy_generator, torch_seed
from archimed.training.recipe import checkpoint_metric
from archimed.training.steps import refuse_batches_of_one


def check_kind(dataset: Dataset) -> None:
    """Raise SettingsError if the data ask for masks, which no method gives."""
    if dataset.task.kind == "segmentation":
        raise SettingsError(
            f"Masks need a method that segments; {', '.join(METHODS)} and their baselines classify whole images, and "
            f"{dataset.name} has masks of {', '.join(dataset.task.class_names)}. Give each image a label instead of "
            "a mask."
        )


def check_before_start(bench: Workbench) -> None:
    """Check settings that later stages would stop at.

    Raises:
        SettingsError: a baseline, the checkpoint metric or the initial weights are not there, the space has no
            network for the task, or batches of one meet batch normalisation.
        DataError: the data cannot be had at the image size of the search.
    """
    wanted_networks(bench)
    for section, datasets in (("search", bench.search_sets), ("training", bench.training_sets)):
        for dataset in datasets:
            check_space(bench, dataset, section)
    recipe = bench.experiment.method.training
    known = common([metric_names(dataset) for dataset in bench.training_sets])
    if checkpoint_metric(recipe, bench.training_data.task.kind) not in known:
        raise SettingsError(
            f"training.checkpoint_metric is a metric of the task, one of {', '.join(known)}; got "
            f"{recipe.checkpoint_metric!r}. Set it with --set training.checkpoint_metric=NAME."
        )
    if recipe.initial_weights is not None and not recipe.initial_weights.is_file():
        raise SettingsError(
            f"training.initial_weights is a .safetensors file; there is none at {recipe.initial_weights}. "
            "Give the weights.safetensors of a run."
        )


def check_space(bench: Workbench, dataset: Dataset, section: str) -> None:
    """Build one random network; SettingsError if the space has none for this task or for batches of this size."""
    space, seed = bench.experiment.method.space, bench.experiment.seed
    with torch_seed(seed, "preflight"):
        network = space.build(random_genotype(space.choices, numpy_generator(seed, "preflight")), dataset.task)
    batch_size = getattr(getattr(bench.experiment.method, section), "batch_size", 2)
    refuse_batches_of_one(network, batch_size, f"{section}.batch_size")


def common(lists: Sequence[Sequence[str]]) -> list[str]:
    """The names that are in every list, in the order of the first."""
    return [name for name in lists[0] if all(name in other for other in lists)]


def metric_names(dataset: Dataset) -> list[str]:
    """The metrics that the task has."""
    validation = dataset.subset(dataset.folds[0].validation).target.numpy()
    guess = np.full((len(validation), dataset.task.num_outputs), 1 / dataset.task.num_outputs)
    return list(metrics(dataset.task, validation, guess))
