"""The parts of summary.json that only a task of classes or labels has: lesion sizes, calibration, operating point."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from archimed.data.dataset import Dataset
from archimed.evaluation.calibration import calibration
from archimed.evaluation.lesion_size import by_lesion_size
from archimed.evaluation.operating_point import operating_point
from archimed.experiment.repeats import class_repeats
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench


def class_results(bench: Workbench, by_network: Mapping[str, list[Job]]) -> dict[str, Any]:
    """These parts by their names, of networks trained on one data set."""
    task, bins = data_of(bench, by_network).task, bench.experiment.evaluation.calibration_bins
    return {
        "lesion_size": lesion_sizes(bench, by_network),
        "calibration": {
            name: calibration(task, class_repeats(bench, members, "test"), bins) for name, members in by_network.items()
        },
        "operating_point": operating_point_of(bench, by_network[bench.experiment.method.name]),
    }


def data_of(bench: Workbench, by_network: Mapping[str, list[Job]]) -> Dataset:
    """The one data set that these networks were trained on."""
    return bench.data_of(next(iter(by_network.values()))[0].repeat)


def no_class_results() -> dict[str, Any]:
    """The same parts of a segmentation, which has none of them."""
    return {"lesion_size": None, "calibration": {}, "operating_point": None}


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
