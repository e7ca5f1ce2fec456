"""The evaluation stage: predictions and metrics of every trained network. The test part is read here and only here."""

import csv
from contextlib import suppress
from dataclasses import replace
from typing import Any

from archimed.data.dataset import SPLIT_NAMES, Dataset, SplitName
from archimed.errors import RunError
from archimed.evaluation.medmnist import medmnist_metrics, write_medmnist_result
from archimed.evaluation.thresholds import label_thresholds
from archimed.experiment.answering import answered, distance_unit
from archimed.experiment.networks import StoredNetwork, load_network
from archimed.experiment.pictures import picture_cases
from archimed.experiment.predictions import Split, SplitPredictions, write_predictions
from archimed.experiment.train_stage import Job, check_own_network, jobs
from archimed.experiment.tuned import dataset_of
from archimed.experiment.workbench import Workbench
from archimed.files import read_json, write_json
from archimed.task import ImagingTask
from archimed.training.checkpoint import weights_name

SPLITS: tuple[SplitName, ...] = ("validation", "test")


def evaluate(bench: Workbench) -> None:
    """Predict and measure every trained network; what was there before is overwritten, with the same figures.

    Raises:
        RunError: the method's own network is not trained, or a network comes from a run with other splits.
    """
    every = [job for job in jobs(bench) if job.folder.training.exists() and job.folder.weights.exists()]
    check_own_network(bench, every, "Evaluation needs the trained networks")
    for job in every:
        check_division(bench, job)
    bench.observer.stage("evaluate")
    for number, job in enumerate(every, start=1):
        evaluate_one(bench, job)
        bench.observer.progress(number, len(every), "networks")
    picture_cases(bench, every)


def check_division(bench: Workbench, job: Job) -> None:
    """Raise RunError where a network was measured before on cases that have another part in this run's fold.

    So folders of another run, whose training may have seen what is the test part here, are told apart.
    """
    if not job.folder.predictions.exists():
        return
    fold = bench.data_of(job.repeat).folds[job.repeat.fold]
    place = {case: split for split in SPLIT_NAMES for case in fold.split(split)}
    told: list[tuple[str | None, str | None]] = []
    with suppress(csv.Error), job.folder.predictions.open(newline="", encoding="utf-8", errors="replace") as file:
        told += [(line.get("case"), line.get("split")) for line in csv.DictReader(file)]  # a damaged one is made anew
    for case, split in told:
        if case in place and split in SPLITS and place[case] != split:
            raise RunError(
                f"The networks of a run share its splits; {job.folder.path} was made with others: {case} was a "
                f"{split} case there and is a {place[case]} case here. Evaluate each run by itself, and join them "
                "with: archimed compare RUN RUN --out DIR"
            )


def evaluate_one(bench: Workbench, job: Job) -> None:
    """Predictions, metrics and, for MedMNIST data, its official result files, of one network."""
    stored = load_network(job.folder, job.selection.space)
    dataset, training = dataset_of(bench, job.selection.network, job.repeat), read_json(job.folder.training)
    splits = answers_of(bench, job, stored, dataset)
    write_predictions(job.folder.predictions, stored.task, splits)
    write_json(
        job.folder.metrics,
        {"best_epoch": training["best_epoch"], "seconds": training["seconds"]}
        | measured(stored.task, splits)
        | checkpoints_of(bench, job, dataset, training)
        | ({"distance_unit": distance_unit(dataset)} if dataset.masks is not None else {})
        | ({"medmnist": official(job, dataset, splits)} if dataset.medmnist_flag else {}),
    )


def answers_of(bench: Workbench, job: Job, stored: StoredNetwork, dataset: Dataset) -> list[Split]:
    """The answers to validation and test cases; of several labels at the thresholds that the validation cases chose."""
    fold, settings = dataset.folds[job.repeat.fold], bench.experiment.evaluation
    splits = [answered(stored, dataset, fold.split(split), split, bench.machine, settings) for split in SPLITS]
    validation = splits[0]
    if stored.task.kind != "multi-label" or not isinstance(validation, SplitPredictions):
        return splits
    rule, least = settings.label_thresholds, settings.least_positives
    chosen = label_thresholds(validation.target, validation.probabilities, rule, least)
    return [replace(split, threshold=chosen) for split in splits if isinstance(split, SplitPredictions)]


def measured(task: ImagingTask, splits: list[Split]) -> dict[str, Any]:
    """The metrics of each split, and of several labels their thresholds."""
    thresholds = getattr(splits[0], "threshold", None)
    told = {} if not isinstance(thresholds, tuple) else dict(zip(task.class_names, thresholds, strict=True))
    return ({"thresholds": told} if told else {}) | {split.split: split.metrics(task) for split in splits}


def checkpoints_of(bench: Workbench, job: Job, dataset: Dataset, training: dict[str, Any]) -> dict[str, Any]:
    """Where weights were kept by several metrics: the same by each of them, its predictions in a file of their own."""
    kept: dict[str, int] = training.get("checkpoints", {})
    if len(kept) < 2:
        return {}
    found = {}
    for metric, epoch in kept.items():
        weights = job.folder.path / weights_name(epoch, training["best_epoch"])
        stored = load_network(job.folder, job.selection.space, weights)
        splits = answers_of(bench, job, stored, dataset)
        if metric != next(iter(kept)):
            write_predictions(job.folder.predictions_by(metric), stored.task, splits)
        found[metric] = {"best_epoch": epoch} | measured(stored.task, splits)
    return {"checkpoints": found}


def official(job: Job, dataset: Dataset, splits: list[Split]) -> dict[str, dict[str, float | None]]:
    """AUC and ACC as MedMNIST's own evaluator defines them, with its result files beside the predictions."""
    folder = job.folder.path / "medmnist"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    run = f"{job.selection.network}-fold{job.repeat.fold}-seed{job.repeat.seed}"
    result = {}
    for split in splits:
        if not isinstance(split, SplitPredictions):
            continue
        figures = medmnist_metrics(dataset.task, split.target, split.probabilities)
        flag = dataset.medmnist_flag or ""
        write_medmnist_result(folder, flag, split.split, run, probabilities=split.probabilities, figures=figures)
        result[split.split] = figures
    return result
