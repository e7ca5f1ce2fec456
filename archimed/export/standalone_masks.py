"""Masks by overlapping windows for predict.py; see `archimed.export.standalone`."""

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

OVERLAP = 0.5  # of neighbouring windows, as a share of their sides
SPREAD = 0.125  # standard deviation of the weights around a window's middle, as a share of its sides
LEAST_WEIGHT = 1e-3


def mask_logits(network: Callable[[Tensor], Tensor], batch: Tensor, patch: Sequence[int], fixed_size: bool) -> Tensor:
    """Logits of each pixel's classes; images larger than the patch by windows of its size.

    Args:
        network: gives logits of its input's size.
        batch: normalised images [batch, channel, *space].
        patch: pixels per axis that the network was trained on.
        fixed_size: whether the network takes nothing else; smaller images are then surrounded by their border.
    """
    space = batch.shape[2:]
    missing = [max(0, wanted - side) for wanted, side in zip(patch, space, strict=True)]
    if fixed_size and any(missing):
        margins = [pixels for side in reversed(missing) for pixels in (0, side)]
        logits = mask_logits(network, functional.pad(batch, margins, mode="replicate"), patch, True)
        return logits[(slice(None), slice(None), *(slice(0, side) for side in space))]
    window = [min(side, wanted) for side, wanted in zip(space, patch, strict=True)]
    if list(space) == window:
        return network(batch).float()
    weights = window_weights(window)
    total = counted = torch.zeros(())
    for place in product(*(starts(side, length) for side, length in zip(space, window, strict=True))):
        part = tuple(slice(start, start + length) for start, length in zip(place, window, strict=True))
        logits = network(batch[(slice(None), slice(None), *part)]).float()
        if total.ndim == 0:
            total = logits.new_zeros(*logits.shape[:2], *space)
            weights, counted = weights.to(logits), logits.new_zeros(*space)
        total[(slice(None), slice(None), *part)] += logits * weights
        counted[part] += weights
    return total / counted


def starts(side: int, length: int) -> list[int]:
    """Where windows begin along an axis; the last one ends where the image does."""
    step = max(1, int(length * (1 - OVERLAP)))
    count = -(-(side - length) // step) + 1
    return [min(number * step, side - length) for number in range(count)]


def window_weights(window: Sequence[int]) -> Tensor:
    """How much each pixel of a window counts: a Gaussian around its middle."""
    weights = torch.ones(())
    for length in window:
        place = torch.arange(length, dtype=torch.float32) - (length - 1) / 2
        weights = weights[..., None] * torch.exp(-(place**2) / (2 * (SPREAD * length) ** 2))
    return weights.clamp(min=max(float(weights.min()), LEAST_WEIGHT))
