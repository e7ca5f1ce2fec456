"""Parts of images that a network trains on where whole images differ in size or are too large, and their masks."""

import math
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from archimed.data.arrays import Arrays, Shape
from archimed.errors import SettingsError
from archimed.training.recipe import Recipe

LARGEST = {2: 2**18, 3: 2**21}  # pixels of a patch that nobody asked for, by axes
STEP = 16  # its sides are multiples of this, as networks of four halvings like them
WHOLE = slice(None)
PLACES_KEPT = 10_000  # foreground pixels remembered of each class of each image (nnU-Net)


def patch_size(shapes: Sequence[Shape], recipe: Recipe) -> tuple[int, ...]:
    """Pixels per axis of what a network trains on: the whole image, or a part of it.

    Args:
        shapes: [channel, *space] of the training images.
        recipe: `patch_size` is read.

    Raises:
        SettingsError: the recipe names another number of axes.
    """
    spaces = [shape[1:] for shape in shapes]
    dims = len(spaces[0])
    if isinstance(recipe.patch_size, int):
        return (recipe.patch_size,) * dims
    if recipe.patch_size is not None:
        if len(recipe.patch_size) != dims:
            raise SettingsError(
                f"training.patch_size is one number or one per axis; the images have {dims} axes, and it is "
                f"{list(recipe.patch_size)}. Give {dims} numbers or one."
            )
        return recipe.patch_size
    if len(set(spaces)) == 1 and prod(spaces[0]) <= LARGEST[dims]:
        return spaces[0]
    medians = np.median(np.array(spaces), axis=0)
    sides = [max(STEP, int((side + STEP / 2) // STEP) * STEP) for side in medians.tolist()]
    while prod(sides) > LARGEST[dims]:
        sides[sides.index(max(sides))] -= STEP
    return tuple(sides)


class PatchSampler:
    """Draws one patch of one size from each image asked for, and the same pixels of its mask.

    An image smaller than the patch is mirrored at its borders, with its mask, as often as it takes.
    """

    def __init__(self, images: Arrays, masks: Arrays, size: tuple[int, ...], foreground_share: float) -> None:
        self.images = images
        self.masks = masks
        self.size = size
        self.foreground_share = foreground_share
        self._foreground: dict[int, list[NDArray[np.int32]]] = {}

    def take(
        self, cases: Int[Tensor, " case"], generator: torch.Generator, part: slice = WHOLE
    ) -> tuple[Shaped[Tensor, "part channel *size"], Shaped[Tensor, "part *size"]]:
        """Patches of some images, as stored, and of their masks; the generator says where.

        Of a part of the images they are where they would be of all.
        """
        drawn = torch.rand(len(cases), 3 + len(self.size), generator=generator, dtype=torch.float64)
        images, masks = [], []
        for case, chances in zip(cases[part].tolist(), drawn[part].tolist(), strict=True):
            image, mask = self.images[case], self.masks[case]
            start = self._start(case, mask, chances)
            images.append(_cut(image, start, self.size))
            masks.append(_cut(mask, start, self.size))
        return torch.stack(images), torch.stack(masks)

    def _start(self, case: int, mask: Tensor, chances: list[float]) -> list[int]:
        """The first pixel of the patch along each axis; below zero where the image is smaller."""
        whether, which, where, *places = chances
        free = [side - patch for side, patch in zip(mask.shape, self.size, strict=True)]
        starts = [int(chance * (most + 1)) for chance, most in zip(places, free, strict=True)]
        if whether < self.foreground_share and (classes := self._foreground_of(case, mask)):
            found = classes[int(which * len(classes))]
            pixel = np.unravel_index(int(found[int(where * len(found))]), tuple(mask.shape))
            starts = [int(at) - patch // 2 for at, patch in zip(pixel, self.size, strict=True)]
        return [min(max(start, 0), most) if most >= 0 else most // 2 for start, most in zip(starts, free, strict=True)]

    def _foreground_of(self, case: int, mask: Tensor) -> list[NDArray[np.int32]]:
        """Of each foreground class in the mask its pixels, counted row by row; of many every k-th."""
        if case not in self._foreground:
            flat = mask.numpy().ravel()
            pixels = np.flatnonzero(flat).astype(np.int32)
            classes = [pixels[flat[pixels] == number] for number in np.unique(flat[pixels])]
            self._foreground[case] = [found[:: math.ceil(len(found) / PLACES_KEPT)].copy() for found in classes]
        return self._foreground[case]


def _cut(array: Shaped[Tensor, "*shape"], start: Sequence[int], size: tuple[int, ...]) -> Shaped[Tensor, "*patch"]:
    """The patch at a place of the last axes, mirrored beyond the borders (the border pixel is not repeated)."""
    first = array.ndim - len(size)
    for axis, (begin, length) in enumerate(zip(start, size, strict=True), start=first):
        side = array.shape[axis]
        if begin >= 0 and begin + length <= side:
            array = array.narrow(axis, begin, length)
        else:
            array = array.index_select(axis, _mirrored(begin, length, side))
    return array


def _mirrored(begin: int, length: int, side: int) -> Int[Tensor, " pixel"]:
    """Pixel numbers begin, begin + 1, … walked back and forth between the borders."""
    period = max(1, 2 * (side - 1))
    place = torch.arange(begin, begin + length) % period
    return torch.minimum(place, period - place) if side > 1 else torch.zeros_like(place)
