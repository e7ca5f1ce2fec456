"""The loss of masks: half the cross-entropy plus the Dice loss (MixSearch, experiments)."""

import torch
from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional

SMOOTHING = 1e-5  # added to both sides of the fraction, so that two empty masks agree (the public code)


def mask_loss(
    logits: Float[Tensor, "batch class *space"],
    target: Num[Tensor, "batch *rest"],
    class_weights: Float[Tensor, " class"] | None = None,
) -> Float[Tensor, ""]:
    """0.5 * cross-entropy + 1 - the soft Dice of each image and foreground class, averaged.

    Of two classes it is the paper's 0.5 * BCE + Dice on the difference of the logits.

    Args:
        logits: the background's first.
        target: class indices [batch, *space] (int64), or shares of the classes [batch, class, *space] (float), which
            add to 1 at each pixel, as mixed masks have.
        class_weights: of the cross-entropy, which they average; the Dice loss weighs the foreground classes alike.
    """
    shares = target if target.is_floating_point() else _shares(target, logits)
    return _cross_entropy(logits, target, class_weights) / 2 + _dice_loss(logits.softmax(1), shares)


def _shares(target: Tensor, logits: Tensor) -> Tensor:
    """Class indices as ones and zeros, in the memory layout of the logits."""
    classes = torch.arange(logits.shape[1], device=target.device).view(-1, *(1,) * (target.ndim - 1))
    return torch.empty_like(logits, requires_grad=False).copy_(target[:, None] == classes)


def _cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None) -> Tensor:
    if class_weights is None or not target.is_floating_point():
        return functional.cross_entropy(logits, target, class_weights)
    weighted = target * class_weights.view(-1, *(1,) * (target.ndim - 2))
    return -(weighted * logits.log_softmax(1)).sum() / weighted.sum()


def _dice_loss(probabilities: Tensor, shares: Tensor) -> Tensor:
    answered, true = probabilities[:, 1:].flatten(2), shares[:, 1:].flatten(2)
    common = 2 * torch.linalg.vecdot(answered, true) + SMOOTHING
    dice: Tensor = common / (answered.sum(2) + true.sum(2) + SMOOTHING)
    return 1 - dice.mean()
