"""What can be known to be wrong before a run begins: then its folder is not even made, and no search is wasted."""

from collections.abc import Sequence

from torch import nn

from archimed.data.dataset import Dataset
from archimed.errors import SettingsError
from archimed.experiment.initial_weights import check_initial_weights
from archimed.experiment.search_stage import search_problem, wanted_networks
from archimed.experiment.training_task import training_task, validation_metric_names
from archimed.experiment.tune_stage import check_tuning
from archimed.experiment.workbench import Workbench
from archimed.genotype import random_genotype
from archimed.methods.budget_settings import drawing
from archimed.methods.protocol import Method, check_problem
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.protocol import BudgetedSpace
from archimed.task import ImagingTask
from archimed.training.recipe import checkpoint_metrics
from archimed.training.steps import refuse_batches_of_one


def check_kind(dataset: Dataset, method: Method) -> None:
    """Raise SettingsError if the data have masks and the method's networks give none, or patches without masks."""
    if dataset.masks is not None:
        random_network(method, training_task(dataset, method.training), 0)
    elif method.training.patch_size is not None:
        raise SettingsError(
            f"training.patch_size is for masks; {dataset.name} has none, and it is {method.training.patch_size}. "
            "Leave it out, or resize the images with --set data.image_size=N."
        )


def check_before_start(bench: Workbench) -> None:
    """Check settings that later stages would stop at.

    Raises:
        SettingsError: a baseline, the checkpoint metric or the initial weights are not there, the space has no
            network for the task, or batches of one meet batch normalisation.
        DataError: the data cannot be had at the image size of the search, or are too few for it.
    """
    wanted_networks(bench)
    if not bench.experiment.architecture:
        check_search(bench)
    for dataset in bench.training_sets:
        check_space(bench, dataset, "training")
    recipe = bench.experiment.method.training
    known = common([validation_metric_names(dataset) for dataset in bench.training_sets])
    asked = checkpoint_metrics(recipe, bench.training_data.task.kind)
    if unknown := [name for name in asked if name not in known]:
        raise SettingsError(
            f"training.checkpoint_metric is a metric of the task, one of {', '.join(known)}; got "
            f"{unknown[0]!r}. Set it with --set training.checkpoint_metric=NAME."
        )
    check_initial_weights(bench)
    check_tuning(bench)


def check_search(bench: Workbench) -> None:
    """Check what the searches would stop at: the space, and the cases of each fold."""
    for dataset in bench.search_sets:
        check_space(bench, dataset, "search")
        drawing(bench.experiment.method.space, bench.experiment.method.search, dataset.task)
    method = bench.experiment.method
    for repeat in bench.searches():
        check_problem(method, search_problem(bench, method, repeat))


def check_space(bench: Workbench, dataset: Dataset, section: str) -> None:
    """Build one random network; SettingsError if the space has none for this task or for batches of this size."""
    method = bench.experiment.method
    task = training_task(dataset, method.training) if section == "training" else dataset.task
    network = random_network(method, task, bench.experiment.seed)
    batch_size = getattr(getattr(method, section), "batch_size", 2)
    refuse_batches_of_one(network, batch_size, f"{section}.batch_size")


def random_network(method: Method, task: ImagingTask, seed: int) -> nn.Module:
    """One network of the method's space, drawn by the seed; of a space whose networks may be huge the smallest."""
    space = method.space
    if isinstance(space, BudgetedSpace):
        genotype = next(iter(space.least()))
    else:
        genotype = random_genotype(space.choices, numpy_generator(seed, "preflight"))
    with torch_seed(seed, "preflight"):
        return space.build(genotype, task)


def common(lists: Sequence[Sequence[str]]) -> list[str]:
    """The names that are in every list, in the order of the first."""
    return [name for name in lists[0] if all(name in other for other in lists)]
