"""Plain layers for images (2D) and volumes (3D) from one source; initial weights are PyTorch's defaults."""

from collections.abc import Callable

from torch import nn

from archimed.errors import SettingsError

Kernel = int | tuple[int, ...]


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
    layer: Callable[..., nn.Module] = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
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


def batch_norm(channels: int, spatial_dims: int) -> nn.Module:
    """Batch normalisation with scale and shift."""
    return nn.BatchNorm2d(channels) if spatial_dims == 2 else nn.BatchNorm3d(channels)


def relu_conv_norm(in_channels: int, out_channels: int, spatial_dims: int, kernel: Kernel = 1) -> nn.Sequential:
    """ReLU, convolution, batch normalisation: the order of DARTS and NSGA-Net. Keeps the size."""
    return nn.Sequential(
        nn.ReLU(),
        convolution(in_channels, out_channels, spatial_dims, kernel),
        batch_norm(out_channels, spatial_dims),
    )
