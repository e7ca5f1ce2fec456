"""Patches: their size, their place, and that image and mask stay together."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.errors import SettingsError
from archimed.training.machine import Machine
from archimed.training.patches import PatchSampler, patch_size
from archimed.training.recipe import Recipe
from archimed.training.steps import NormalisedImages

COUNT = 400


@dataclass(frozen=True)
class Examples:
    images: Arrays
    target: Tensor
    masks: Arrays


def numbered(*spaces: tuple[int, ...]) -> tuple[Arrays, Arrays]:
    """Images that hold the number of each pixel, and masks of its last digit in base three."""
    images = [torch.arange(np.prod(space), dtype=torch.float32).view(1, *space) for space in spaces]
    return Arrays.of(images), Arrays.of([(image[0] % 3).to(torch.uint8) for image in images])


@pytest.mark.parametrize(
    ("spaces", "asked", "size"),
    [
        ([(120, 120)] * 3, None, (120, 120)),  # one size: whole images
        ([(120, 120), (88, 90), (119, 120)], None, (112, 128)),  # the medians 119 and 120 to the nearest 16
        ([(7, 40), (3, 41)], None, (16, 48)),
        ([(960, 999)] * 2, None, (512, 512)),  # more than 2^18 pixels
        ([(43, 58, 43), (24, 40, 31), (35, 50, 35)], None, (32, 48, 32)),
        ([(512, 512, 90)] * 2, None, (144, 144, 96)),
        ([(120, 120)] * 3, 64, (64, 64)),
        ([(35, 50, 35)], (16, 32, 8), (16, 32, 8)),
    ],
)
def test_the_size_of_a_patch(
    spaces: list[tuple[int, ...]], asked: int | tuple[int, ...] | None, size: tuple[int, ...]
) -> None:
    assert patch_size([(3, *space) for space in spaces], Recipe(patch_size=asked)) == size


def test_a_patch_has_as_many_axes_as_the_images() -> None:
    with pytest.raises(SettingsError, match=r"2 axes, and it is \[8, 8, 8\]\. Give 2 numbers or one"):
        patch_size([(1, 20, 20)], Recipe(patch_size=(8, 8, 8)))


@pytest.mark.parametrize("spaces", [[(9, 12), (20, 7)], [(3, 4), (1, 5)], [(6, 5, 7), (2, 9, 4)]])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_patches_are_parts_of_the_mirrored_image_with_their_mask(spaces: list[tuple[int, ...]], share: float) -> None:
    images, masks = numbered(*spaces)
    size = (6, 8, 5)[: len(spaces[0])]
    rows = torch.arange(COUNT) % 2
    found, labels = PatchSampler(images, masks, size, share).take(rows, torch.Generator().manual_seed(1))
    assert found.shape == (COUNT, 1, *size)
    assert torch.equal(labels, (found[:, 0] % 3).to(torch.uint8))
    for row in (0, 1):
        possible = [patch.tobytes() for patch in mirrored_parts(images[row][0].numpy(), size)]
        seen = {patch.numpy().tobytes() for patch in found[rows == row, 0]}
        assert seen <= set(possible)
        assert share or len(seen) > 0.9 * len(set(possible))


def mirrored_parts(image: np.ndarray, size: tuple[int, ...]) -> list[np.ndarray]:
    """Every patch: along each axis all places within the image, or, of a shorter one, that with the image amid."""
    beyond = [max(0, patch - side) for side, patch in zip(image.shape, size, strict=True)]
    wide = np.pad(image, [(more - more // 2, more // 2) for more in beyond], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(wide, size)
    return [np.ascontiguousarray(window) for window in windows.reshape(-1, *size)]


def test_a_share_of_the_patches_is_centred_on_foreground_each_class_alike() -> None:
    mask = torch.zeros(40, 40, dtype=torch.uint8)
    mask[10, 10], mask[25:29, 20:30] = 1, 2
    image = torch.arange(1600, dtype=torch.float32).view(1, 40, 40)
    sampler = PatchSampler(Arrays.of([image]), Arrays.of([mask]), (5, 5), 1 / 3)
    labels = sampler.take(torch.zeros(3000, dtype=torch.int64), torch.Generator().manual_seed(0))[1]
    middle = labels[:, 2, 2]
    for label, elsewhere in ((1, 1 / 1296), (2, 40 / 1296)):  # of the 36 x 36 places
        assert float((middle == label).float().mean()) == pytest.approx(1 / 6 + 2 / 3 * elsewhere, abs=0.02)


def test_without_foreground_any_place_will_do() -> None:
    images, masks = Arrays.of([torch.rand(1, 9, 9)]), Arrays.of([torch.zeros(9, 9, dtype=torch.uint8)])
    found, _ = PatchSampler(images, masks, (4, 4), 1.0).take(torch.tensor([0, 0]), torch.Generator().manual_seed(0))
    assert not torch.equal(found[0], found[1])


def test_the_generator_decides() -> None:
    images, masks = numbered((9, 12), (20, 7))
    sampler, rows = PatchSampler(images, masks, (4, 4), 1 / 3), torch.tensor([1, 0, 1])
    first, again, other = (sampler.take(rows, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_hold_masks_as_targets_whole_or_by_patches() -> None:
    images, masks = numbered((8, 8), (8, 8), (8, 8))
    examples = Examples(images, torch.ones(3, 3), masks)
    rows, machine = torch.tensor([2, 0]), Machine(1)
    whole, target = NormalisedImages(examples, torch.neg, machine, (8, 8)).batch(rows)
    assert torch.equal(whole, -images.take(rows))
    assert target.dtype == torch.int64
    assert torch.equal(target, masks.take(rows).long())
    parts, target = NormalisedImages(examples, torch.neg, machine, (4, 12)).batch(
        rows, torch.Generator().manual_seed(3)
    )
    assert parts.shape == (2, 1, 4, 12)
    assert torch.equal(target, (-parts[:, 0] % 3).long())
