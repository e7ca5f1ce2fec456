"""Convolutions on a CPU in the form that is fastest for their shape, forward and backward.

PyTorch's own choice is slow for several shapes that cells are made of. One AVX-512 core, torch 2.13, milliseconds for
forward, gradient by the images and gradient by the weights, channels last, the library's form and ours: one volume of
8 x 48^3, kernel 3 (which it gives to its plain C++ form): 156, 183, 135 and 11, 8, 9; the same depthwise: 1, 10, 16 and
1, 1, 2. 16 images of 16 x 28^2, depthwise, kernel 5, dilated: .16, 1.5, 1.35 and .16, .16, .8.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, linear, pad

from archimed.networks.depthwise import depthwise_gradient
from archimed.networks.library_convolution import (
    Geometry,
    forms_of_large_images,
    is_depthwise,
    is_small,
    library,
    library_gradients,
)

__all__ = ["SIDE_BY_SIDE_BYTES", "Geometry", "convolve", "forms_of_large_images", "is_small", "within_reach"]

PLAIN_SIZE = 20_480  # batch x channels x the first two axes, up to which PyTorch takes its plain form for kernel 3
FEW_CHANNELS = 16  # below, a matrix product fills no vector register
NEEDLESS_PRODUCTS = 3_000_000  # with zeros, that take less time than separate matrix products
FEW_NUMBERS = 2**20  # in all windows that a kernel meets, up to which they are written side by side
SIDE_BY_SIDE_BYTES = 8 * FEW_NUMBERS  # that these windows and their products take at most


def convolve(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution of `images` [batch, channel, *space] with `weight`; differentiable, as often as is wanted."""
    if images.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        plain = conv2d if images.ndim == 4 else conv3d
        return plain(images, weight, None, geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    if images.shape[1] == 1:  # one channel lies both ways: say innermost, or PyTorch takes the layout it is slow in
        images = images.squeeze(1).unsqueeze(-1).movedim(-1, 1)
    weight, geometry = within_reach(images, weight, geometry)
    if _reads_one_phase(weight, geometry):
        images, geometry = _one_phase(images, geometry)
    if set(weight.shape[2:]) == {1} and not is_depthwise(weight, geometry) and not any(geometry.padding):
        return _pointwise(images, weight, geometry.groups)
    result: Tensor = _Convolution.apply(images, weight, geometry)
    return result


def within_reach(images: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    """The kernel without the outer taps, as many on either side, that only ever meet the padding of small images."""
    margins = [
        _unread_taps(*axis)
        for axis in zip(
            images.shape[2:], weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True
        )
    ]
    if not any(margins):
        return weight, geometry
    for axis, margin in enumerate(margins, start=2):
        weight = weight.narrow(axis, margin, weight.shape[axis] - 2 * margin)
    axes = zip(geometry.padding, margins, geometry.dilation, strict=True)
    padding = tuple(pixels - margin * dilation for pixels, margin, dilation in axes)
    return weight.contiguous(), Geometry(geometry.stride, padding, geometry.dilation, geometry.groups)


def _unread_taps(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Taps at both ends of an axis that no window reads an existing pixel with."""
    last = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride * stride - padding  # where the last one begins
    first_read = -(-max(0, -last) // dilation)
    last_read = (size - 1 + padding) // dilation
    return max(0, min(first_read, kernel - 1 - last_read, padding // dilation, (kernel - 1) // 2))


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


def _reads_one_phase(weight: Tensor, geometry: Geometry) -> bool:
    """Whether along every axis only each s-th pixel is read, with s the stride."""
    axes = zip(weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
    return max(geometry.stride) > 1 and all(
        padding % stride == 0 and (size == 1 or dilation == stride) for size, stride, padding, dilation in axes
    )


def _one_phase(images: Tensor, geometry: Geometry) -> tuple[Tensor, Geometry]:
    steps = tuple(slice(None, None, stride) for stride in geometry.stride)
    read = images.movedim(1, -1)[(slice(None), *steps)].contiguous().movedim(-1, 1)  # so its gradient lies so too
    ones = (1,) * len(steps)
    padding = tuple(p // s for p, s in zip(geometry.padding, geometry.stride, strict=True))
    return read, Geometry(ones, padding, ones, geometry.groups)


def _pointwise(images: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A matrix product over channels, which lie innermost; oneDNN's convolution where they are few."""
    if groups > 1:
        return _pointwise_in_groups(images, weight, groups)
    if images.ndim == 5 and images.shape[1] < FEW_CHANNELS:
        planes: Tensor = _Convolution.apply(_planes(images), weight.squeeze(2), Geometry((1, 1), (0, 0), (1, 1), 1))
        volumes: Tensor = planes.unflatten(0, (len(images), -1)).transpose(1, 2)
        return volumes
    result: Tensor = linear(images.movedim(1, -1), weight.flatten(1)).movedim(-1, 1)
    return result


def _pointwise_in_groups(images: Tensor, weight: Tensor, groups: int) -> Tensor:
    """One product by a matrix of blocks where its zeros cost less than a product for each group."""
    inner, blocks = images.movedim(1, -1), weight.flatten(1).unflatten(0, (groups, -1))
    needless = inner[..., 0].numel() * weight.numel() * (groups - 1)
    if needless <= NEEDLESS_PRODUCTS or blocks.shape[2] <= FEW_CHANNELS:
        result: Tensor = linear(inner, torch.block_diag(*blocks)).movedim(-1, 1)
        return result
    parts = inner.unflatten(-1, (groups, -1)).flatten(0, -3).transpose(0, 1)
    products = torch.bmm(parts, blocks.transpose(1, 2)).transpose(0, 1)
    grouped: Tensor = products.flatten(1).unflatten(0, inner.shape[:-1]).movedim(-1, 1)
    return grouped


def _forward(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    if images.ndim == 5 and is_depthwise(weight, geometry) and max(geometry.dilation) > 1:
        return _by_planes(images, weight, geometry)
    if _library_is_plain(images, weight, geometry):
        arguments = geometry.padding, geometry.stride, geometry.dilation, geometry.groups
        result: Tensor = torch.ops.aten.mkldnn_convolution(images, weight, None, *arguments)
        return result
    return library(images, weight, geometry)


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
    depthwise = is_depthwise(weight, geometry)
    strided = max(geometry.stride) > 1
    if min(reach) < 0 or not (depthwise or (geometry.groups == 1 and not strided)):
        return library_gradients(gradient, images, weight, geometry, by_images=True)
    if strided:
        lengths = [n + d * (k - 1) for n, d, k in zip(images.shape[2:], geometry.dilation, kernel, strict=True)]
        gradient, reach = _spread(gradient, lengths, reach, geometry.stride), (0,) * len(kernel)
    mirrored = weight.flip(tuple(range(2, weight.ndim)))
    if geometry.groups == 1:
        mirrored = mirrored.transpose(0, 1).contiguous()
    ones = (1,) * len(kernel)
    return _forward(gradient, mirrored, Geometry(ones, reach, geometry.dilation, geometry.groups))


def _spread(images: Tensor, lengths: Sequence[int], first: Sequence[int], steps: Sequence[int]) -> Tensor:
    """Images of these lengths, zero but for the pixels given, which lie `steps` apart from `first` on."""
    inner = images.movedim(1, -1)
    wide = inner.new_zeros(len(images), *lengths, images.shape[1])
    ends = [start + (n - 1) * step + 1 for start, n, step in zip(first, images.shape[2:], steps, strict=True)]
    places = tuple(slice(*axis) for axis in zip(first, ends, steps, strict=True))
    wide[(slice(None), *places)] = inner
    return wide.movedim(-1, 1)


def _to_weight(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    depthwise = is_depthwise(weight, geometry)
    windows = gradient[:, 0].numel() * weight[0, 0].numel() * images.shape[1]
    if is_small(windows, FEW_NUMBERS) and (depthwise or geometry.groups == 1):
        return _from_windows(gradient, images, weight, geometry)
    if depthwise:
        return depthwise_gradient(gradient, images, weight, geometry)
    if _library_is_plain(images, weight, geometry) and max(geometry.stride) == 1 and gradient.shape[2] > 1:
        return _from_halves(gradient, images, weight, geometry)
    return library_gradients(gradient, images, weight, geometry, by_images=False)


def _from_windows(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """From all windows that the kernel meets, side by side."""
    upper = gradient.movedim(1, -1).flatten(0, -2)
    windows = pad(images.movedim(1, -1), (0, 0, *(side for p in reversed(geometry.padding) for side in (p, p))))
    for axis, (size, stride, dilation) in enumerate(
        zip(weight.shape[2:], geometry.stride, geometry.dilation, strict=True), start=1
    ):
        windows = windows.unfold(axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
    taps = windows.movedim(images.ndim - 1, -1).flatten(0, images.ndim - 2).flatten(1, -2)  # [position, tap, channel]
    if geometry.groups > 1:
        found = (taps * upper.unsqueeze(1)).sum(0).unsqueeze(0).transpose(0, 2)  # [channel, tap, 1]
    else:
        found = (upper.t() @ taps.flatten(1)).unflatten(1, taps.shape[1:])
    result: Tensor = found.unflatten(1, weight.shape[2:]).movedim(-1, 1)
    return result


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
    return library_gradients(gradients, both, weight, inner, by_images=False)


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
    terms = (library(planes, kernel, _flat(geometry)) for planes, kernel in taps)
    total = reduce(Tensor.add_, terms)
    volumes: Tensor = total.unflatten(0, (len(images), depth)).transpose(1, 2)
    return volumes
