"""Poolings of stride one or two under one size rule: an axis of n pixels leaves with ceil(n / stride), 1 stays 1."""

from typing import Literal

from torch import nn

PoolingKind = Literal["max", "average"]


def pooling(kind: PoolingKind, kernel: int, spatial_dims: int, stride: int = 2) -> nn.Module:
    """Max or average pooling over windows of 2, 3 or 4 pixels (MSTF-NAS, Sec. III-A).

    The paper's 2x2, 3x3 (padding 1) and 4x4 (padding 1) poolings of a 7x7 map would give 3, 4 and 3 pixels, which
    cannot be concatenated; rounding up gives 4 for all. Averages count only pixels that exist.

    Args:
        kind: what is taken of a window.
        kernel: side of the window in pixels; a window of 2 keeps the size only at stride 2.
        spatial_dims: 2 or 3.
        stride: step in pixels.
    """
    padding = (kernel - 1) // 2
    round_up = kernel % 2 == 0  # odd windows centre on every second pixel, which rounds up by itself
    if kind == "max":
        largest = nn.MaxPool2d if spatial_dims == 2 else nn.MaxPool3d
        return largest(kernel, stride, padding, ceil_mode=round_up)
    average = nn.AvgPool2d if spatial_dims == 2 else nn.AvgPool3d
    return average(kernel, stride, padding, ceil_mode=round_up, count_include_pad=False)
