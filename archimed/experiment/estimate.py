"""How long a run will take and how much memory and disk it needs, from a few measured candidates and steps."""

import math
import time
from dataclasses import dataclass

import psutil
import torch

from archimed.data.dataset import Dataset
from archimed.experiment.networks import architecture_document, build_network
from archimed.experiment.search_stage import search_problem, searches_per_repeat, wanted_networks
from archimed.experiment.training_task import training_task, trial_batch
from archimed.experiment.workbench import Repeat, Workbench
from archimed.methods.baselines import fixed_baseline, fixed_networks, typical_spacing
from archimed.methods.budget_settings import drawing
from archimed.methods.protocol import Selection
from archimed.networks.fitted import Fitted
from archimed.seeding import derive_seed, numpy_generator
from archimed.task import ImagingTask
from archimed.training.mask_prediction import windows
from archimed.training.recipe import checkpoint_metrics, passes_per_epoch
from archimed.training.steps import fitting_step, least_batch, make_optimizer

TRIAL_STEPS = 2
TRIAL_SECONDS = 3.0  # of a step at most
FEW_IMAGES = 8  # of the first steps
CHECKPOINTS = 2  # that a training keeps: the last one and the one before
LEARNT_COPIES = 3  # in each: weights and two moments of Adam, beside the best weights by each metric
VALIDATION_COST = 1 / 3  # of an image in validation, in units of its training: one pass of three


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to need.

    Attributes:
        search_seconds: all searches together.
        epoch_seconds: one epoch of each network, on all data sets.
        tune_seconds: all trials of settings to their last epoch.
        train_seconds: all trainings to their last epoch; early stopping makes it less.
        memory_gib: of this process, beside the images.
        disk_mib: of the weights of the finished run, one file for each metric by which they are kept, and of the
            checkpoints of one training.
        candidates: unique candidates scored in all searches; 0 if they learn instead.
    """

    search_seconds: float
    epoch_seconds: dict[str, float]
    tune_seconds: float
    train_seconds: float
    memory_gib: float
    disk_mib: float
    candidates: int


def estimate(bench: Workbench) -> Estimate:
    """Measure a few candidates and training steps, and extrapolate."""
    method, datasets = bench.experiment.method, len(bench.training_sets)
    repeats = len(list(bench.repeats())) // datasets
    tune = bench.experiment.tune
    trial_epochs = tune.epochs or method.training.epochs
    searches = bench.searches()
    runs = searches_per_repeat(bench) * len(searches)
    seconds: dict[str, float] = {}
    parameters = []
    for number in range(datasets):
        for name in sorted(wanted_networks(bench, number)):
            one = stand_in(bench, name, number)
            seconds[name] = seconds.get(name, 0.0) + epoch_seconds(bench, one, number)
            parameters.append(parameter_count(bench, one, number))
    first = [repeat for repeat in searches if (repeat.fold, repeat.seed) == (0, bench.experiment.seed)]
    kept = len(checkpoint_metrics(method.training, bench.training_data.task.kind))
    copies = CHECKPOINTS * (LEARNT_COPIES + kept)
    foretold = sum(search_seconds(bench, repeat) for repeat in first) if runs else 0.0
    return Estimate(
        search_seconds=searches_per_repeat(bench) * repeats * foretold,
        epoch_seconds=seconds,
        tune_seconds=sum(seconds.values()) * trial_epochs * tune.trials * repeats / len(bench.experiment.seeds),
        train_seconds=sum(seconds.values()) * method.training.epochs * repeats,
        memory_gib=psutil.Process().memory_info().rss / 2**30,
        disk_mib=(sum(parameters) * repeats * kept + max(parameters) * copies) * 4 / 2**20,
        candidates=method.search.planned_candidates * runs,
    )


def stand_in(bench: Workbench, name: str, dataset: int = 0) -> Selection:
    """A selection to measure before the search has made its own: a random architecture of the space."""
    task = bench.training_sets[dataset].task
    if name in fixed_networks(task):
        return fixed_baseline(name, task, typical_spacing(bench.training_sets[dataset]))
    space, settings = bench.experiment.method.space, bench.experiment.method.search
    draw = drawing(space, settings, bench.search_sets[dataset].task)
    genotype = draw(numpy_generator(bench.experiment.seed, "stand-in", name))
    return Selection(name, space, genotype, "a random architecture")


def search_seconds(bench: Workbench, repeat: Repeat) -> float:
    """Time of one search of the method, as it foretells it itself."""
    method = bench.experiment.method
    return method.search_seconds(search_problem(bench, method, repeat))


def epoch_seconds(
    bench: Workbench, selection: Selection, dataset_number: int = 0, trial_seconds: float = TRIAL_SECONDS
) -> float:
    """Time of one epoch of training and validation, from a few steps; of a network that is fitted once, its share.

    The steps are on whole batches if each takes `trial_seconds` at most, else on as many images as do.
    """
    dataset, recipe = bench.training_sets[dataset_number], bench.experiment.method.training
    fold = dataset.folds[0]
    normalise = bench.normalisation(dataset, 0)
    task = training_task(dataset, recipe)
    document = architecture_document(selection, task, normalise, recipe.members)
    with bench.machine.session():
        network = build_network(document, derive_seed(bench.experiment.seed, "trial")).train()
        batch = trial_batch(dataset, normalise, recipe, bench.machine, max(recipe.batch_size, least_batch(network)))
        bench.machine.place_network(network)
        images, target = batch.images, batch.target
        if isinstance(network, Fitted):
            started = time.perf_counter()
            network(images)
            cases = len(fold.train) + len(fold.validation)
            return (time.perf_counter() - started) / len(batch) * cases / recipe.epochs
        optimizer = make_optimizer(network, recipe)

        def step(count: int) -> float:
            started = time.perf_counter()
            fitting_step(
                network, optimizer, images=images[:count], target=target[:count], weights=None, machine=bench.machine
            )
            if images.is_cuda:
                torch.cuda.synchronize()
            return time.perf_counter() - started

        few = min(FEW_IMAGES, len(batch))
        heat = min(step(few), step(few))  # the first sets up the kernels
        count = min(len(batch), max(few, int(few * trial_seconds / heat)))
        step(count)
        best = min(step(count) for _ in range(TRIAL_STEPS)) * len(batch) / count
    steps = math.ceil(len(fold.train) / len(batch)) * passes_per_epoch(recipe, len(fold.train))
    return best * (steps + VALIDATION_COST * validation_images(dataset, task) / len(batch))


def validation_images(dataset: Dataset, task: ImagingTask) -> int:
    """Images, or windows of images with masks, of the first fold's validation part."""
    shapes = dataset.subset(dataset.folds[0].validation).images.shapes
    return len(shapes) if dataset.masks is None else sum(windows(shape, task.image_size) for shape in shapes)


def parameter_count(bench: Workbench, selection: Selection, dataset_number: int = 0) -> int:
    """Parameters of a network."""
    dataset = bench.training_sets[dataset_number]
    members = bench.experiment.method.training.members
    task = training_task(dataset, bench.experiment.method.training)
    document = architecture_document(selection, task, bench.normalisation(dataset, 0), members)
    return sum(parameter.numel() for parameter in build_network(document, 0).parameters())
