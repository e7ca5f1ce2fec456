"""The networks of a run that answer together: every fold and seed of one, their mean, and how it is calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.errors import RunError, SettingsError
from archimed.evaluation.temperature import fit_temperature
from archimed.evaluation.thresholds import HALF, label_thresholds
from archimed.experiment.networks import StoredNetwork, load_network
from archimed.experiment.predictions import SplitPredictions, read_predictions
from archimed.experiment.settings import Experiment, experiment_from_document
from archimed.experiment.trainings import Trained, trainings_of
from archimed.runs import NetworkFolder, RunDirectory
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.machine_choice import choose_device
from archimed.training.mask_prediction import predict_masks
from archimed.training.prediction import predict


@dataclass(frozen=True)
class Ensemble:
    """Trainings of one network of a run.

    Attributes:
        run: the run's folder.
        experiment: its settings.
        trained: where each training lies.
        members: the networks, in the same order.
        machine: how they are computed.
        flips: whether the answers to the image and its mirror images are averaged.
        thresholds: above which each label is given (multi-label tasks), chosen on validation; else empty.
        temperature: of the mean probabilities, fitted on validation; None where those cases cannot tell.
    """

    run: Path
    experiment: Experiment
    trained: tuple[Trained, ...]
    members: tuple[StoredNetwork, ...]
    machine: Machine
    flips: bool
    thresholds: tuple[float, ...]
    temperature: float | None

    @property
    def task(self) -> ImagingTask:
        """What is asked of every member."""
        return self.members[0].task

    def probabilities(self, images: Arrays) -> Float[np.ndarray, "case class"]:
        """The mean over members, and over mirror images, of the probabilities of classes or labels; not calibrated."""
        views = [mirrored(images, axes) for axes in self.axes]
        found = [
            predict(member.network, view, member.normalise, self.task.kind, self.machine)
            for member in self.members
            for view in views
        ]
        mean: Float[np.ndarray, "case class"] = torch.stack(found).mean(0).numpy()
        return mean

    def mask(self, image: Shaped[Tensor, "channel *space"]) -> Float[Tensor, "class *space"]:
        """The mean over members, and over mirror images, of the probabilities of each pixel's classes."""
        total: Tensor | None = None
        for member in self.members:
            for axes in self.axes:
                view = mirrored(Arrays.of([image]), axes)
                (found,) = predict_masks(
                    member.network, view, member.normalise, self.machine, patch_size=member.task.image_size
                )
                found = found.flip(axes) if axes else found
                total = found if total is None else total.add_(found)
        if total is None:
            raise ValueError("An ensemble has at least one member.")
        return total / (len(self.members) * len(self.axes))

    @property
    def axes(self) -> list[tuple[int, ...]]:
        """The mirror images that are asked about, by the axes of [channel, *space] that are turned over."""
        dims = range(1, self.task.spatial_dims + 1)
        every = [axes for count in range(len(dims) + 1) for axes in combinations(dims, count)]
        return every if self.flips else [()]


def mirrored(images: Arrays, axes: tuple[int, ...]) -> Arrays:
    """Images turned over along some axes of [channel, *space]."""
    return Arrays.of([image.flip(axes) for image in images]) if axes else images


