"""Heads: from feature maps to logits."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu


class PooledLinear(nn.Module):
    """Global average pooling and one linear layer (MSTF-NAS, Sec. III-C).

    `positive` pools what passes a ReLU: where each channel of each image was normalised, its plain mean is always zero.
    """

    def __init__(self, channels: int, num_outputs: int, *, positive: bool = False) -> None:
        super().__init__()
        self.positive = positive
        self.linear = nn.Linear(channels, num_outputs)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        if self.positive:
            features = relu(features)
        logits: Tensor = self.linear(features.mean(dim=tuple(range(2, features.ndim))))
        return logits
