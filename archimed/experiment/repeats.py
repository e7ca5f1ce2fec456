"""The written answers of one network's folds and seeds, as the evaluation takes them."""

from dataclasses import replace

from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.evaluation.masks import RepeatMasks
from archimed.experiment.predictions import SplitPredictions, read_predictions
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench
from archimed.files import read_json
from archimed.runs import NetworkFolder
from archimed.task import ImagingTask


def repeats_of(
    bench: Workbench, members: list[Job], split: str, checkpoint: str | None = None
) -> list[RepeatPredictions | RepeatMasks]:
    """The answers of one network in every fold and seed, with the patients that belong together.

    `checkpoint` names another metric by which weights were kept; None takes the network's own.
    """
    found: list[RepeatPredictions | RepeatMasks] = []
    for job in members:
        dataset = bench.data_of(job.repeat)
        patients = {case.id: case.patient for case in dataset.cases}
        answers = read_predictions(job.folder.predictions_by(checkpoint), dataset.task)[split]
        if isinstance(answers, SplitPredictions) and (chosen := thresholds_of(job.folder, dataset.task, checkpoint)):
            answers = replace(answers, threshold=chosen)
        found.append(answers.tested(job.repeat.fold, job.repeat.seed, patients))
    return found


def thresholds_of(folder: NetworkFolder, task: ImagingTask, checkpoint: str | None = None) -> tuple[float, ...]:
    """The thresholds that evaluation wrote for the labels of a network; none of other tasks, or if it wrote none."""
    if task.kind != "multi-label" or not folder.metrics.exists():
        return ()
    metrics = read_json(folder.metrics)
    told = (metrics if checkpoint is None else metrics["checkpoints"][checkpoint]).get("thresholds", {})
    return tuple(float(told[name]) for name in task.class_names) if told else ()


def class_repeats(bench: Workbench, members: list[Job], split: str) -> list[RepeatPredictions]:
    """The same of a task that asks for classes or labels."""
    return [repeat for repeat in repeats_of(bench, members, split) if isinstance(repeat, RepeatPredictions)]


def mask_repeats(bench: Workbench, members: list[Job], split: str) -> list[RepeatMasks]:
    """The same of a segmentation."""
    return [repeat for repeat in repeats_of(bench, members, split) if isinstance(repeat, RepeatMasks)]
