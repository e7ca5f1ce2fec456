"""Plain layers for images (2D) and volumes (3D) from one source; initial weights as PyTorch draws them by default."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.errors import SettingsError
from archimed.networks.quick_convolution import Geometry, convolve

Kernel = int | tuple[int, ...]
Normalisation = Literal["batch", "instance"]
LARGE = 16_384  # weights from which drawing them one by one costs more than starting a second generator
_drawing = ContextVar("drawing", default=True)  # see `undrawn_weights`


class _Convolution2d(nn.Conv2d):
    """A 2D convolution without bias whose default initial weights are drawn quickly; see `use_quick_forms`."""

    quick = False

    def reset_parameters(self) -> None:
        draw_default_weights(self.weight)

    def forward(self, images: Tensor) -> Tensor:
        """The convolution."""
        return convolve(images, self.weight, convolution_geometry(self)) if self.quick else super().forward(images)


class _Convolution3d(nn.Conv3d):
    """A 3D convolution without bias whose default initial weights are drawn quickly; see `use_quick_forms`."""

    quick = False

    def reset_parameters(self) -> None:
        draw_default_weights(self.weight)

    def forward(self, images: Tensor) -> Tensor:
        """The convolution."""
        return convolve(images, self.weight, convolution_geometry(self)) if self.quick else super().forward(images)


class _BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation in 2D whose gradients are laid out; see `laid_out_back`."""

    lays_out = True

    def forward(self, features: Tensor) -> Tensor:
        """The normalised features."""
        return laid_out_back(super().forward(features)) if self.lays_out else super().forward(features)


class _BatchNorm3d(nn.BatchNorm3d):
    """Batch normalisation in 3D whose gradients are laid out; see `laid_out_back`."""

    lays_out = True

    def forward(self, features: Tensor) -> Tensor:
        """The normalised features."""
        return laid_out_back(super().forward(features)) if self.lays_out else super().forward(features)


def laid_out_back(normalised: Tensor) -> Tensor:
    """What a normalisation gives, whose gradient will come back in the same memory layout.

    After a concatenation or a global pooling it comes in another, in which PyTorch's batch normalisation on a CPU takes
    its slow way: 57 ms instead of 4 for 64 x 128 x 28 x 28.
    """
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(normalised.ndim)
    if layout is None or not normalised.requires_grad or not normalised.is_cpu or torch.compiler.is_exporting():
        return normalised
    if not normalised.is_contiguous() and normalised.is_contiguous(memory_format=layout):
        normalised.register_hook(lambda gradient: _contiguous(gradient, layout))
    return normalised


def _contiguous(gradient: Tensor | None, layout: torch.memory_format) -> Tensor | None:
    """A gradient in a layout; there may be none, as in second derivatives."""
    return None if gradient is None else gradient.contiguous(memory_format=layout)


def convolution_geometry(layer: nn.Conv2d | nn.Conv3d) -> Geometry:
    """Stride, padding, dilation and groups of a convolution."""
    padding: tuple[int, ...] = layer.padding  # type: ignore[assignment]  # never one of PyTorch's words for it
    return Geometry(layer.stride, padding, layer.dilation, layer.groups)


def use_quick_forms(network: nn.Module) -> None:
    """Let the network's convolutions and poolings, in place, compute as `quick_convolution` does: faster on a CPU.

    Only the last digits change. Best with images in channels-last layout.
    """
    for layer in network.modules():
        if hasattr(layer, "quick"):
            setattr(layer, "quick", True)  # noqa: B010  # what has it takes a bool


@contextmanager
def undrawn_weights() -> Iterator[None]:
    """Convolutions of this module that are made meanwhile get weights of any value, for which no time is spent.

    For networks whose weights are replaced before they are used.
    """
    token = _drawing.set(False)
    try:
        yield
    finally:
        _drawing.reset(token)


@torch.no_grad()
def draw_default_weights(weight: Tensor) -> None:
    """Fill a convolution's weight with PyTorch's default: uniform within 1 / sqrt(fan_in).

    That is Kaiming-uniform with a = sqrt(5). PyTorch draws one number at a time, which for millions of weights takes
    as long as a forward pass; large weights come from NumPy's SFC64, seeded by one draw of the global generator, as
    32-bit integers scaled to the interval.
    """
    if not _drawing.get():
        return
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


