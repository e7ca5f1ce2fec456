"""The stem: image channels to cell width, at full, half or quarter resolution."""

from itertools import pairwise
from typing import Literal

from torch import nn

from archimed.networks.layers import batch_norm, convolution
from archimed.networks.pooling import pooling

StemStride = Literal[1, 2, 4]
StemForm = Literal["strided", "pooled"]


def stem(
    in_channels: int, width: int, spatial_dims: int, stride: StemStride, form: StemForm = "strided"
) -> nn.Sequential:
    """One 3x3 convolution, or two with a ReLU between them where the stride is 4.

    As NSGA-Net's stems, it ends with batch normalisation: the cells that follow begin with their own ReLU.
    An axis of n pixels leaves with ceil(n / stride), rounded up at each step: by the convolutions' own stride of 2, or,
    `pooled`, by the largest of 2 pixels after convolutions at full resolution, which sees findings of a few pixels.
    """
    if form == "pooled":
        return pooled_stem(in_channels, width, spatial_dims, stride)
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


def pooled_stem(in_channels: int, width: int, spatial_dims: int, stride: StemStride) -> nn.Sequential:
    """Convolutions of stride 1, each followed by its normalisation and a maximum over 2 pixels along every axis."""
    layers: list[nn.Module] = []
    widths = {1: (width,), 2: (width,), 4: (max(width // 2, 1), width)}[stride]
    for before, after in pairwise((in_channels, *widths)):
        layers += [nn.ReLU()] if layers else []
        layers += [convolution(before, after, spatial_dims, 3), batch_norm(after, spatial_dims)]
        layers += [pooling("max", 2, spatial_dims)] if stride > 1 else []
    return nn.Sequential(*layers)
