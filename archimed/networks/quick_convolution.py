"""Convolutions on a CPU in the form that is fastest for their shape, forward and backward.

PyTorch's own choice is slow for several shapes that cells are made of. One AVX-512 core, torch 2.13, milliseconds for
forward, gradient by the images and gradient by the weights, channels last, the library's form and ours: one volume of
8 x 48^3, kernel 3 (which it gives to its plain C++ form): 156, 183, 135 and 11, 8, 9; the same depthwise: 1, 10, 16 and
1, 1, 2. 16 images of 16 x 28^2, depthwise, kernel 5, dilated: .16, 1.5, 1.35 and .16, .16, .8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, linear, pad

PLAIN_SIZE = 20_480  # batch x channels x the first two axes, up to which PyTorch takes its plain form for kernel 3
FAST_COLUMNS = 3  # of a depthwise kernel, up to which oneDNN's gradient by the weights is fast
aten = torch.ops.aten


@dataclass(frozen=True)
class Geometry:
    """Stride, padding, dilation of each axis, and groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def convolve(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution of `images` [batch, channel, *space] with `weight`; differentiable, as often as is wanted."""
    if images.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        library = conv2d if images.ndim == 4 else conv3d
        return library(images, weight, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    if _reads_one_phase(weight, geometry):
        images, geometry = _one_phase(images, geometry)
    if set(weight.shape[2:]) == {1} and geometry.groups == 1 and not any(geometry.padding):
        return _pointwise(images, weight)
    result: Tensor = _Convolution.apply(images, weight, geometry)
    return result


class _Convolution(torch.autograd.Function):
    """Strided or not, with gradients in forms of their own; their operations can be differentiated again."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry = geometry
        return _forward(images, weight, geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (gradient,) = gradients
        images, weight = ctx.saved_tensors
        by_images = _to_images(gradient, images, weight, ctx.geometry) if ctx.needs_input_grad[0] else None
        by_weight = _to_weight(gradient, images, weight, ctx.geometry) if ctx.needs_input_grad[1] else None
        return by_images, by_weight, None


def _library(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    result: Tensor = aten.convolution(images, weight, None, *_arguments(geometry))
    return result


def _arguments(geometry: Geometry) -> tuple[Any, ...]:
    axes = len(geometry.stride)
    return geometry.stride, geometry.padding, geometry.dilation, False, [0] * axes, geometry.groups


def _library_gradients(
    gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry, *, by_images: bool
) -> Tensor:
    wanted = [by_images, not by_images, False]
    results = aten.convolution_backward(gradient, images, weight, None, *_arguments(geometry), wanted)
    result: Tensor = results[0 if by_images else 1]
    return result


def _is_depthwise(weight: Tensor, geometry: Geometry) -> bool:
    return 1 < geometry.groups == len(weight) and weight.shape[1] == 1


def _reads_one_phase(weight: Tensor, geometry: Geometry) -> bool:
    """Whether along every axis only each s-th pixel is read, with s the stride."""
    axes = zip(weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
    return max(geometry.stride) > 1 and all(
        padding % stride == 0 and (size == 1 or dilation == stride) for size, stride, padding, dilation in axes
    )


def _one_phase(images: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    steps = tuple(slice(None, None, stride) for stride in geometry.stride)
    layout = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
    read = images[(slice(None), slice(None), *steps)].contiguous(memory_format=layout)
    ones = (1,) * len(steps)
    padding = tuple(p // s for p, s in zip(geometry.padding, geometry.stride, strict=True))
    return read, Geometry(ones, padding, ones, geometry.groups)


def _pointwise(images: Tensor, weight: Tensor) -> Tensor:
    """A matrix product over channels, which lie innermost."""
    result: Tensor = linear(images.movedim(1, -1), weight.flatten(1)).movedim(-1, 1)
    return result


def _forward(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if images.ndim == 5 and _is_depthwise(weight, geometry) and max(geometry.dilation) > 1:
        return _by_planes(images, weight, geometry)
    if _library_is_plain(images, weight, geometry):
        arguments = geometry.padding, geometry.stride, geometry.dilation, geometry.groups
        result: Tensor = aten.mkldnn_convolution(images, weight, None, *arguments)
        return result
    return _library(images, weight, geometry)


def _library_is_plain(images: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether PyTorch would compute one small volume in its plain form although oneDNN is there."""
    return (
        images.ndim == 5
        and len(images) == 1
        and geometry.groups == 1
        and min(weight.shape[3:]) <= 3
        and math.prod(images.shape[:4]) <= PLAIN_SIZE
        and images.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
    )


def _to_images(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """Without strides a forward convolution with the mirrored kernel."""
    kernel = weight.shape[2:]
    axes = zip(geometry.dilation, kernel, geometry.padding, strict=True)
    reach = tuple(dilation * (size - 1) - padding for dilation, size, padding in axes)
    one_to_one = geometry.groups == 1 or _is_depthwise(weight, geometry)
    if max(geometry.stride) > 1 or min(reach) < 0 or not one_to_one:
        return _library_gradients(gradient, images, weight, geometry, by_images=True)
    mirrored = weight.flip(tuple(range(2, weight.ndim)))
    if geometry.groups == 1:
        mirrored = mirrored.transpose(0, 1).contiguous()
    return _forward(gradient, mirrored, Geometry(geometry.stride, reach, geometry.dilation, geometry.groups))


def _to_weight(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if _is_depthwise(weight, geometry):
        return _to_depthwise_weight(gradient, images, weight, geometry)
    if _library_is_plain(images, weight, geometry) and max(geometry.stride) == 1 and gradient.shape[2] > 1:
        return _from_halves(gradient, images, weight, geometry)
    return _library_gradients(gradient, images, weight, geometry, by_images=False)


def _from_halves(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A dense weight's gradient from the two halves of the volume as a batch of two, which PyTorch gives to oneDNN."""
    depth = gradient.shape[2]
    half, reach = (depth + 1) // 2, geometry.dilation[0] * (weight.shape[2] - 1)
    padded = pad(images, (0, 0, 0, 0, geometry.padding[0], geometry.padding[0] + 2 * half - depth))
    layers = [padded[:, :, start : start + half + reach] for start in (0, half)]
    gradients = pad(gradient, (0, 0, 0, 0, 0, 2 * half - depth))
    layout = torch.channels_last_3d
    both = torch.cat(layers).contiguous(memory_format=layout)
    gradients = torch.cat(gradients.split(half, dim=2)).contiguous(memory_format=layout)
    inner = Geometry(geometry.stride, (0, *geometry.padding[1:]), geometry.dilation, 1)
    return _library_gradients(gradients, both, weight, inner, by_images=False)


def _to_depthwise_weight(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if images.ndim == 5:
        return _from_planes(gradient, images, weight, geometry)
    kernel, dilation = weight.shape[2:], geometry.dilation
    same = all(p == d * (k - 1) // 2 for p, d, k in zip(geometry.padding, dilation, kernel, strict=True))
    if max(geometry.stride) == 1 and same and max(dilation) > 1:
        return _from_phases(gradient, images, weight, geometry)
    if max(geometry.stride) == max(dilation) == 1 and kernel[1] > FAST_COLUMNS:
        return _from_columns(gradient, images, weight, geometry)
    return _library_gradients(gradient, images, weight, geometry, by_images=False)


def _from_phases(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A dilated kernel joins pixels of one phase only: the phases as a batch, without dilation."""
    dilation = geometry.dilation
    margins = [-size % step for size, step in zip(images.shape[2:], dilation, strict=True)]
    phases = [_phases(part, margins, dilation) for part in (gradient, images)]
    kernel = weight.shape[2:]
    inner = Geometry((1, 1), tuple((size - 1) // 2 for size in kernel), (1, 1), geometry.groups)
    return _to_depthwise_weight(phases[0], phases[1], weight, inner)


def _phases(images: Tensor, margins: Sequence[int], steps: Sequence[int]) -> Tensor:
    """[batch, channel, height, width] to [phases x batch, channel, height / step, width / step]."""
    images = pad(images, (0, margins[1], 0, margins[0]))
    every = [images[:, :, row :: steps[0], column :: steps[1]] for row in range(steps[0]) for column in range(steps[1])]
    return torch.cat(every).contiguous(memory_format=torch.channels_last)


def _from_columns(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A weight's gradient as those of strips of up to three columns, the widest kernel that oneDNN is fast for.

    A kernel with more rows than the image makes it slow too, unless the rows are padded beforehand.
    """
    rows = geometry.padding[0] if weight.shape[2] > images.shape[2] else 0
    margin, width = geometry.padding[1], gradient.shape[3]
    padded = pad(images, (margin, margin, rows, rows))
    inner = Geometry((1, 1), (geometry.padding[0] - rows, 0), (1, 1), geometry.groups)
    strips = []
    for start, strip in enumerate(weight.split(FAST_COLUMNS, dim=3)):
        first = start * FAST_COLUMNS
        reached = padded[..., first : first + width + strip.shape[3] - 1]
        strips.append(_library_gradients(gradient, reached, strip, inner, by_images=False))
    return torch.cat(strips, dim=3)


def _planes(volumes: Tensor) -> Tensor:
    """[batch, channel, depth, *plane] to [batch x depth, channel, *plane]; no copy of one volume, channels last."""
    return volumes.movedim(1, -1).flatten(0, 1).movedim(-1, 1)


def _taps(images: Tensor, weight: Tensor, geometry: Geometry, depth: int) -> list[Tensor]:
    """For every tap along the depth the planes that it reads."""
    margin = geometry.padding[0]
    padded = pad(images, (0, 0, 0, 0, margin, margin))
    step, dilation = geometry.stride[0], geometry.dilation[0]
    starts = (tap * dilation for tap in range(weight.shape[2]))
    return [_planes(padded[:, :, start : start + (depth - 1) * step + 1 : step]) for start in starts]


def _flat(geometry: Geometry) -> Geometry:
    return Geometry(geometry.stride[1:], geometry.padding[1:], geometry.dilation[1:], geometry.groups)


def _by_planes(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A convolution in 3D as the sum over the taps along the depth of convolutions in 2D."""
    span = images.shape[2] + 2 * geometry.padding[0] - geometry.dilation[0] * (weight.shape[2] - 1)
    depth = (span - 1) // geometry.stride[0] + 1
    taps = zip(_taps(images, weight, geometry, depth), weight.unbind(2), strict=True)
    terms = (_library(planes, kernel, _flat(geometry)) for planes, kernel in taps)
    total = reduce(Tensor.add_, terms)
    volumes: Tensor = total.unflatten(0, (len(images), depth)).transpose(1, 2)
    return volumes


def _from_planes(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """A depthwise weight's gradient in 3D, tap by tap along the depth, each in 2D."""
    flat, planes = _flat(geometry), _planes(gradient)
    taps = _taps(images, weight, geometry, gradient.shape[2])
    kernels = weight.unbind(2)
    return torch.stack(
        [_to_depthwise_weight(planes, tap, kernel, flat) for tap, kernel in zip(taps, kernels, strict=True)], dim=2
    )
