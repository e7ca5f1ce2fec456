"""Images of any size to one size, and volumes cropped to a region of interest."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.preparation.resizing import resize
from archimed.data.volume import Volume
from archimed.errors import DataError


def fit(
    pixels: Shaped[Tensor, "channel *space"],
    size: Sequence[int],
    how: Literal["resize", "crop-or-pad"],
    *,
    nearest: bool,
    fill: float | None = None,
) -> Shaped[Tensor, "channel *size"]:
    """One image at `size`, in the number type it has.

    Args:
        pixels: an image or, as one channel, a mask.
        size: pixels along each axis of space.
        how: resize, which stretches; or crop-or-pad, which keeps the middle of what is too long and surrounds what is
            too short, one more pixel at the end where the difference is odd.
        nearest: True for masks.
        fill: the value around the image; None takes the smallest of each channel, 0 for masks.
    """
    if how == "resize":
        return resize(pixels[None], size, nearest=nearest)[0]
    taken, put = [], []
    for old, new in zip(pixels.shape[1:], size, strict=True):
        before, after, common = max((old - new) // 2, 0), max((new - old) // 2, 0), min(old, new)
        taken.append(slice(before, before + common))
        put.append(slice(after, after + common))
    fitted = np.empty((len(pixels), *size), pixels.numpy().dtype)
    for channel, values in enumerate(pixels.numpy()):
        around = fill if fill is not None else 0 if nearest else values.min()
        fitted[channel] = around
        fitted[channel][tuple(put)] = values[tuple(taken)]
    return torch.from_numpy(fitted)


def fit_step(
    old_size: Sequence[int], size: Sequence[int], how: Literal["resize", "crop-or-pad"]
) -> Float[np.ndarray, "axes axes"]:
    """From indices of an image once it is fitted to a size (see `fit`) to its indices before, homogeneous."""
    axes = len(old_size)
    step = np.eye(axes + 1)
    for axis, (old, new) in enumerate(zip(old_size, size, strict=True)):
        if how == "resize":  # the ends of the image stay where they are
            step[axis, axis], step[axis, axes] = old / new, (old / new - 1) / 2
        else:
            step[axis, axes] = max((old - new) // 2, 0) - max((new - old) // 2, 0)
    return step


def region_box(
    region: Shaped[np.ndarray, "*space"], spacing: tuple[float, ...] | None, margin_mm: float, origin: str = "a case"
) -> tuple[slice, ...]:
    """The bounding box of what is above 0, with a margin on every side, within the image.

    Args:
        region: a mask.
        spacing: millimetres per axis; None counts the margin in pixels.
        margin_mm: rounded up to whole pixels.
        origin: whose region it is, for the message.

    Raises:
        DataError: if nothing is above 0.
    """
    box = []
    for axis, length in enumerate(region.shape):
        inside = np.flatnonzero((region > 0).any(tuple(other for other in range(region.ndim) if other != axis)))
        if not len(inside):
            raise DataError(
                f"A region of interest must hold at least one pixel; that of {origin} is empty. "
                "Draw it, or leave the case out."
            )
        margin = int(np.ceil(margin_mm / (spacing[axis] if spacing else 1.0) - 1e-6))
        box.append(slice(max(0, int(inside[0]) - margin), min(length, int(inside[-1]) + 1 + margin)))
    return tuple(box)


def crop(volume: Volume, box: tuple[slice, ...]) -> Volume:
    """What lies in the box, where it lies."""
    affine = None if volume.affine is None else volume.affine.copy()
    if affine is not None:
        affine[:, 3] = affine @ [*(part.start for part in box), 1]
    return replace(volume, pixels=np.ascontiguousarray(volume.pixels[(slice(None), *box)]), affine=affine)


def crop_to_region(
    volume: Volume, region_mask: Shaped[np.ndarray, "*space"], margin_mm: float, origin: str = "a case"
) -> Volume:
    """The volume cropped to a region on its own grid; see `region_box`."""
    return crop(volume, region_box(region_mask, volume.spacing, margin_mm, origin))
