"""Heads: from feature maps to logits."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu


class PooledLinear(nn.Module):
    """Global average pooling and one linear layer (MSTF-NAS, Sec. III-C).

    `positive` pools what passes a ReLU: where each channel of each image was normalised, its plain mean is always zero.
    `further` numbers of each image, pooled elsewhere, are read beside the channels.
    """

    def __init__(self, channels: int, num_outputs: int, *, positive: bool = False, further: int = 0) -> None:
        super().__init__()
        self.positive = positive
        self.linear = nn.Linear(channels + further, num_outputs)

    def forward(
        self,
        features: Float[Tensor, "batch channel *space"],
        further: Sequence[Float[Tensor, "batch number"]] = (),
    ) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        pooled = pooled_positive(features) if self.positive else features.mean(dim=tuple(range(2, features.ndim)))
        logits: Tensor = self.linear(torch.cat([pooled, *further], dim=1) if further else pooled)
        return logits


def means_and_peaks(features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch number"]:
    """Mean and largest value of each channel of what passes a ReLU: all means, then all largest values.

    A mean over a volume hides a finding of a few pixels, its largest value does not.
    """
    positive = relu(features).flatten(2)
    return torch.cat([positive.mean(2), positive.amax(2)], dim=1)


def pooled_positive(features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel"]:
    """The mean of each channel of what passes a ReLU."""
    return relu(features).mean(dim=tuple(range(2, features.ndim)))
