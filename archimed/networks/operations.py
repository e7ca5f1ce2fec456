"""The operations of cells, in the ReLU-convolution-normalisation form of DARTS and NSGA-Net."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from archimed.networks.layers import batch_norm, convolution
from archimed.networks.pooling import PoolingKind, pooling

Make = Callable[[int, int], nn.Module]  # (channels, spatial_dims)


@dataclass(frozen=True)
class Operation:
    """What an edge or node of a cell may do to its features.

    Attributes:
        name: as it stands in genotypes.
        make: builds the module from (channels, spatial_dims); it keeps the channels and the size.
        make_strided: the same at stride 2, where an axis of n pixels leaves with ceil(n / 2). Without it the
            operation follows a `FactorisedReduction`.
    """

    name: str
    make: Make
    make_strided: Make | None = None

    def build(self, channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:
        """The module at stride 1 or 2."""
        if stride == 1:
            return self.make(channels, spatial_dims)
        if self.make_strided is not None:
            return self.make_strided(channels, spatial_dims)
        reduction = FactorisedReduction(channels, channels, spatial_dims)
        return nn.Sequential(reduction, self.make(channels, spatial_dims))


class Zero(nn.Module):
    """Zeros in the form of the features; the gradient that flows back is zero, not absent."""

    def __init__(self, spatial_dims: int, stride: int = 1) -> None:
        super().__init__()
        self.steps = (slice(None), slice(None), *(slice(None, None, stride),) * spatial_dims)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *smaller"]:
        """Zeros of ceil(n / stride) pixels along each axis."""
        return features[self.steps] * 0.0


class FactorisedReduction(nn.Module):
    """Halve the size by two 1x1 convolutions of stride 2, the second shifted by one pixel (DARTS).

    Together they read pixels of both parities; axes of n pixels leave with ceil(n / 2), the shifted grid meeting
    zeros beyond the border.
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int) -> None:
        super().__init__()
        shifted = out_channels // 2
        self.shift = (-1, 1) * spatial_dims
        self.relu = nn.ReLU()
        self.straight = convolution(in_channels, out_channels - shifted, spatial_dims, 1, stride=2)
        self.shifted = convolution(in_channels, shifted, spatial_dims, 1, stride=2)
        self.norm = batch_norm(out_channels, spatial_dims)

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch out *half"]:
        """Features at half the size."""
        normalised: Tensor = self.norm(self.halved(self.relu(features)))
        return normalised

    def halved(self, active: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch out *half"]:
        """What is normalised, from features that have passed the ReLU."""
        return torch.cat([self.straight(active), self.shifted(pad(active, self.shift))], dim=1)


def _separable(kernel: int, channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:
    """Depthwise then pointwise, twice (DARTS); the first depthwise convolution takes the stride."""
    return nn.Sequential(
        *_depthwise_pointwise(channels, spatial_dims, kernel, stride=stride),
        *_depthwise_pointwise(channels, spatial_dims, kernel),
    )


def _dilated(kernel: int, channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:
    """Depthwise with every second pixel left out, then pointwise, once (DARTS)."""
    return nn.Sequential(*_depthwise_pointwise(channels, spatial_dims, kernel, stride=stride, dilation=2))


def _depthwise_pointwise(
    channels: int, spatial_dims: int, kernel: int, stride: int = 1, dilation: int = 1
) -> tuple[nn.Module, ...]:
    return (
        nn.ReLU(),
        convolution(channels, channels, spatial_dims, kernel, stride=stride, dilation=dilation, groups=channels),
        convolution(channels, channels, spatial_dims, 1),
        batch_norm(channels, spatial_dims),
    )


def _convolved(kernel: int, channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:
    """One dense convolution."""
    dense = convolution(channels, channels, spatial_dims, kernel, stride=stride)
    return nn.Sequential(nn.ReLU(), dense, batch_norm(channels, spatial_dims))


def _factorised(kernel: int, channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:
    """One dense convolution along each axis in turn: 7x1 then 1x7, in 3D 7x1x1, 1x7x1, 1x1x7."""

    def along(axis: int) -> nn.Module:
        line = tuple(kernel if i == axis else 1 for i in range(spatial_dims))
        step = tuple(stride if i == axis else 1 for i in range(spatial_dims))
        return convolution(channels, channels, spatial_dims, line, stride=step)

    return nn.Sequential(nn.ReLU(), *map(along, range(spatial_dims)), batch_norm(channels, spatial_dims))


def _pooled(kind: PoolingKind, channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:
    """Pooling over 3 pixels, then normalisation without scale and shift (DARTS)."""
    return nn.Sequential(pooling(kind, 3, spatial_dims, stride), batch_norm(channels, spatial_dims, affine=False))


def _identity(channels: int, spatial_dims: int) -> nn.Module:  # noqa: ARG001
    return nn.Identity()


def _strided_identity(channels: int, spatial_dims: int) -> nn.Module:
    return FactorisedReduction(channels, channels, spatial_dims)


def _zero(channels: int, spatial_dims: int, stride: int = 1) -> nn.Module:  # noqa: ARG001
    return Zero(spatial_dims, stride)


def _with_stride(name: str, make: Callable[..., nn.Module]) -> Operation:
    return Operation(name, make, partial(make, stride=2))


CONV_3 = _with_stride("conv_3", partial(_convolved, 3))
CONV_5 = _with_stride("conv_5", partial(_convolved, 5))
SEPARABLE_CONV_3 = _with_stride("separable_conv_3", partial(_separable, 3))
SEPARABLE_CONV_5 = _with_stride("separable_conv_5", partial(_separable, 5))
SEPARABLE_CONV_7 = _with_stride("separable_conv_7", partial(_separable, 7))
DILATED_CONV_3 = _with_stride("dilated_conv_3", partial(_dilated, 3))
DILATED_CONV_5 = _with_stride("dilated_conv_5", partial(_dilated, 5))
FACTORISED_CONV_7 = _with_stride("factorised_conv_7", partial(_factorised, 7))
MAX_POOL_3 = _with_stride("max_pool_3", partial(_pooled, "max"))
AVERAGE_POOL_3 = _with_stride("average_pool_3", partial(_pooled, "average"))
IDENTITY = Operation("identity", _identity, _strided_identity)
ZERO = _with_stride("zero", _zero)
