"""Change of image size: antialiased where images shrink, in the number type they are stored in."""

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional

CHUNK = 128  # images resized at a time
LIMITS = {torch.uint8: 255, torch.uint16: 65535}


def resize(images: Shaped[Tensor, "case channel *space"], side: int) -> Shaped[Tensor, "case channel *space"]:
    """All images at `side` pixels per axis: bicubic with antialiasing in 2D, mean (down) or trilinear (up) in 3D."""
    size = (side,) * (images.ndim - 2)
    if tuple(images.shape[2:]) == size:
        return images
    resized = torch.empty(*images.shape[:2], *size, dtype=images.dtype)
    for start in range(0, len(images), CHUNK):
        values = _interpolate(images[start : start + CHUNK].to(torch.float32), size)
        if images.dtype in LIMITS:
            values = values.round_().clamp_(0, LIMITS[images.dtype])
        resized[start : start + CHUNK] = values.to(images.dtype)
    return resized


def _interpolate(values: Tensor, size: tuple[int, ...]) -> Tensor:
    if len(size) == 2:
        return functional.interpolate(values, size=size, mode="bicubic", antialias=True)
    if all(new <= old for new, old in zip(size, values.shape[2:], strict=True)):
        return functional.adaptive_avg_pool3d(values, (size[0], size[1], size[2]))
    return functional.interpolate(values, size=size, mode="trilinear")
