"""Heads: from feature maps to logits."""

from jaxtyping import Float
from torch import Tensor, nn


class PooledLinear(nn.Module):
    """Global average pooling and one linear layer (MSTF-NAS, Sec. III-C)."""

    def __init__(self, channels: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_outputs)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        logits: Tensor = self.linear(features.mean(dim=tuple(range(2, features.ndim))))
        return logits