def transposed_convolution(
    in_channels: int, out_channels: int, spatial_dims: int, kernel: int, *, dilation: int = 1, groups: int = 1
) -> nn.Module:
    """A transposed convolution of stride 2 without bias, padded so that an axis of n pixels leaves with 2 n."""
    layer: Callable[..., nn.Module] = nn.ConvTranspose2d if spatial_dims == 2 else nn.ConvTranspose3d
    padding = dilation * (kernel - 1) // 2
    return layer(
        in_channels,
        out_channels,
        kernel_size=kernel,
        stride=2,
        padding=padding,
        output_padding=1,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def batch_norm(channels: int, spatial_dims: int, affine: bool = True) -> nn.Module:
    """Batch normalisation, with learnt scale and shift if `affine`."""
    return _BatchNorm2d(channels, affine=affine) if spatial_dims == 2 else _BatchNorm3d(channels, affine=affine)


class InstanceNorm(nn.Module):
    """Instance normalisation of images or volumes that keeps the memory layout and takes maps of one pixel.

    A single pixel has no spread: it is not normalised, only scaled and shifted. Statistics are those of the image at
    hand in training and afterwards.
    """

    eps = 1e-5

    def __init__(self, channels: int, affine: bool = True) -> None:
        super().__init__()
        self.num_features = channels
        self.affine = affine
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Each channel of each image with mean 0 and variance 1, then scaled and shifted."""
        return instance_norm(features, self.weight, self.bias, self.eps)


def instance_norm(features: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """See `InstanceNorm`."""
    if math.prod(features.shape[2:]) == 1:
        ones = (1,) * (features.ndim - 2)
        scaled = features if weight is None else features * weight.view(-1, *ones)
        return scaled if bias is None else scaled + bias.view(-1, *ones)
    layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(features.ndim, torch.contiguous_format)
    if features.is_cpu and features.is_contiguous(memory_format=layout) and not torch.compiler.is_exporting():
        # a batch of one shares its own statistics, and batch norm is several times as fast with channels innermost
        alone = (
            torch.batch_norm(image, weight, bias, None, None, True, 0.0, eps, False) for image in features.split(1)
        )
        return laid_out_back(torch.cat(list(alone)))
    normalised = functional.instance_norm(features, weight=weight, bias=bias, eps=eps)
    return normalised.contiguous(memory_format=layout) if features.is_contiguous(memory_format=layout) else normalised


class GroupNorm(nn.GroupNorm):
    """Group normalisation by as few groups of equal size as hold `largest` channels at most; 1 is instance norm."""

    def __init__(self, channels: int, largest: int, affine: bool = True) -> None:
        fewest = -(-channels // largest)
        groups = next(count for count in range(fewest, channels + 1) if channels % count == 0)
        super().__init__(groups, channels, affine=affine)
        self.num_features = channels

    def forward(self, features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        """Each group of each image with mean 0 and variance 1, then each channel scaled and shifted."""
        return group_norm(features, self.num_groups, self.weight, self.bias, self.eps)


def group_norm(features: Tensor, groups: int, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """See `GroupNorm`; with a group for each channel, `InstanceNorm`."""
    if groups == features.shape[1]:
        return instance_norm(features, weight, bias, eps)
    return torch.group_norm(features, groups, weight, bias, eps)


def with_normalisation(network: nn.Module, kind: Normalisation | int, affine: bool) -> nn.Module:
    """The network, changed in place, with this normalisation wherever it had batch normalisation.

    A number stands for group normalisation of so many channels at most.
    """
    for name, layer in network.named_children():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            setattr(network, name, _norm_like(layer, kind, affine and layer.affine))
        else:
            with_normalisation(layer, kind, affine)
    return network


def _norm_like(layer: nn.BatchNorm2d | nn.BatchNorm3d, kind: Normalisation | int, affine: bool) -> nn.Module:
    if isinstance(kind, int):
        return GroupNorm(layer.num_features, kind, affine)
    if kind == "instance":
        return InstanceNorm(layer.num_features, affine)
    return type(layer)(layer.num_features, affine=affine)


def relu_conv_norm(in_channels: int, out_channels: int, spatial_dims: int, kernel: Kernel = 1) -> nn.Sequential:
    """ReLU, convolution, batch normalisation: the order of DARTS and NSGA-Net. Keeps the size."""
    return nn.Sequential(
        nn.ReLU(),
        convolution(in_channels, out_channels, spatial_dims, kernel),
        batch_norm(out_channels, spatial_dims),
    )
