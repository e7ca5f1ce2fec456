"""What a trained network answers to cases: probabilities of classes and labels, or scores of its masks."""

from collections.abc import Sequence

import torch

from archimed.data.dataset import Dataset, Subset
from archimed.evaluation.masks import case_scores
from archimed.evaluation.settings import EvaluationSettings
from archimed.experiment.mask_predictions import SplitMasks
from archimed.experiment.networks import StoredNetwork
from archimed.experiment.predictions import Split, SplitPredictions
from archimed.training.machine import Machine
from archimed.training.mask_prediction import predict_masks
from archimed.training.prediction import predict

Spacing = tuple[float, ...]


def answered(
    stored: StoredNetwork,
    dataset: Dataset,
    ids: Sequence[str],
    split: str,
    machine: Machine,
    settings: EvaluationSettings,
) -> Split:
    """The answers to these cases of a data set.

    Args:
        stored: the network.
        dataset: what the cases are of.
        ids: which cases.
        split: what they are called in the files.
        machine: how to compute.
        settings: the tolerance of surface Dice is read.
    """
    part = dataset.subset(ids)
    if part.masks is not None:
        return scored_masks(stored, part, spacing_of(dataset, ids), split, machine, settings)
    probabilities = predict(stored.network, part.images, stored.normalise, stored.task.kind, machine)
    return SplitPredictions(split, part.ids, part.target.numpy(), probabilities.numpy())


def scored_masks(
    stored: StoredNetwork,
    part: Subset,
    spacing: Sequence[Spacing | None],
    split: str,
    machine: Machine,
    settings: EvaluationSettings,
) -> SplitMasks:
    """Scores of the masks that a network gives, one case in memory at a time: each pixel is of its likeliest class.

    Images larger than what the network was trained on are segmented by windows of that size.
    """
    patch = stored.task.image_size
    found = predict_masks(stored.network, part.images, stored.normalise, machine, patch_size=patch)
    scores = [
        tuple(
            case_scores(
                stored.task,
                probabilities.argmax(0).to(torch.uint8),
                truth,
                sides,
                tolerance_mm=settings.surface_tolerance_mm,
            )
        )
        for probabilities, truth, sides in zip(found, part.masks or (), spacing, strict=True)
    ]
    return SplitMasks(split, part.ids, tuple(scores))


def spacing_of(dataset: Dataset, ids: Sequence[str]) -> list[Spacing | None]:
    """Millimetres between the pixels of these cases; None throughout unless that is known of the whole data set.

    Distances are averaged over cases, so all of them are in millimetres, or all in pixels.
    """
    if distance_unit(dataset) == "pixels":
        return [None] * len(ids)
    return [dataset.spacing[row] for row in dataset.rows(ids)]


def distance_unit(dataset: Dataset) -> str:
    """What distances in masks of a data set are measured in: `mm` or `pixels`."""
    return "mm" if dataset.spacing and None not in dataset.spacing else "pixels"
