"""The stem: image channels to cell width, at full, half or quarter resolution."""

from typing import Literal

from torch import nn

from archimed.networks.layers import batch_norm, convolution

StemStride = Literal[1, 2, 4]


def stem(in_channels: int, width: int, spatial_dims: int, stride: StemStride) -> nn.Sequential:
    """One 3x3 convolution, or two of stride 2 with a ReLU between them where the stride is 4.

    As NSGA-Net's stems, it ends with batch normalisation: the cells that follow begin with their own ReLU.
    An axis of n pixels leaves with ceil(n / stride), rounded up at each step.
    """
    if stride != 4:
        return nn.Sequential(
            convolution(in_channels, width, spatial_dims, 3, stride=stride), batch_norm(width, spatial_dims)
        )
    half = max(width // 2, 1)
    return nn.Sequential(
        convolution(in_channels, half, spatial_dims, 3, stride=2),
        batch_norm(half, spatial_dims),
        nn.ReLU(),
        convolution(half, width, spatial_dims, 3, stride=2),
        batch_norm(width, spatial_dims),
    )
