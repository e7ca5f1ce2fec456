"""The loss of a training step by the form of its target, and its class weights, counted on the training fold."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from archimed.batch import of_pixels, target_loss
from archimed.data.arrays import Arrays
from archimed.training.mask_loss import mask_loss
from archimed.training.recipe import Recipe


def training_loss(
    logits: Float[Tensor, "batch output *space"],
    target: Num[Tensor, "batch *rest"],
    weights: Float[Tensor, " output"] | None = None,
) -> Float[Tensor, ""]:
    """What training lowers: `mask_loss` where the target tells of pixels, else `target_loss`."""
    return (mask_loss if of_pixels(target) else target_loss)(logits, target, weights)


def loss_shares(
    parts: Sequence[Num[Tensor, "batch *rest"]], weights: Float[Tensor, " output"] | None
) -> Float[Tensor, " part"]:
    """What the loss of each part of a batch counts in that of the whole: its share of all that is averaged."""
    counts = torch.stack([loss_count(part, weights) for part in parts])
    return counts / counts.sum().clamp(min=1e-30)


def loss_count(target: Num[Tensor, "batch *rest"], weights: Float[Tensor, " output"] | None) -> Float[Tensor, ""]:
    """Over how much the loss of a target is averaged.

    That is known labels, or images, by class weight if there is one. Of masks it is images, so that class weights,
    which weigh pixels, are averaged by part.
    """
    if target.is_floating_point() and not of_pixels(target):
        return (~torch.isnan(target)).sum().float()
    if weights is not None and not of_pixels(target):
        return weights[target].sum()
    return target.new_full((), len(target), dtype=torch.float32)


def class_weights(
    target: Num[Tensor, "case *rest"] | Arrays, num_outputs: int, recipe: Recipe
) -> Float[Tensor, " output"] | None:
    """Weights for `training_loss`, as the recipe asks; None if all weigh the same.

    Args:
        target: of the training fold: class indices (of images or pixels), labels 0, 1 and NaN where unknown, or masks.
        num_outputs: classes or labels of the task.
        recipe: `class_weights` and `positive_weight_limit` are read.
    """
    several_labels = not isinstance(target, Arrays) and target.is_floating_point()
    if recipe.class_weights == "none" or (recipe.class_weights == "auto" and not several_labels):
        return None
    if isinstance(target, Tensor) and several_labels:
        return positive_weights(target, recipe.positive_weight_limit)
    return inverse_frequency(target, num_outputs)


def inverse_frequency(target: Num[Tensor, "case *rest"] | Arrays, num_outputs: int) -> Float[Tensor, " output"]:
    """N / (K * n_c) for class c with n_c of N targets, K classes being present; 1 for an absent class."""
    parts = target if isinstance(target, Arrays) else [target]
    counts = torch.stack([_counts(part, num_outputs) for part in parts]).sum(0).double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weights, 1.0).float()


def _counts(target: Num[Tensor, "*shape"], num_outputs: int) -> Int[Tensor, " output"]:
    return torch.bincount(target.flatten(), minlength=num_outputs)


def positive_weights(target: Float[Tensor, "case label"], limit: float) -> Float[Tensor, " label"]:
    """Negatives / positives among the known values of each label, held within [1/limit, limit]."""
    positives = (target == 1).sum(0).double()
    negatives = (target == 0).sum(0).double()
    weights = torch.where(positives > 0, negatives / positives.clamp(min=1), 1.0)
    return weights.clamp(1 / limit, limit).float()
