"""The epochs of a training, as every process of it goes through them: learn, be judged, see whether it is over."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.networks.fitted import Fitted
from archimed.seeding import torch_generator, torch_seed
from archimed.task import ImagingTask
from archimed.training.augmentation import augment, augments
from archimed.training.checkpoint import TrainingState
from archimed.training.fitting import fitting_pass
from archimed.training.losses import class_weights
from archimed.training.machine import Machine
from archimed.training.patches import patch_size
from archimed.training.prediction import Normalise
from archimed.training.progress import EpochRecord
from archimed.training.recipe import Recipe, checkpoint_metrics, learning_rate_at, passes_per_epoch
from archimed.training.steps import Examples, NormalisedImages, least_batch, masks_of, training_pass
from archimed.training.team import Team

Judged = tuple[float, dict[str, float | None]]


@dataclass(frozen=True)
class Job:
    """One training under way, in one of its processes.

    Attributes:
        state: all that changes.
        train: what it learns from.
        patch_size: of the parts of images with masks; None of others.
        task: what the images and targets are.
        recipe: the `training.*` settings.
        seed: of order, augmentation and dropout.
        machine: how to compute.
        team: the processes that train together.
        class_weights: of the loss, on the device; None if all weigh the same.
        warn: told, in one line, what a user should know.
    """

    state: TrainingState
    train: NormalisedImages
    patch_size: tuple[int, ...] | None
    task: ImagingTask
    recipe: Recipe
    seed: int
    machine: Machine
    team: Team
    class_weights: Tensor | None
    warn: Callable[[str], None]


def job_of(
    state: TrainingState,
    train: Examples,
    normalise: Normalise,
    task: ImagingTask,
    recipe: Recipe,
    seed: int,
    machine: Machine,
    team: Team,
    warn: Callable[[str], None],
) -> Job:
    """A training from its state on; patches and class weights follow from the training images."""
    weights = class_weights(_known(train), task.num_outputs, recipe)
    patch = patch_size(Arrays.of(train.images).shapes, recipe) if task.kind == "segmentation" else None
    images = NormalisedImages(train, normalise, machine, patch, recipe.foreground_share)
    placed = None if weights is None else weights.to(machine.device)
    return Job(state, images, patch, task, recipe, seed, machine, team, placed, warn)


def all_epochs(job: Job, judge: Callable[[nn.Module], Judged], ends_with: Callable[[EpochRecord], bool]) -> str | None:
    """Train until it is over; what failed, if anything did.

    Args:
        job: its state changes.
        judge: gives the validation loss and metrics, in the first process.
        ends_with: told each epoch in the first process; True makes it the last.
    """
    state, metrics = job.state, checkpoint_metrics(job.recipe, job.task.kind)
    while not is_over(state, job.recipe):
        record = _one_epoch(job, len(state.records) + 1, judge)
        if not math.isfinite(record.train_loss + record.validation_loss):
            return f"The loss was not a number in epoch {record.epoch}"
        state.records.append(record)
        state.keep_weights(metrics)
        if job.team.of_leader(partial(ends_with, record)):
            break
    return None


def unjudged(_network: nn.Module) -> Judged:
    """The first process alone judges."""
    return math.nan, {}


def is_over(state: TrainingState, recipe: Recipe) -> bool:
    """Whether the last epoch was the recipe's last, or patience is at its end."""
    if not state.best:
        return False
    done, patience = state.records[-1].epoch, recipe.early_stop_patience
    newest = max(record.epoch for record in state.best.values())
    return done >= recipe.epochs or (patience is not None and done - newest >= patience)


def _one_epoch(job: Job, epoch: int, judge: Callable[[nn.Module], Judged]) -> EpochRecord:
    started = time.perf_counter()
    learning_rate = learning_rate_at(job.recipe, epoch)
    for group in job.state.optimizer.param_groups:
        group["lr"] = learning_rate
    train_loss = _learn(job, epoch)

    def record() -> EpochRecord:
        validation_loss, metrics = judge(job.state.network) if math.isfinite(train_loss) else (math.nan, {})
        return EpochRecord(epoch, learning_rate, train_loss, validation_loss, metrics, time.perf_counter() - started)

    return job.team.of_leader(record)


def _learn(job: Job, epoch: int) -> float:
    """Change the network by one pass over the training images; returns their mean loss."""
    network, recipe, team = job.state.network, job.recipe, job.team
    least = least_batch(network)
    batch_size = max(recipe.batch_size, least)
    if isinstance(network, Fitted):
        return fitting_pass(network, images=job.train, batch_size=batch_size, weights=job.class_weights, seed=job.seed)
    generator = torch_generator(job.seed, "epoch", epoch)
    passes = passes_per_epoch(recipe, len(job.train))
    order = torch.cat([torch.randperm(len(job.train), generator=generator) for _ in range(passes)])

    def feed(cases: Tensor, step: int) -> tuple[Tensor, Tensor]:
        count = len(cases)
        part = team.part(count, least)
        images, target = job.train.batch(cases, torch_generator(job.seed, "patches", epoch, step), part)
        if not augments(recipe):
            return images, target
        region = job.task.has_region
        return augment(images, target, recipe, job.seed, epoch, step, has_region=region, cases=count, part=part)

    others = (team.rank,) if team.rank else ()  # what layers draw is another in each process
    with torch_seed(job.seed, "epoch", epoch, "layers", *others):
        loss, parts = training_pass(
            network,
            job.state.optimizer,
            feed=feed,
            order=order,
            batch_size=batch_size,
            weights=job.class_weights,
            machine=job.machine,
            parts=job.state.parts,
            team=team,
        )
    team.average_statistics(network)
    if parts > job.state.parts:
        job.state.parts = parts
        caution(_in_parts(network, math.ceil(batch_size / team.size), parts), job.state, job.warn)
    return loss


def _in_parts(network: nn.Module, batch_size: int, parts: int) -> str:
    size = math.ceil(batch_size / parts)
    norms = f", but that batch normalisation averages over {size} images" if least_batch(network) > 1 else ""
    return (
        f"Batches of {batch_size} did not fit into memory: each step adds up the gradients of {parts} parts of "
        f"{size} images, which is the same step{norms}."
    )


def caution(text: str, state: TrainingState, warn: Callable[[str], None]) -> None:
    """Tell what a reader of the results should know, and keep it with them."""
    state.cautions.append(text)
    warn(text)


def _known(examples: Examples) -> Tensor | Arrays:
    """What training is to answer: masks where there are some."""
    masks = masks_of(examples)
    return examples.target if masks is None else masks
