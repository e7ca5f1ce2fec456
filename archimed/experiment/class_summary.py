"""The parts of summary.json that only a task of classes or labels has: lesion sizes, calibration, operating point."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from archimed.data.dataset import Dataset
from archimed.evaluation.bootstrap import RepeatPredictions, mean_of_known
from archimed.evaluation.calibration import calibration
from archimed.evaluation.labels import label_intervals
from archimed.evaluation.lesion_size import by_lesion_size
from archimed.evaluation.operating_point import operating_point
from archimed.evaluation.thresholds import HALF, RULE_WORDS, undecided_labels
from archimed.experiment.repeats import class_repeats
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench
from archimed.task import ImagingTask

WITHOUT_THRESHOLD = frozenset({"auc", "log_loss", "brier"})


def class_results(bench: Workbench, by_network: Mapping[str, list[Job]]) -> dict[str, Any]:
    """These parts by their names, of networks trained on one data set."""
    task, bins = data_of(bench, by_network).task, bench.experiment.evaluation.calibration_bins
    return {
        "lesion_size": lesion_sizes(bench, by_network),
        "calibration": {
            name: calibration(task, class_repeats(bench, members, "test"), bins) for name, members in by_network.items()
        },
        "operating_point": operating_point_of(bench, by_network[bench.experiment.method.name]),
        "labels": labels_of(bench, by_network),
    }


def data_of(bench: Workbench, by_network: Mapping[str, list[Job]]) -> Dataset:
    """The one data set that these networks were trained on."""
    return bench.data_of(next(iter(by_network.values()))[0].repeat)


def no_class_results() -> dict[str, Any]:
    """The same parts of a segmentation, which has none of them."""
    return {"lesion_size": None, "calibration": {}, "operating_point": None, "labels": None}


def lesion_sizes(bench: Workbench, by_network: Mapping[str, list[Job]]) -> dict[str, Any] | None:
    """Results by lesion size of every network (MSTF-NAS, Table VI); None where sizes are unknown."""
    settings, dataset = bench.experiment.evaluation, data_of(bench, by_network)
    areas = {case.id: case.lesion_area for case in dataset.cases}
    found = {
        name: by_lesion_size(
            dataset.task,
            class_repeats(bench, members, "test"),
            areas,
            (settings.small_lesion, settings.large_lesion),
            bench.experiment.seed,
            resamples=settings.resamples,
            confidence=settings.confidence,
        )
        for name, members in by_network.items()
    }
    known = {name: sizes for name, sizes in found.items() if sizes is not None}
    if not known:
        return None
    first = next(iter(known.values()))
    return {
        "groups": [
            {"name": one.size, "low": one.low, "high": one.high, "cases": one.lesions, "too_few": one.too_few}
            for one in first.bins
        ],
        "unknown_size": first.unknown_size,
        "networks": {name: {one.size: one.metrics for one in sizes.bins} for name, sizes in known.items()},
    }


def labels_of(bench: Workbench, by_network: Mapping[str, list[Job]]) -> dict[str, Any] | None:
    """Every network label by label, at the thresholds that validation chose; None for other than multi-label tasks.

    `half` is what the same networks reach with 0.5 for every label, means over the repeats.
    """
    task, settings = data_of(bench, by_network).task, bench.experiment.evaluation
    if task.kind != "multi-label":
        return None
    tested = {name: class_repeats(bench, members, "test") for name, members in by_network.items()}
    chosen_on = {name: class_repeats(bench, members, "validation") for name, members in by_network.items()}
    return {
        "rule": RULE_WORDS[settings.label_thresholds],
        "normal": task.normal_label,
        "networks": {
            name: label_intervals(task, repeats, bench.experiment.seed, name, settings.resamples, settings.confidence)
            for name, repeats in tested.items()
        },
        "thresholds": {
            name: [threshold_row(task, repeat, settings.least_positives) for repeat in repeats]
            for name, repeats in chosen_on.items()
        },
        "half": {name: at_half(task, repeats) for name, repeats in tested.items()},
    }


def threshold_row(task: ImagingTask, repeat: RepeatPredictions, least: int) -> dict[str, Any]:
    """The thresholds of one training, and the labels that its validation cases could not choose one for."""
    thresholds = repeat.threshold if isinstance(repeat.threshold, tuple) else (repeat.threshold,) * task.num_outputs
    undecided = undecided_labels(repeat.target, least)
    return {
        "fold": repeat.fold,
        "seed": repeat.seed,
        "thresholds": dict(zip(task.class_names, thresholds, strict=True)),
        "undecided": [name for name, open_ in zip(task.class_names, undecided, strict=True) if open_],
    }


def at_half(task: ImagingTask, repeats: list[RepeatPredictions]) -> dict[str, float | None]:
    """The metrics that depend on thresholds, with 0.5 for every label; means over the repeats."""
    found = [replace(repeat, threshold=HALF).metrics(task) for repeat in repeats]
    names = [name for name in found[0] if name not in WITHOUT_THRESHOLD]
    return {name: mean_of_known([one[name] for one in found]) for name in names}


def operating_point_of(bench: Workbench, members: list[Job]) -> dict[str, Any] | None:
    """The chosen network at a threshold that was chosen on validation; None for other than binary tasks."""
    settings = bench.experiment.evaluation
    point = operating_point(
        bench.data_of(members[0].repeat).task,
        class_repeats(bench, members, "validation"),
        class_repeats(bench, members, "test"),
        settings.required_sensitivity,
        bench.experiment.seed,
        resamples=settings.resamples,
        confidence=settings.confidence,
    )
    return None if point is None else asdict(point)
