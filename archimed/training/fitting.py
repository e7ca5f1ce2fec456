"""Networks that are fitted in one go (`archimed.networks.fitted.Fitted`) as trainings of a single epoch."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from archimed.batch import target_loss
from archimed.networks.fitted import Fitted
from archimed.training.recipe import Recipe
from archimed.training.steps import NormalisedImages


def single_epoch(recipe: Recipe) -> Recipe:
    """The recipe for a network that is fitted: one epoch, from nothing; validation has no epoch to choose."""
    return replace(recipe, epochs=1, initial_weights=None)


def fitting_pass(
    network: Fitted, *, images: NormalisedImages, batch_size: int, weights: Tensor | None, seed: int
) -> float:
    """Fit the network to all cases, in their order; returns the mean loss of the cases by the fitted network.

    Args:
        network: fitted in place.
        images: normalised images and targets.
        batch_size: images normalised at a time.
        weights: of the loss that is returned; how the classes weigh in the fit is the network's own affair.
        seed: of the fit.
    """
    logits = network.fit(in_order(images, batch_size), images.target, seed)
    return float(target_loss(logits.float().cpu(), images.target, None if weights is None else weights.cpu()))


def in_order(images: NormalisedImages, batch_size: int) -> Iterator[Tensor]:
    """The normalised images, batch by batch."""
    for cases in torch.arange(len(images)).split(batch_size):
        yield images.batch(cases)[0]
