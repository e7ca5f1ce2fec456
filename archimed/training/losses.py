"""Class weights of the loss, counted on the training fold; the loss itself is `archimed.batch.target_loss`."""

import torch
from jaxtyping import Float, Num
from torch import Tensor

from archimed.training.recipe import Recipe


def class_weights(
    target: Num[Tensor, "case *rest"], num_outputs: int, recipe: Recipe
) -> Float[Tensor, " output"] | None:
    """Weights for `target_loss`, as the recipe asks; None if all weigh the same.

    Args:
        target: of the training fold: class indices (of images or pixels), or labels 0, 1 and NaN where unknown.
        num_outputs: classes or labels of the task.
        recipe: `class_weights` and `positive_weight_limit` are read.
    """
    if recipe.class_weights == "none":
        return None
    if target.is_floating_point():
        return positive_weights(target, recipe.positive_weight_limit)
    return inverse_frequency(target, num_outputs)


def inverse_frequency(target: Num[Tensor, "case *rest"], num_outputs: int) -> Float[Tensor, " output"]:
    """N / (K * n_c) for class c with n_c of N targets, K classes being present; 1 for an absent class."""
    counts = torch.bincount(target.flatten(), minlength=num_outputs).double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, weights, 1.0).float()


def positive_weights(target: Float[Tensor, "case label"], limit: float) -> Float[Tensor, " label"]:
    """Negatives / positives among the known values of each label, held within [1/limit, limit]."""
    positives = (target == 1).sum(0).double()
    negatives = (target == 0).sum(0).double()
    weights = torch.where(positives > 0, negatives / positives.clamp(min=1), 1.0)
    return weights.clamp(1 / limit, limit).float()