def load_ensemble(
    run: Path,
    network: str | None = None,
    members: Sequence[str] = (),
    dataset: str | None = None,
    *,
    flips: bool = False,
    device: str | None = None,
) -> Ensemble:
    """The trainings of one network of an evaluated run.

    Args:
        run: the run's folder.
        network: its name; None takes the chosen one.
        members: names of their folders, as in fold0.seed0; none takes every fold and seed.
        dataset: in a run of several data sets the one whose networks are meant.
        flips: average over mirror images.
        device: where to compute; None takes that of the run, if it is here.

    Raises:
        RunError: the run is not evaluated, or lacks what is asked for.
        SettingsError: the run has several data sets and none is named, or the device does not exist.
    """
    directory = RunDirectory(run)
    experiment = experiment_from_document(directory.read_experiment(), searches=False)
    trained = chosen_trainings(directory, network, members, dataset)
    loaded = [load_network(NetworkFolder(one.path), experiment.method.space) for one in trained]
    task = loaded[0].task
    if task.kind != "segmentation" and len({one.task.image_size for one in loaded}) > 1:
        raise SettingsError(
            f"Trainings that answer together see images of one size; those of {trained[0].network} were tuned to "
            "several. Name some with --members, as in --members " + trained[0].path.name
        )
    recorded = experiment.machine
    machine = Machine(
        recorded.threads or 1,
        here(recorded.device) if device is None else choose_device(device),
        memory_format=recorded.memory_format or "contiguous",
    )
    found = Ensemble(run, experiment, tuple(trained), tuple(loaded), machine, flips, (), None)
    if task.kind == "segmentation":
        return found
    target, probabilities = validation_answers(trained, task)
    settings = experiment.evaluation
    thresholds: tuple[float, ...] = ()
    if task.kind == "multi-label":
        thresholds = label_thresholds(target, probabilities, settings.label_thresholds, settings.least_positives)
    return replace(found, thresholds=thresholds, temperature=fit_temperature(task.kind, target, probabilities))


def chosen_trainings(
    directory: RunDirectory, network: str | None, members: Sequence[str], dataset: str | None
) -> list[Trained]:
    """The trainings of a network that are asked for, by data set, fold and seed; see `load_ensemble` for the errors."""
    found = trainings_of(directory, network)
    datasets = [one for one in dict.fromkeys(one.dataset for one in found) if one is not None]
    if datasets and dataset is None:
        raise SettingsError(
            f"The run trained a network for each of {', '.join(datasets)}. Name whose is meant with --dataset NAME."
        )
    if dataset is not None and dataset not in datasets:
        known = ", ".join(datasets) or "one data set, which needs no name"
        raise RunError(f"A network is for a data set of its run; {directory.path} has {known}, not {dataset!r}.")
    found = [one for one in found if one.dataset == dataset]
    names = [one.path.name for one in found]
    if unknown := [one for one in members if one not in names]:
        raise RunError(
            f"The trainings of {found[0].network} are {', '.join(names)}; got {unknown[0]!r}. Name some of them."
        )
    return [one for one in found if not members or one.path.name in members]


def here(device: str) -> str:
    """The recorded device if this machine has it, else the processor."""
    try:
        return choose_device(device)
    except SettingsError:
        return choose_device("cpu")


def validation_answers(
    trained: Sequence[Trained], task: ImagingTask
) -> tuple[Shaped[np.ndarray, "case *label"], Float[np.ndarray, "case class"]]:
    """What is true of the validation cases, and the mean of the answers of those trainings that hold a case out."""
    targets: dict[str, np.ndarray] = {}
    given: dict[str, list[np.ndarray]] = {}
    for one in trained:
        answers = read_predictions(NetworkFolder(one.path).predictions, task).get("validation")
        if not isinstance(answers, SplitPredictions):
            continue
        for case, target, probabilities in zip(answers.cases, answers.target, answers.probabilities, strict=True):
            targets[case] = target
            given.setdefault(case, []).append(probabilities)
    if not targets:
        return np.zeros((0, task.num_outputs)), np.zeros((0, task.num_outputs), np.float32)
    return np.stack([*targets.values()]), np.stack([np.mean(values, axis=0) for values in given.values()])


def called(ensemble: Ensemble, probabilities: Float[np.ndarray, "case class"]) -> list[tuple[str, ...]]:
    """The class of each case, or its labels, by probabilities that are not calibrated."""
    names = ensemble.task.class_names
    if ensemble.task.kind != "multi-label":
        return [(names[int(row.argmax())],) for row in probabilities]
    limits = ensemble.thresholds or (HALF,) * len(names)
    return [
        tuple(name for name, value, limit in zip(names, row, limits, strict=True) if value > limit)
        for row in probabilities
    ]
