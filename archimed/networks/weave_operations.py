"""The operations of MixSearch's cells (Liu et al., Tables I and II): those that halve, keep and double the size."""

from collections.abc import Callable
from functools import partial
from math import gcd
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.layers import batch_norm, convolution, transposed_convolution
from archimed.networks.operations import IDENTITY, ZERO, Operation
from archimed.networks.pooling import PoolingKind, pooling

Resampling = Literal["down", "normal", "up"]
REDUCTION = 16  # channels per hidden unit of a channel gate (squeeze-and-excitation; MixSearch, released code)
SHUFFLED_GROUPS = 4  # groups of the shuffle convolution at most (ours: the released code has one and shuffles nothing)


class ChannelGate(nn.Module):
    """Each channel times a number between 0 and 1 that depends on the means of all (squeeze-and-excitation)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """The gated features."""
        gate = self.gate(features.mean(dim=tuple(range(2, features.ndim))))
        return features * gate.view(*gate.shape, *(1,) * (features.ndim - 2))

    def gate(self, means: Float[Tensor, "batch channel"]) -> Float[Tensor, "batch channel"]:
        """The numbers, from the means over space."""
        numbers: Tensor = torch.sigmoid(self.excite(torch.relu(self.squeeze(means))))
        return numbers


class ChannelShuffle(nn.Module):
    """Channels of all groups interleaved, so that the next grouped convolution reads every group (ShuffleNet)."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """The first channel of each group, then the second of each, and so on."""
        shuffled: Tensor = features.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        return shuffled


def _convolved(channels: int, spatial_dims: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    dense = convolution(channels, channels, spatial_dims, 3, stride=stride, dilation=dilation)
    return nn.Sequential(nn.ReLU(), dense, batch_norm(channels, spatial_dims))


def _separable(channels: int, spatial_dims: int, *, stride: int = 1) -> nn.Module:
    depthwise = convolution(channels, channels, spatial_dims, 3, stride=stride, groups=channels)
    pointwise = convolution(channels, channels, spatial_dims, 1)
    return nn.Sequential(nn.ReLU(), depthwise, pointwise, batch_norm(channels, spatial_dims))


def _shuffled(channels: int, spatial_dims: int) -> nn.Module:
    groups = gcd(channels, SHUFFLED_GROUPS)
    grouped = convolution(channels, channels, spatial_dims, 3, groups=groups)
    return nn.Sequential(nn.ReLU(), grouped, ChannelShuffle(groups), batch_norm(channels, spatial_dims))


def _gated(channels: int, spatial_dims: int) -> nn.Module:  # noqa: ARG001
    return ChannelGate(channels)


def _gated_down(channels: int, spatial_dims: int) -> nn.Module:
    halving = convolution(channels, channels, spatial_dims, 3, stride=2)
    return nn.Sequential(ChannelGate(channels), halving, batch_norm(channels, spatial_dims))


def _transposed(channels: int, spatial_dims: int, *, dilation: int = 1) -> nn.Module:
    doubling = transposed_convolution(channels, channels, spatial_dims, 3, dilation=dilation)
    return nn.Sequential(nn.ReLU(), doubling, batch_norm(channels, spatial_dims))


def _separable_transposed(channels: int, spatial_dims: int) -> nn.Module:
    depthwise = transposed_convolution(channels, channels, spatial_dims, 3, groups=channels)
    pointwise = convolution(channels, channels, spatial_dims, 1)
    return nn.Sequential(nn.ReLU(), depthwise, pointwise, batch_norm(channels, spatial_dims))


def _gated_up(channels: int, spatial_dims: int) -> nn.Module:
    doubling = transposed_convolution(channels, channels, spatial_dims, 3)
    return nn.Sequential(ChannelGate(channels), doubling, batch_norm(channels, spatial_dims))


def _pooled(kind: PoolingKind, channels: int, spatial_dims: int) -> nn.Module:  # noqa: ARG001
    return pooling(kind, 2, spatial_dims)


def _table(**makes: Callable[[int, int], nn.Module]) -> tuple[Operation, ...]:
    return tuple(Operation(name, make) for name, make in makes.items())


DOWN = _table(
    average_pool=partial(_pooled, "average"),
    max_pool=partial(_pooled, "max"),
    conv=partial(_convolved, stride=2),
    atrous_conv=partial(_convolved, stride=2, dilation=2),
    separable_conv=partial(_separable, stride=2),
    attention_conv=_gated_down,
)
NORMAL = (
    ZERO,
    IDENTITY,
    *_table(
        attention_identity=_gated,
        conv=_convolved,
        atrous_conv=partial(_convolved, dilation=2),
        separable_conv=_separable,
        shuffle_conv=_shuffled,
    ),
)
UP = _table(
    transposed_conv=_transposed,
    atrous_transposed_conv=partial(_transposed, dilation=2),
    separable_transposed_conv=_separable_transposed,
    attention_transposed_conv=_gated_up,
)
TABLES: dict[Resampling, tuple[Operation, ...]] = {"down": DOWN, "normal": NORMAL, "up": UP}
