"""Plain layers for images (2D) and volumes (3D) from one source; initial weights as PyTorch draws them by default."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from archimed.errors import SettingsError

Kernel = int | tuple[int, ...]
LARGE = 16_384  # weights from which drawing them one by one costs more than starting a second generator


class _Convolution2d(nn.Conv2d):
    """A 2D convolution without bias whose default initial weights are drawn quickly."""

    def reset_parameters(self) -> None:
        draw_default_weights(self.weight)


class _Convolution3d(nn.Conv3d):
    """A 3D convolution without bias whose default initial weights are drawn quickly."""

    def reset_parameters(self) -> None:
        draw_default_weights(self.weight)


@torch.no_grad()
def draw_default_weights(weight: Tensor) -> None:
    """Fill a convolution's weight with PyTorch's default: uniform within 1 / sqrt(fan_in).

    That is Kaiming-uniform with a = sqrt(5). PyTorch draws one number at a time, which for millions of weights takes
    as long as a forward pass; large weights come from NumPy's SFC64, seeded by one draw of the global generator, as
    32-bit integers scaled to the interval.
    """
    bound = 1 / math.sqrt(weight[0].numel())
    if weight.numel() < LARGE or weight.device.type != "cpu" or weight.dtype != torch.float32:
        weight.uniform_(-bound, bound)
        return
    seed = int(torch.randint(2**63 - 1, (), device="cpu"))
    bits = np.random.SFC64(seed).random_raw((weight.numel() + 1) // 2)
    integers = torch.from_numpy(bits.view(np.int32)[: weight.numel()])
    torch.mul(integers.view(weight.shape), bound / 2**31, out=weight)


def check_spatial_dims(spatial_dims: int) -> None:
    """Raise SettingsError unless the images have two axes or three."""
    if spatial_dims not in (2, 3):
        raise SettingsError(
            f"Networks take images (2 axes) or volumes (3 axes); got {spatial_dims} axes. "
            "Give the task an image_size of (height, width) or (depth, height, width)."
        )


def convolution(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    kernel: Kernel,
    *,
    stride: Kernel = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Module:
    """A convolution without bias, padded so that an axis of n pixels leaves with ceil(n / stride).

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        spatial_dims: 2 or 3.
        kernel: odd size in pixels, the same along every axis or one per axis.
        stride: step in pixels, the same along every axis or one per axis.
        dilation: distance in pixels between taps.
        groups: `in_channels` for a depthwise convolution.
    """
    sizes = (kernel,) * spatial_dims if isinstance(kernel, int) else kernel
    padding = tuple(dilation * (size - 1) // 2 for size in sizes)
    layer: Callable[..., nn.Module] = _Convolution2d if spatial_dims == 2 else _Convolution3d
    return layer(
        in_channels,
        out_channels,
        kernel_size=sizes,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def batch_norm(channels: int, spatial_dims: int, affine: bool = True) -> nn.Module:
    """Batch normalisation, with learnt scale and shift if `affine`."""
    return nn.BatchNorm2d(channels, affine=affine) if spatial_dims == 2 else nn.BatchNorm3d(channels, affine=affine)


def relu_conv_norm(in_channels: int, out_channels: int, spatial_dims: int, kernel: Kernel = 1) -> nn.Sequential:
    """ReLU, convolution, batch normalisation: the order of DARTS and NSGA-Net. Keeps the size."""
    return nn.Sequential(
        nn.ReLU(),
        convolution(in_channels, out_channels, spatial_dims, kernel),
        batch_norm(out_channels, spatial_dims),
    )
