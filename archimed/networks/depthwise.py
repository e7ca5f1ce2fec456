"""Gradients of depthwise convolutions by their weights, on a CPU, in the form that is fastest for their shape.

One AVX-512 core, torch 2.13, milliseconds, batches of 8 channels last, the library's strips of columns and ours:
72 channels of 8 x 16 x 16, kernel 7: 50 and 17; 576 of 4 x 4 x 4: 19 and 2.4; 768 of 6 x 6 x 6: 95 and 13.
"""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor
from torch.nn.functional import pad

from archimed.networks.library_convolution import Geometry, is_small, library, library_gradients

FAST_COLUMNS = 3  # of a depthwise kernel, up to which oneDNN's gradient by the weights is fast
SLOW_COLUMNS = (12, 13)  # of a depthwise kernel as wide as a map, at which oneDNN's convolution is slow
LEAST_WINDOWS = {2: 2**22, 3: 2**19}  # numbers in those of one image or volume, for which a map is a good kernel
LARGE_IMAGE = 2**18  # numbers, from which images one by one stay in a processor's cache


def depthwise_gradient(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The gradient by the weights [channel, 1, *kernel] of a convolution with one filter per channel, 2D or 3D."""
    axes = 2 if images.ndim == 4 or weight.shape[2] == 1 else 3
    windows = gradient[0].numel() * weight[0].numel()
    wide = weight.shape[-1] > FAST_COLUMNS and not is_small(windows, LEAST_WINDOWS[axes])
    if wide and max(geometry.stride) == max(geometry.dilation) == 1:
        return _from_maps(gradient, images, weight, geometry)
    if not is_small(images[0].numel(), LARGE_IMAGE):
        return _one_by_one(gradient, images, weight, geometry)
    return _in_strips(gradient, images, weight, geometry)


def _from_maps(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The sum over images of each convolved with its own gradient as the kernel: oneDNN's forward form is its fastest.

    Its result, with the padding of the convolution itself, is as large as that convolution's kernel.
    """
    columns, reach = gradient.shape[-1], weight.shape[-1] - 1
    margin, ones = geometry.padding[-1], (1,) * len(geometry.stride)
    width, padding = columns, geometry.padding
    if columns in SLOW_COLUMNS:
        width, padding = (columns + 1) // 2, (*geometry.padding[:-1], 0)
        images = pad(images.movedim(1, -1), (0, 0, margin, margin)).movedim(-1, 1)
    inner = Geometry(ones, padding, ones, geometry.groups)
    terms = []
    for first in range(0, columns, width):
        kernels = gradient[..., first : first + width]
        read = images if width == columns else images[..., first : first + kernels.shape[-1] + reach]
        pairs = zip(read.split(1), kernels.unsqueeze(2), strict=True)  # a kernel is [channel, 1, *map]
        terms += [library(image, kernel, inner) for image, kernel in pairs]
    return reduce(Tensor.add, terms).transpose(0, 1)


def _one_by_one(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The sum over images, each of which stays in the processor's cache."""
    pairs = zip(gradient.split(1), images.split(1), strict=True)
    return reduce(Tensor.add, (_in_strips(upper, image, weight, geometry) for upper, image in pairs))


def _in_strips(gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """In 2D, tap by tap along the depth and in strips of columns.

    oneDNN is fast for kernels of up to three columns without dilation that have no more rows than the image. A dilated
    kernel joins pixels of one phase only, so the phases are a batch without dilation.
    """
    if images.ndim == 4:  # one plane
        deep = Geometry((1, *geometry.stride), (0, *geometry.padding), (1, *geometry.dilation), geometry.groups)
        volumes = gradient.unsqueeze(2), images.unsqueeze(2), weight.unsqueeze(2)
        return _in_strips(*volumes, deep).squeeze(2)
    # [depth, batch, *plane, channel]
    upper, lower = (part.permute(2, 0, 3, 4, 1).contiguous() for part in (gradient, images))
    (step, *stride), (margin, *padding), (reach, *dilation) = geometry.stride, geometry.padding, geometry.dilation
    rows, columns = weight.shape[3:]
    same = padding == [dilation[0] * (rows - 1) // 2, dilation[1] * (columns - 1) // 2]
    if max(stride) == 1 and max(dilation) > 1 and same:
        upper, lower = _phases(upper, dilation), _phases(lower, dilation)
        padding, dilation = [(rows - 1) // 2, (columns - 1) // 2], [1, 1]
    split = max(stride) == max(dilation) == 1 and columns > FAST_COLUMNS
    width = FAST_COLUMNS if split else columns
    margins = [padding[0] if split and rows > lower.shape[2] else 0, padding[1] if split else 0]
    lower = pad(lower, (0, 0, margins[1], margins[1], margins[0], margins[0], 0, 0, margin, margin))
    inner = Geometry(
        tuple(stride), (padding[0] - margins[0], padding[1] - margins[1]), tuple(dilation), geometry.groups
    )
    strips = []
    for first, strip in zip(range(0, columns, width), weight.split(width, dim=4), strict=True):
        read = lower[:, :, :, first : first + upper.shape[3] + strip.shape[4] - 1].contiguous() if split else lower
        starts = (tap * reach for tap in range(weight.shape[2]))
        taps = [read[start : start + (len(upper) - 1) * step + 1 : step] for start in starts]
        layers = zip(taps, strip.unbind(2), strict=True)
        found = [
            library_gradients(_as_images(upper), _as_images(tap), layer, inner, by_images=False)
            for tap, layer in layers
        ]
        strips.append(torch.stack(found, dim=2))
    return torch.cat(strips, dim=4)


def _as_images(planes: Tensor) -> Tensor:
    """[depth, batch, *plane, channel] to [depth x batch, channel, *plane]."""
    return planes.flatten(0, 1).movedim(-1, 1)


def _phases(planes: Tensor, steps: Sequence[int]) -> Tensor:
    """[depth, batch, height, width, channel] to [depth, phases x batch, height / step, width / step, channel]."""
    margins = [-size % step for size, step in zip(planes.shape[2:4], steps, strict=True)]
    planes = pad(planes, (0, 0, 0, margins[1], 0, margins[0]))
    every = ((row, column) for row in range(steps[0]) for column in range(steps[1]))
    return torch.cat([planes[:, :, row :: steps[0], column :: steps[1]] for row, column in every], dim=1)
