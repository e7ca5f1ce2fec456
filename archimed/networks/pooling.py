"""Poolings of stride one or two under one size rule: an axis of n pixels leaves with ceil(n / stride), 1 stays 1."""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.quick_pooling import average

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
    mean: Callable[..., nn.Module] = _AveragePool2d if spatial_dims == 2 else _AveragePool3d
    return mean(kernel, stride, padding, ceil_mode=round_up, count_include_pad=False)


class _AveragePool2d(nn.AvgPool2d):
    """Average pooling that can be quick (see `archimed.networks.layers.use_quick_forms`)."""

    quick = False

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *smaller"]:
        """Means of the pixels that exist in each window."""
        if self.quick and _keeps_size(self) and features.device.type == "cpu":
            return average(features, _one(self.kernel_size))
        return super().forward(features)


def _keeps_size(layer: nn.AvgPool2d | nn.AvgPool3d) -> bool:
    return _one(layer.stride) == 1 and 2 * _one(layer.padding) + 1 == _one(layer.kernel_size)


def _one(length: int | tuple[int, ...]) -> int:
    """`pooling` makes windows that are the same along every axis."""
    return length if isinstance(length, int) else length[0]


class _AveragePool3d(nn.AvgPool3d):
    """Average pooling that takes volumes smaller than its window too, which PyTorch refuses whatever the padding."""

    def __init__(self, kernel: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool) -> None:
        super().__init__(kernel, stride, padding, ceil_mode, count_include_pad)
        self.window = (kernel, stride, padding)

    quick = False

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *smaller"]:
        """Means of the voxels that exist in each window."""
        kernel, stride, padding = self.window
        if self.quick and _keeps_size(self) and features.device.type == "cpu":
            return average(features, kernel)
        if min(features.shape[2:]) >= kernel:
            means: Tensor = super().forward(features)
            return means
        margins: list[int] = []
        for size in reversed(features.shape[2:]):
            last_window = (-(-size // stride) - 1) * stride
            margins += [padding, max(last_window + kernel - size - padding, 0)]
        present = functional.pad(features.new_ones(features.shape[2:])[None, None], margins)
        sums = functional.avg_pool3d(functional.pad(features, margins), kernel, stride)
        return sums / functional.avg_pool3d(present, kernel, stride)
