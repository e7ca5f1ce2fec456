"""External validation: the trained networks of a run on data they were not made for; nothing is trained or chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from archimed.data.dataset import Dataset
from archimed.data.preparation.common_grid import CommonGrid
from archimed.data.source import load_cases
from archimed.errors import DataError, RunError
from archimed.evaluation.bootstrap import RepeatPredictions, Tested
from archimed.evaluation.intervals import IntervalRow, metric_intervals
from archimed.evaluation.masks import RepeatMasks
from archimed.evaluation.unpaired import difference
from archimed.experiment.answering import answered
from archimed.experiment.drift import drift_cautions, drift_of
from archimed.experiment.group_summary import group_results
from archimed.experiment.mask_summary import mask_cautions_of, mask_results
from archimed.experiment.networks import StoredNetwork, load_network
from archimed.experiment.predictions import SplitPredictions, write_predictions
from archimed.experiment.progress import Observer
from archimed.experiment.repeats import thresholds_of
from archimed.experiment.settings import Experiment, experiment_from_document
from archimed.experiment.sources import FOREGROUND, with_one_foreground
from archimed.experiment.trainings import Trained, trained_networks
from archimed.files import read_json, write_json
from archimed.report.external import write_external
from archimed.runs import NetworkFolder, RunDirectory
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.machine_choice import choose_device

UNIT_METRICS = ("hausdorff_95", "surface_dice")  # mean something else in pixels than in millimetres


def validate_externally(run: Path, source: str, out: Path, observer: Observer) -> dict[str, Any]:
    """Measure every trained network of a run on all cases of other data, and write the results to a new folder.

    Raises:
        RunError: the run has no trained networks, or the folder holds other files.
        DataError: the data have other classes or channels than the networks.
    """
    directory = RunDirectory(run)
    experiment = experiment_from_document(directory.read_experiment(), searches=False)
    found = trained_networks(run)
    if not found:
        raise RunError(f"External validation needs trained networks; {run} has none. Go on with: archimed resume {run}")
    if out.exists() and any(out.iterdir()):
        raise RunError(f"An output folder is new or empty; {out} holds files. Choose another --out.")
    if grid := read_json(directory.data).get("grid"):
        experiment = replace(experiment, data=CommonGrid.from_json(grid).asked_by(experiment.data))
    observer.stage(f"read data: {source}")
    by_size: dict[tuple[int, ...], Dataset] = {}
    repeats: dict[str, list[Tested]] = {}
    for number, trained in enumerate(found, start=1):
        stored = load_network(NetworkFolder(trained.path), experiment.method.space)
        if stored.task.image_size not in by_size:
            by_size[stored.task.image_size] = other_data(source, experiment, stored.task)
            observer.stage("predict")
        dataset = by_size[stored.task.image_size]
        check_same_task(stored.task, dataset.task)
        repeats.setdefault(trained.name, []).append(predicted(experiment, stored, dataset, trained, out))
        observer.progress(number, len(found), "networks")
    return summarise(run, experiment, next(iter(by_size.values())), found, repeats, out)


def other_data(source: str, experiment: Experiment, trained: ImagingTask) -> Dataset:
    """The cases of other data, prepared as the run prepared its own."""
    settings = experiment.data
    size: tuple[int, ...] | None = trained.image_size
    if trained.kind == "segmentation":
        # The task of such a network has the size of its patches; images keep their own unless the run says otherwise.
        side = experiment.method.training.image_size
        size = None if side is None else (side,) * trained.spatial_dims
        if trained.class_names == FOREGROUND:
            settings = replace(settings, mask_values="foreground")
    dataset = load_cases(source, settings, experiment.seed, size)
    if trained.class_names == FOREGROUND:
        dataset = with_one_foreground(dataset)
    return with_classes(replace(dataset, task=replace(dataset.task, normal_label=trained.normal_label)), trained)


def predicted(
    experiment: Experiment, stored: StoredNetwork, dataset: Dataset, trained: Trained, out: Path
) -> RepeatPredictions | RepeatMasks:
    """The answers of one network to all cases, written beside its metrics."""
    chosen = experiment.machine
    machine = Machine(chosen.threads or 1, choose_device(chosen.device))
    cases = tuple(case.id for case in dataset.cases)
    answers = answered(stored, dataset, cases, "external", machine, experiment.evaluation)
    if isinstance(answers, SplitPredictions) and (known := thresholds_of(NetworkFolder(trained.path), stored.task)):
        answers = replace(answers, threshold=known)
    folder = out / trained.network / trained.path.name
    write_predictions(folder / "predictions.csv", stored.task, [answers])
    write_json(folder / "metrics.json", {"external": answers.metrics(stored.task)})
    # Every network meets all cases, whatever fold it was trained in: its repeats are like seeds of one fold.
    seed = trained.fold * 1_000_000 + trained.seed
    return answers.tested(0, seed, {case.id: case.patient for case in dataset.cases})


def with_classes(dataset: Dataset, trained: ImagingTask) -> Dataset:
    """The data with the classes of the network, if each of theirs is one of them; else as they are."""
    names, kinds = dataset.task.class_names, {dataset.task.kind, trained.kind}
    masks = kinds == {"segmentation"}
    if "multi-label" in kinds or ("segmentation" in kinds and not masks) or not {*names} <= {*trained.class_names}:
        return dataset
    numbers = torch.tensor([trained.class_names.index(name) for name in names])
    task = replace(dataset.task, kind=trained.kind, class_names=trained.class_names)
    if dataset.masks is None:
        return replace(dataset, task=task, target=numbers[dataset.target])
    target = dataset.target.new_zeros(len(dataset.target), trained.num_outputs)
    target[:, numbers] = dataset.target
    codes = bytes([*numbers.tolist(), *[0] * (256 - len(names))])
    return replace(dataset, task=task, target=target, masks=dataset.masks.recoded(codes))


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
    run: Path,
    experiment: Experiment,
    dataset: Dataset,
    found: Sequence[Trained],
    repeats: Mapping[str, list[Tested]],
    out: Path,
) -> dict[str, Any]:
    """The summary of an external validation, beside what the run's own test part gave."""
    settings, task = experiment.evaluation, dataset.task
    own = RunDirectory(run).summary
    inside = read_json(own)["networks"] if own.exists() else {}
    networks = {}
    for name, members in repeats.items():
        first = next(trained for trained in found if trained.name == name)
        size = read_json(NetworkFolder(first.path).architecture)
        intervals = metric_intervals(
            task, members, experiment.seed, settings.resamples, confidence=settings.confidence, network=name
        )
        masks = [repeat for repeat in members if isinstance(repeat, RepeatMasks)]
        of_masks = mask_results(dataset, {"test": masks}, experiment, name) if masks else {}
        within = of_data_set(inside.get(first.network, {}), first.dataset)
        networks[name] = {
            "parameters": size["parameters"],
            "macs": size["macs"],
            "test": intervals,
            **of_masks,
            "test_of_the_run": within.get("test", {}),
            "difference": differences(intervals, within, of_masks.get("distance_unit")),
        }
    chosen = next(
        (name for name in networks if name.partition(" (")[0] == experiment.method.name), next(iter(networks))
    )
    fingerprint = read_json(RunDirectory(run).data)
    drift = drift_of(dataset, fingerprint) if "channels" in fingerprint else None
    told = mask_cautions_of(networks[chosen], chosen, settings) if dataset.masks else []
    summary = {
        "method": experiment.method.name,
        "data": dataset.name,
        "task": asdict(dataset.task),
        "trained_on": list(experiment.sources),
        "trained_data": [fingerprint["name"]] if "name" in fingerprint else [*fingerprint["datasets"]],
        "cases": len(dataset.cases),
        "patients": len({case.patient for case in dataset.cases}) if dataset.patients_known else None,
        "chosen": chosen,
        "networks": networks,
        "groups": group_results(dataset, repeats, experiment.seed, settings),
        "drift": drift,
        "cautions": [
            f"All {len(dataset.cases)} cases of {dataset.name} were predicted; nothing was trained or chosen on them.",
            *(drift_cautions(drift) if drift else []),
            *told,
            *dataset.notes,
        ],
    }
    write_json(out / "summary.json", summary)
    write_external(out)
    return summary


def differences(
    test: Mapping[str, Mapping[str, Any]], within: Mapping[str, Any], unit: str | None
) -> dict[str, IntervalRow]:
    """Each metric on the other data minus that on the run's test part; none of distances in another unit."""
    known = {metric: cell for metric, cell in within.get("test", {}).items() if isinstance(cell, Mapping)}
    other_unit = unit != within.get("distance_unit")
    return {
        metric: difference(cell, known[metric])
        for metric, cell in test.items()
        if metric in known and not (other_unit and metric in UNIT_METRICS)
    }


def of_data_set(network: Mapping[str, Any], dataset: str | None) -> Mapping[str, Any]:
    """The results of a network of the run on the data set it was trained on; empty if nobody knows."""
    inside: Mapping[str, Any] = network if dataset is None else network.get("datasets", {}).get(dataset, {})
    return inside
