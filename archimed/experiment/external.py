"""External validation: the trained networks of a run on data they were not made for; nothing is trained or chosen."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from archimed.data.dataset import Dataset
from archimed.data.source import load_cases
from archimed.errors import DataError, RunError
from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.evaluation.intervals import metric_intervals
from archimed.evaluation.metrics import metrics
from archimed.experiment.networks import StoredNetwork, load_network
from archimed.experiment.predictions import SplitPredictions, write_predictions
from archimed.experiment.progress import Observer
from archimed.experiment.settings import Experiment, experiment_from_document
from archimed.files import read_json, write_json
from archimed.runs import RunDirectory
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.machine_choice import choose_device
from archimed.training.prediction import predict


def validate_externally(run: Path, source: str, out: Path, observer: Observer) -> dict[str, Any]:
    """Measure every trained network of a run on all cases of other data, and write the results to a new folder.

    Raises:
        RunError: the run has no trained networks, or the folder holds other files.
        DataError: the data have other classes or channels than the networks.
    """
    directory = RunDirectory(run)
    experiment = experiment_from_document(directory.read_experiment())
    folders = sorted(path.parent for path in (run / "networks").glob("*/*/weights.safetensors"))
    if not folders:
        raise RunError(f"External validation needs trained networks; {run} has none. Go on with: archimed resume {run}")
    if out.exists() and any(out.iterdir()):
        raise RunError(f"An output folder is new or empty; {out} holds files. Choose another --out.")
    observer.stage(f"read data: {source}")
    dataset: Dataset | None = None
    repeats: dict[str, list[RepeatPredictions]] = {}
    for number, path in enumerate(folders, start=1):
        name = path.parent.name
        folder = directory.network(name, *fold_and_seed(path))
        stored = load_network(folder, experiment.method.space)
        if dataset is None:
            found = load_cases(source, experiment.data, experiment.seed, stored.task.image_size)
            dataset = with_classes(found, stored.task)
            observer.stage("predict")
        repeats.setdefault(name, []).append(predicted(experiment, stored, dataset, fold_and_seed(path), out / name))
        observer.progress(number, len(folders), "networks")
    return summarise(directory, experiment, dataset, repeats, out) if dataset else {}


def predicted(
    experiment: Experiment, stored: StoredNetwork, dataset: Dataset, place: tuple[int, int], out: Path
) -> RepeatPredictions:
    """The predictions of one network for all cases, written beside its metrics."""
    check_same_task(stored.task, dataset.task)
    chosen = experiment.machine
    machine = Machine(chosen.threads or 1, choose_device(chosen.device))
    probabilities = predict(stored.network, dataset.images, stored.normalise, stored.task.kind, machine).numpy()
    target, cases = dataset.target.numpy(), tuple(case.id for case in dataset.cases)
    folder = out / f"fold{place[0]}.seed{place[1]}"
    write_predictions(
        folder / "predictions.csv", stored.task, [SplitPredictions("external", cases, target, probabilities)]
    )
    write_json(folder / "metrics.json", {"external": metrics(stored.task, target, probabilities)})
    patients = tuple(case.patient for case in dataset.cases)
    # Every network meets all cases, whatever fold it was trained in: its repeats are like seeds of one fold.
    return RepeatPredictions(0, place[0] * 1_000_000 + place[1], cases, patients, target, probabilities)


def with_classes(dataset: Dataset, trained: ImagingTask) -> Dataset:
    """The data with the classes of the network, if each of theirs is one of them; else as they are."""
    names = dataset.task.class_names
    one_class = not {"multi-label", "segmentation"} & {dataset.task.kind, trained.kind}
    if not one_class or not {*names} <= {*trained.class_names}:
        return dataset
    numbers = torch.tensor([trained.class_names.index(name) for name in names])
    task = replace(dataset.task, kind=trained.kind, class_names=trained.class_names)
    return replace(dataset, task=task, target=numbers[dataset.target])


def check_same_task(trained: ImagingTask, met: ImagingTask) -> None:
    """Raise DataError unless the data ask what the network was trained to answer."""
    for what, mine, theirs in (
        ("kind of task", trained.kind, met.kind),
        ("classes", ", ".join(trained.class_names), ", ".join(met.class_names)),
        ("channels", trained.channels, met.channels),
    ):
        if mine != theirs:
            raise DataError(
                f"External validation needs data of the same {what}: the run has {mine}, the data {theirs}. "
                "Rename or convert them, then try again."
            )


def summarise(
    directory: RunDirectory,
    experiment: Experiment,
    dataset: Dataset,
    repeats: Mapping[str, list[RepeatPredictions]],
    out: Path,
) -> dict[str, Any]:
    """The summary of an external validation, beside what the run's own test part gave."""
    settings = experiment.evaluation
    inside = read_json(directory.summary)["networks"] if directory.summary.exists() else {}
    networks = {}
    for name, members in repeats.items():
        network = directory.network(name, 0, experiment.seed)
        size = read_json(network.architecture)
        networks[name] = {
            "parameters": size["parameters"],
            "macs": size["macs"],
            "test": metric_intervals(
                dataset.task,
                members,
                experiment.seed,
                settings.resamples,
                confidence=settings.confidence,
                network=name,
            ),
            "test_of_the_run": inside.get(name, {}).get("test", {}),
        }
    summary = {
        "method": experiment.method.name,
        "data": dataset.name,
        "task": asdict(dataset.task),
        "trained_on": list(experiment.sources),
        "networks": networks,
        "cautions": [
            f"All {len(dataset.cases)} cases of {dataset.name} were predicted; nothing was trained or chosen on them.",
            *dataset.notes,
        ],
    }
    write_json(out / "summary.json", summary)
    return summary


def fold_and_seed(path: Path) -> tuple[int, int]:
    """Fold and seed from the name of a network's folder, `fold<k>.seed<s>`."""
    fold, _, seed = path.name.removeprefix("fold").partition(".seed")
    if not (fold.isdigit() and seed.isdigit()):
        raise RunError(f"A network's folder is named fold<k>.seed<s>; got {path}.")
    return int(fold), int(seed)
