"""The written answers of one network's folds and seeds, as the evaluation takes them."""

from archimed.evaluation.bootstrap import RepeatPredictions
from archimed.evaluation.masks import RepeatMasks
from archimed.experiment.predictions import read_predictions
from archimed.experiment.train_stage import Job
from archimed.experiment.workbench import Workbench


def repeats_of(bench: Workbench, members: list[Job], split: str) -> list[RepeatPredictions | RepeatMasks]:
    """The answers of one network in every fold and seed, with the patients that belong together."""
    found: list[RepeatPredictions | RepeatMasks] = []
    for job in members:
        dataset = bench.data_of(job.repeat)
        patients = {case.id: case.patient for case in dataset.cases}
        answers = read_predictions(job.folder.predictions, dataset.task)[split]
        found.append(answers.tested(job.repeat.fold, job.repeat.seed, patients))
    return found


def class_repeats(bench: Workbench, members: list[Job], split: str) -> list[RepeatPredictions]:
    """The same of a task that asks for classes or labels."""
    return [repeat for repeat in repeats_of(bench, members, split) if isinstance(repeat, RepeatPredictions)]


def mask_repeats(bench: Workbench, members: list[Job], split: str) -> list[RepeatMasks]:
    """The same of a segmentation."""
    return [repeat for repeat in repeats_of(bench, members, split) if isinstance(repeat, RepeatMasks)]
