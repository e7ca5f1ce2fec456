"""A batch of images with their targets, and the loss that the form of the target implies."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Batch:
    """Images and what is known about them.

    Attributes:
        images: [batch, channel, *space], float, normalised.
        target: class indices [batch] (int64), labels [batch, label] (float, 0 or 1, NaN where unknown) or class
            indices per pixel [batch, *space] (int64), or shares of the classes per pixel [batch, class, *space]
            (float, adding to 1) where masks were mixed.
    """

    images: Float[Tensor, "batch channel *space"]
    target: Num[Tensor, "batch *rest"]

    def __len__(self) -> int:
        return len(self.images)


def of_pixels(target: Num[Tensor, "batch *rest"]) -> bool:
    """Whether a target tells the class of each pixel, not of each image (see `Batch`)."""
    return target.ndim > 2


def target_loss(
    logits: Float[Tensor, "batch output *space"],
    target: Num[Tensor, "batch *rest"],
    class_weights: Float[Tensor, " output"] | None = None,
) -> Float[Tensor, ""]:
    """Mean loss of logits against a target, by the form of the target (see `Batch`).

    Class indices, of images or pixels, give the cross-entropy, averaged by class weight. Labels give the binary
    cross-entropy over the known ones, in which `class_weights` multiply the positive term of each label; zero if
    no label of the batch is known.
    """
    if not target.is_floating_point():
        return functional.cross_entropy(logits, target, weight=class_weights)
    known = ~torch.isnan(target)
    losses = functional.binary_cross_entropy_with_logits(
        logits, torch.where(known, target, 0.0), pos_weight=class_weights, reduction="none"
    )
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)
