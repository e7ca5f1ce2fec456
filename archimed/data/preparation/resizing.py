"""Change of image size: antialiased where images shrink, in the number type they are stored in."""

from collections.abc import Sequence

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional

CHUNK = 128  # images resized at a time
LIMITS = {torch.uint8: (0, 255), torch.uint16: (0, 65535), torch.int16: (-32768, 32767)}


def resize(
    images: Shaped[Tensor, "case channel *space"], size: int | Sequence[int], *, nearest: bool = False
) -> Shaped[Tensor, "case channel *size"]:
    """All images at `size` pixels per axis or along each axis.

    Bicubic with antialiasing in 2D; in 3D mean along the axes that shrink, then trilinear along those that grow; the
    pixel that lies nearest, for masks, if `nearest`.
    """
    size = (size,) * (images.ndim - 2) if isinstance(size, int) else tuple(size)
    if tuple(images.shape[2:]) == size:
        return images
    if nearest:
        return _nearest(images, size)
    resized = torch.empty(*images.shape[:2], *size, dtype=images.dtype)
    for start in range(0, len(images), CHUNK):
        values = _interpolate(images[start : start + CHUNK].to(torch.float32), size)
        if images.dtype in LIMITS:
            values = values.round_().clamp_(*LIMITS[images.dtype])
        resized[start : start + CHUNK] = values.to(images.dtype)
    return resized


def _interpolate(values: Tensor, size: tuple[int, ...]) -> Tensor:
    if len(size) == 2:
        return functional.interpolate(values, size=size, mode="bicubic", antialias=True)
    depth, height, width = (min(new, old) for new, old in zip(size, values.shape[2:], strict=True))
    values = _mean(values, (depth, height, width))
    return values if values.shape[2:] == size else functional.interpolate(values, size=size, mode="trilinear")


def _mean(values: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Mean over the part of each voxel that a new, larger voxel covers."""
    if all(old % new == 0 for old, new in zip(values.shape[2:], size, strict=True)):
        return functional.adaptive_avg_pool3d(values, size)  # which moves structures by half a voxel at odd ratios
    for axis, new in enumerate(size, start=2):
        old = values.shape[axis]
        edges = torch.linspace(0, old, new + 1, dtype=torch.float64)
        ends = torch.minimum(edges[1:, None], torch.arange(1, old + 1))
        covered = (ends - torch.maximum(edges[:-1, None], torch.arange(old))).clamp_(min=0)
        weights = (covered * new / old).to(values.dtype)
        values = torch.tensordot(values, weights, dims=([axis], [1])).movedim(-1, axis)
    return values.contiguous()


def _nearest(images: Tensor, size: tuple[int, ...]) -> Tensor:
    for axis, new in enumerate(size, start=2):
        old = images.shape[axis]
        rows = (torch.arange(new) * 2 + 1) * old // (2 * new)  # the pixel that holds the middle of the new one
        images = torch.from_numpy(images.numpy().take(rows.numpy(), axis))
    return images
