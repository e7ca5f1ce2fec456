"""The training loop: normalised images, one validation per epoch, exact resumption, the best weights at the end."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from torch import nn

from archimed.errors import DataError
from archimed.networks.fitted import Fitted
from archimed.task import ImagingTask
from archimed.training.checkpoint import StateFolder, TrainingState
from archimed.training.epochs import Job, all_epochs, caution, is_over, job_of, unjudged
from archimed.training.fitting import single_epoch
from archimed.training.initial_weights import load_initial_weights
from archimed.training.machine import Machine
from archimed.training.prediction import Normalise
from archimed.training.progress import EpochRecord, Training, TrainingError
from archimed.training.recipe import Recipe, checkpoint_metrics
from archimed.training.steps import Examples, NormalisedImages, least_batch, make_optimizer
from archimed.training.team import ALONE, Team
from archimed.training.validation import Validation, ValidationMetrics
from archimed.workers.limits import GIB, free_bytes, memory_limit, most_data

Stop = Callable[[float], bool]


def never(_seconds: float) -> bool:
    """Do not stop."""
    return False


def nobody(_state: Mapping[str, Any]) -> None:
    """There is nobody to call."""


def train(
    network: nn.Module,
    train: Examples,
    validation: Examples,
    normalise: Normalise,
    *,
    task: ImagingTask,
    recipe: Recipe,
    seed: int,
    machine: Machine,
    state_folder: Path,
    on_epoch: Callable[[EpochRecord], None],
    validation_metrics: ValidationMetrics,
    warn: Callable[[str], None],
    stop: Stop = never,
    team: Team = ALONE,
    call: Callable[[Mapping[str, Any]], None] = nobody,
) -> Training:
    """Train a network in place and leave it with the weights of its best epoch, in eval mode.

    A network that is fitted rather than trained (`Fitted`) is so in one epoch, with the same files and result.
    The folder holds the state after every epoch, so a call that was cut off at any moment is simply made again; it
    gives the weights and records of an unbroken one. A training completed there before is returned at once.

    Args:
        network: freshly built, its initial weights drawn.
        train: training images and targets.
        validation: images and targets that choose the epoch.
        normalise: raw images -> float32 images, fitted on the training fold.
        task: what the images and targets are; of a segmentation the masks are the targets, and images are taken by
            patches (`archimed.training.patches.patch_size`).
        recipe: the `training.*` settings.
        seed: of the batches' order, of augmentation and of dropout.
        machine: how to compute.
        state_folder: where state, weights.safetensors, epochs.jsonl and training.json are written.
        on_epoch: told each new epoch, after its state is on disk.
        validation_metrics: (target, probabilities [case, class]) -> metrics, among them the recipe's; of a
            segmentation it gets the masks [*space] and the probabilities [class, *space] of one case after the other.
        warn: told, in one line, what a user should know.
        stop: asked after each epoch with the seconds it took; True ends the training with what it has.
        team: of which this process is the first; the others `join`, and batches are divided among all.
        call: lets the others join, with the state that all begin from; not called where nothing is to be done, or
            where the network is a `Fitted` one.

    Raises:
        TrainingError: the loss was not a number before one epoch was complete.
        SettingsError: initial weights that do not fit, or an unknown checkpoint metric.
        DataError: no training or no validation images.
        RunError: the folder belongs to a training with other settings.
    """
    _check_examples(train, validation)
    if isinstance(network, Fitted):
        recipe, team = single_epoch(recipe), ALONE
    recipe = replace(recipe, checkpoint_metric=checkpoint_metrics(recipe, task.kind))
    folder = StateFolder(state_folder, _fingerprint(network, train, validation, recipe, seed))
    with _at_work(machine, team) as machine:  # noqa: PLR1704
        if finished := folder.finished(network):
            network.eval()
            return finished
        machine.place_network(network)
        state = TrainingState(network, make_optimizer(network, recipe))
        folder.restore(state, warn)
        if not state.records and recipe.initial_weights is not None:
            _start_from(recipe.initial_weights, network, task, state, warn)
        _explain_batches(network, recipe, team, state, warn)
        job = job_of(state, train, normalise, task, recipe, seed, machine, team, warn)
        images = NormalisedImages(validation, normalise, machine, job.patch_size)
        judge = Validation(images, job.patch_size, task, recipe, machine, job.class_weights, validation_metrics)
        if team.several:
            call(state.told())
        return _run(job, folder, judge, on_epoch, stop)


def join(
    network: nn.Module,
    train: Examples,
    normalise: Normalise,
    *,
    task: ImagingTask,
    recipe: Recipe,
    seed: int,
    machine: Machine,
    team: Team,
    begun: Mapping[str, Any],
) -> None:
    """Train with a team whose first process is in `train`, from the state `begun` that it called with, until it ends.

    All else as there. This process writes nothing.

    Raises:
        TrainingError: the first process gave it up.
    """
    recipe = replace(recipe, checkpoint_metric=checkpoint_metrics(recipe, task.kind))
    with _at_work(machine, team) as machine:  # noqa: PLR1704
        machine.place_network(network)
        state = TrainingState(network, make_optimizer(network, recipe))
        state.take(begun)
        job = job_of(state, train, normalise, task, recipe, seed, machine, team, warn=lambda _: None)
        all_epochs(job, unjudged, ends_with=lambda _: False)


@contextmanager
def _at_work(machine: Machine, team: Team) -> Iterator[Machine]:
    """The machine as this process may use it; what needs more memory than is free fails, and is then done in parts."""
    own = team.machine(machine)
    share = free_bytes("cpu") / team.local_size / GIB if team.several else None
    with own.session(), memory_limit(most_data(share) if own.device == "cpu" else None):
        yield own


def _run(
    job: Job, folder: StateFolder, judge: Validation, on_epoch: Callable[[EpochRecord], None], stop: Stop
) -> Training:
    state, recipe = job.state, job.recipe

    def ends_with(record: EpochRecord) -> bool:
        """Keep an epoch and tell of it; whether it is to be the last."""
        if record.epoch == 1:
            _explain_metrics(record, state, checkpoint_metrics(recipe, job.task.kind), job.warn)
        folder.save(state)
        on_epoch(record)
        if is_over(state, recipe) or not stop(record.seconds):
            return False
        told = f"The time budget ended its training after {record.epoch} of {recipe.epochs} epochs."
        caution(told, state, job.warn)
        return True

    failure = all_epochs(job, judge, ends_with)
    if failure is not None and state.own is not None:
        caution(f"{failure}; the weights of epoch {state.own.epoch} are kept.", state, job.warn)
    if failure is not None and state.own is None:
        failure = f"{failure}, the first. Lower training.learning_rate or check the images."
    folder.finish(state, len(state.records) < recipe.epochs and failure is None, failure)
    if state.own is None:
        raise TrainingError(failure)
    state.network.eval()
    finished = folder.finished(state.network)
    if finished is None:
        raise TrainingError(f"The result of the training vanished from {folder.path}.")
    return finished


def _explain_batches(
    network: nn.Module, recipe: Recipe, team: Team, state: TrainingState, warn: Callable[[str], None]
) -> None:
    """Say what batch normalisation makes of the batches."""
    least = least_batch(network)
    if recipe.batch_size < least and not state.records:
        caution("Batches of one mean nothing to batch normalisation: it is trained by two at a time.", state, warn)
    if team.several and least > 1:
        size = team.part(recipe.batch_size, least).stop
        told = f"{team.size} processes trained it together; batch normalisation averaged over {size} images in each."
        if told not in state.cautions:
            caution(told, state, warn)


def _explain_metrics(
    record: EpochRecord, state: TrainingState, metrics: Sequence[str], warn: Callable[[str], None]
) -> None:
    for metric in (name for name in metrics if record.validation[name] is None):
        caution(
            f"{metric} is undefined on the validation images (one class only?), "
            "so the epoch of the lowest validation loss is kept.",
            state,
            warn,
        )


def _start_from(
    path: Path, network: nn.Module, task: ImagingTask, state: TrainingState, warn: Callable[[str], None]
) -> None:
    kept = load_initial_weights(network, path, task.num_outputs)
    head = f"; as it was made for other classes, the classifier starts afresh ({', '.join(kept)})" if kept else ""
    caution(f"It began with the weights of {path.name}{head}.", state, warn)


def _check_examples(train: Examples, validation: Examples) -> None:
    for name, examples in (("training", train), ("validation", validation)):
        if len(examples.target) == 0:
            raise DataError(f"A network needs {name} images; the {name} split has none. Change the splits.")


def _fingerprint(network: nn.Module, train: Examples, validation: Examples, recipe: Recipe, seed: int) -> str:
    facts = {
        "recipe": TypeAdapter(Recipe).dump_python(recipe, mode="json"),
        "seed": seed,
        "cases": [len(train.target), len(validation.target)],
        "tensors": {name: list(tensor.shape) for name, tensor in network.state_dict().items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
