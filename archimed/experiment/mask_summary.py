"""The parts of summary.json that only a segmentation has: results by class, and what the rule for empty masks did."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from archimed.evaluation.intervals import IntervalRow, metric_intervals
from archimed.evaluation.mask_cautions import mask_cautions
from archimed.evaluation.masks import LeftOut, RepeatMasks, left_out
from archimed.experiment.answering import distance_unit
from archimed.experiment.repeats import mask_repeats
from archimed.experiment.settings import Experiment
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench
from archimed.task import ImagingTask

ClassIntervals = dict[str, dict[str, IntervalRow]]


def mask_results(bench: Workbench, members: list[Job]) -> dict[str, Any]:
    """Of one network: `classes` by split, `left_out` by class over all its test answers, and `distance_unit`."""
    dataset, name = bench.data_of(members[0].repeat), members[0].selection.network
    repeats = {split: mask_repeats(bench, members, split) for split in ("validation", "test")}
    return {
        "classes": {
            split: class_intervals(dataset.task, of_split, bench.experiment, name)
            for split, of_split in repeats.items()
        },
        "left_out": left_out_of(dataset.task, repeats["test"]),
        "distance_unit": distance_unit(dataset),
    }


def class_intervals(
    task: ImagingTask, repeats: list[RepeatMasks], experiment: Experiment, network: str
) -> ClassIntervals:
    """Every metric of every class but the background, with its interval."""
    settings = experiment.evaluation
    return {
        name: metric_intervals(
            task,
            [repeat.of_class(name) for repeat in repeats],
            experiment.seed,
            settings.resamples,
            confidence=settings.confidence,
            network=network,
        )
        for name in task.class_names[1:]
    }


def left_out_of(task: ImagingTask, repeats: list[RepeatMasks]) -> dict[str, dict[str, int]]:
    """What the rule for empty masks left out of the figures of each class, over all answers of the repeats."""
    found = left_out(task, [scores for repeat in repeats for scores in repeat.scores])
    return {name: asdict(counts) for name, counts in found.items()}


def mask_cautions_of(bench: Workbench, networks: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the figures of the method's own network."""
    chosen = bench.experiment.method.name
    counts = {name: LeftOut(**found) for name, found in networks[chosen].get("left_out", {}).items()}
    unit = networks[chosen].get("distance_unit", "pixels")
    return mask_cautions(chosen, counts, unit, bench.experiment.evaluation.surface_tolerance_mm)
