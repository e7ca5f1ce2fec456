"""The parts of summary.json that only a segmentation has: results by class, and what the rule for empty masks did."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from archimed.data.dataset import Dataset
from archimed.evaluation.intervals import IntervalRow, metric_intervals
from archimed.evaluation.mask_cautions import mask_cautions
from archimed.evaluation.masks import LeftOut, RepeatMasks, left_out
from archimed.evaluation.settings import EvaluationSettings
from archimed.experiment.answering import distance_unit
from archimed.experiment.repeats import mask_repeats
from archimed.experiment.settings import Experiment
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench
from archimed.task import ImagingTask

ClassIntervals = dict[str, dict[str, IntervalRow]]


def own_mask_results(bench: Workbench, members: list[Job]) -> dict[str, Any]:
    """`mask_results` of one network on the data set it was trained on; empty unless that has masks."""
    dataset, name = bench.data_of(members[0].repeat), members[0].selection.network
    if dataset.masks is None:
        return {}
    repeats = {split: mask_repeats(bench, members, split) for split in ("validation", "test")}
    return mask_results(dataset, repeats, bench.experiment, name)


def mask_results(
    dataset: Dataset, repeats: Mapping[str, list[RepeatMasks]], experiment: Experiment, network: str
) -> dict[str, Any]:
    """Of one network: `classes` by split, `left_out` by class over all its test answers, and `distance_unit`.

    Args:
        dataset: what the cases are of.
        repeats: the network's answers, by split, among them `test`.
        experiment: its seed and `evaluation.*` settings are read.
        network: name of the network.
    """
    return {
        "classes": {
            split: class_intervals(dataset.task, of_split, experiment, network) for split, of_split in repeats.items()
        },
        "left_out": left_out_of(dataset.task, repeats["test"]),
        "distance_unit": distance_unit(dataset),
    }


def in_one_unit(datasets: Iterable[Mapping[str, Any]], **splits: dict[str, IntervalRow]) -> dict[str, Any]:
    """Means over data sets by split, with their `distance_unit`; no mean distance where some are in mm, some in pixels.

    Args:
        datasets: the network's results on each data set.
        splits: its means over them, metric by metric.
    """
    units = {one["distance_unit"] for one in datasets if "distance_unit" in one}
    if len(units) > 1:
        undefined: IntervalRow = {"value": None, "low": None, "high": None}
        splits = {split: cells | {"hausdorff_95": undefined} for split, cells in splits.items()}
    return {**splits, **({"distance_unit": units.pop()} if len(units) == 1 else {})}


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


def mask_cautions_of(results: Mapping[str, Any], network: str, settings: EvaluationSettings) -> list[str]:
    """What a reader must know of the figures of one network's masks.

    Args:
        results: the network's part of summary.json; those that lack `mask_results` give nothing.
        network: name of the network.
        settings: the tolerance of surface Dice is read.
    """
    counts = {name: LeftOut(**found) for name, found in results.get("left_out", {}).items()}
    if not counts:
        return []
    return mask_cautions(network, counts, results["distance_unit"], settings.surface_tolerance_mm)
