"""Inverted residual blocks (MBConv) for images and volumes, and the eight options of a block of EMARS."""

from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.layers import batch_norm, convolution
from archimed.networks.operations import IDENTITY, Operation


def conv_norm_relu6(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    kernel: int,
    *,
    stride: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU6; this works in place, for nothing needs what comes before it."""
    return nn.Sequential(
        convolution(in_channels, out_channels, spatial_dims, kernel, stride=stride, groups=groups),
        batch_norm(out_channels, spatial_dims),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Widened by a pointwise convolution, convolved depthwise, narrowed by a pointwise one without ReLU6.

    From MobileNetV2 (Sandler et al., 2018). With as many channels out as in, the features are added to what they
    become. An expansion of 1 has nothing to widen.
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int, kernel: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.residual = in_channels == out_channels
        self.widen = nn.Identity() if expansion == 1 else conv_norm_relu6(in_channels, width, spatial_dims, 1)
        self.depthwise = conv_norm_relu6(width, width, spatial_dims, kernel, groups=width)
        self.narrow = nn.Sequential(
            convolution(width, out_channels, spatial_dims, 1), batch_norm(out_channels, spatial_dims)
        )

    def forward(self, features: Float[Tensor, "batch in *space"]) -> Float[Tensor, "batch out *space"]:
        """Features of the same size."""
        narrowed: Tensor = self.narrow(self.depthwise(self.widen(features)))
        return features + narrowed if self.residual else narrowed


def _make(kernel: int, expansion: int, channels: int, spatial_dims: int) -> nn.Module:
    return InvertedResidual(channels, channels, spatial_dims, kernel, expansion)


def _mbconv(kernel: int, expansion: int) -> Operation:
    return Operation(f"mbconv_{kernel}_e{expansion}", partial(_make, kernel, expansion))


BLOCK_OPTIONS = (  # EMARS, released code
    _mbconv(3, 3),
    _mbconv(3, 4),
    _mbconv(3, 6),
    _mbconv(5, 3),
    _mbconv(5, 4),
    _mbconv(7, 3),
    _mbconv(7, 4),
    IDENTITY,
)
