"""What the networks of a run are trained on: the task at the size of their images or patches, and a batch to try."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from archimed.batch import Batch
from archimed.data.dataset import Dataset
from archimed.data.normalisation import Normalisation
from archimed.evaluation.metrics import metrics
from archimed.evaluation.overlap import dice, jaccard, overlap_counts
from archimed.evaluation.settings import EvaluationSettings
from archimed.evaluation.thresholds import label_thresholds
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.patches import patch_size
from archimed.training.recipe import Recipe
from archimed.training.steps import NormalisedImages

OVERLAPS = {"dice": dice, "jaccard": jaccard}  # of masks after each epoch; distances take longer than the epoch


def training_task(dataset: Dataset, recipe: Recipe, fold: int = 0) -> ImagingTask:
    """The task as the networks of a fold meet it: the image size of a segmentation is that of its patches."""
    if dataset.masks is None:
        return dataset.task
    training = dataset.subset(dataset.folds[fold].train)
    return replace(dataset.task, image_size=patch_size(training.images.shapes, recipe))


def trial_batch(dataset: Dataset, normalise: Normalisation, recipe: Recipe, machine: Machine, size: int) -> Batch:
    """The first training images of the first fold as a step of training gets them, on the machine's device."""
    subset = dataset.subset(dataset.folds[0].train[:size])
    patch = training_task(dataset, recipe).image_size
    images = NormalisedImages(subset, normalise, machine, patch, recipe.foreground_share)
    return Batch(*images.batch(torch.arange(len(subset))))


def validation_metrics(
    task: ImagingTask, settings: EvaluationSettings | None = None
) -> Callable[[Any, Any], Mapping[str, float | None]]:
    """What training measures after each epoch (see `archimed.training.loop.train`).

    Labels have the thresholds that the network would be used at, were this epoch kept: chosen on the same cases.
    """
    if task.kind == "segmentation":
        return lambda masks, probabilities: overlaps(task, masks, probabilities)
    if task.kind == "multi-label":
        asked = settings or EvaluationSettings()
        rule, least = asked.label_thresholds, asked.least_positives
        return lambda target, probabilities: metrics(
            task, target, probabilities, label_thresholds(target, probabilities, rule, least)
        )
    return lambda target, probabilities: metrics(task, target, probabilities)


def validation_metric_names(dataset: Dataset) -> list[str]:
    """The metrics that training measures after each epoch."""
    if dataset.masks is not None:
        return list(OVERLAPS)
    validation = dataset.subset(dataset.folds[0].validation).target.numpy()
    guess = np.full((len(validation), dataset.task.num_outputs), 1 / dataset.task.num_outputs)
    return list(metrics(dataset.task, validation, guess))


def overlaps(task: ImagingTask, masks: Any, probabilities: Any) -> dict[str, float | None]:
    """Dice and Jaccard of cases: the mean over the cases of a class, then over classes (`archimed.evaluation.masks`).

    Args:
        task: whose classes are meant.
        masks: the truth [*space] of each case.
        probabilities: [class, *space] of each case.
    """
    counts = torch.stack(
        [
            overlap_counts(answer.argmax(0), truth, task.num_outputs)
            for truth, answer in zip(masks, probabilities, strict=True)
        ]
    )
    means = {name: float(score(counts)[:, 1:].nanmean(0).nanmean()) for name, score in OVERLAPS.items()}
    return {name: None if math.isnan(mean) else mean for name, mean in means.items()}
