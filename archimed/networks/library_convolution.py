"""The library's own convolution and its gradients, and what the forms beside it share."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_as_if_large: ContextVar[bool] = ContextVar("as_if_large", default=False)


@contextmanager
def forms_of_large_images() -> Iterator[None]:
    """Small images are computed as large ones are, so that their memory, scaled up, is that of large ones."""
    token = _as_if_large.set(True)
    try:
        yield
    finally:
        _as_if_large.reset(token)


def is_small(numbers: int, limit: int) -> bool:
    """Whether so many numbers are few enough for a form that suits few."""
    return numbers <= limit and not _as_if_large.get()


@dataclass(frozen=True)
class Geometry:
    """Stride, padding, dilation of each axis, and groups."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def library(images: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution in the form that PyTorch chooses."""
    result: Tensor = torch.ops.aten.convolution(images, weight, None, *_arguments(geometry))
    return result


def _arguments(geometry: Geometry) -> tuple[Any, ...]:
    axes = len(geometry.stride)
    return geometry.stride, geometry.padding, geometry.dilation, False, [0] * axes, geometry.groups


def library_gradients(
    gradient: Tensor, images: Tensor, weight: Tensor, geometry: Geometry, *, by_images: bool
) -> Tensor:
    """Its gradient by the images, or by the weight, in the form that PyTorch chooses."""
    wanted = [by_images, not by_images, False]
    results = torch.ops.aten.convolution_backward(gradient, images, weight, None, *_arguments(geometry), wanted)
    result: Tensor = results[0 if by_images else 1]
    return result


def is_depthwise(weight: Tensor, geometry: Geometry) -> bool:
    """Whether each channel has one filter of its own."""
    return 1 < geometry.groups == len(weight) and weight.shape[1] == 1
