"""Images and their masks changed at random before a training step: turned over, turned, shifted, brighter, noisier.

Only what a network trains on is changed: validation and test images never are, nor what a `Fitted` network reads.
"""

import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from torch import Tensor

from archimed.batch import of_pixels
from archimed.seeding import derive_seed, torch_generator
from archimed.training.patches import WHOLE
from archimed.training.recipe import Recipe


def augments(recipe: Recipe) -> bool:
    """Whether the recipe changes images at all."""
    return bool(
        recipe.augment_flips
        or recipe.augment_turns
        or recipe.augment_shift
        or recipe.augment_scale
        or recipe.augment_offset
        or recipe.augment_noise
    )


def augment(
    images: Float[Tensor, "batch channel *space"],
    target: Num[Tensor, "batch *rest"],
    recipe: Recipe,
    seed: int,
    epoch: int,
    step: int,
    *,
    has_region: bool = False,
    cases: int | None = None,
    part: slice = WHOLE,
) -> tuple[Float[Tensor, "batch channel *space"], Num[Tensor, "batch *rest"]]:
    """Normalised images as one step sees them, on their device and in their memory layout, and their target.

    A target that tells of pixels is turned over, turned and shifted exactly as its image is; others stay as they are. A
    region, the last channel if there is one, is moved too, but keeps its values.

    What is drawn depends on the seed, epoch and step only: an interrupted training goes on with the same images, and
    every network of a run sees the same. Of a batch of so many `cases`, images and target may be that `part`; it is
    changed as it would be in the whole. Offsets and noise are in units of the spread of each channel of each image,
    as modalities may be normalised to unlike ranges. Noise is drawn on the device: a GPU's is another than
    a CPU's.
    """
    names = ("augmentation", epoch, step)
    generator, count = torch_generator(seed, *names), len(images) if cases is None else cases
    places = _places(images, recipe, generator, count, part)
    changed = torch.empty_like(images).copy_(_moved(images, places))
    images = images[:, : images.shape[1] - has_region]
    pictures = changed[:, : images.shape[1]]
    if recipe.augment_offset or recipe.augment_noise:
        spread = _per_channel(images.flatten(2).std(2, correction=0), images)
    shape = (count, images.shape[1])
    if recipe.augment_scale:
        pictures *= _per_channel(1 + recipe.augment_scale * _between_ones(shape, generator)[part], images)
    if recipe.augment_offset:
        pictures += spread * _per_channel(recipe.augment_offset * _between_ones(shape, generator)[part], images)
    if recipe.augment_noise:
        strength = _per_channel(recipe.augment_noise * torch.rand(count, 1, generator=generator)[part], images)
        noise = torch.Generator(images.device).manual_seed(derive_seed(seed, *names, "noise"))
        drawn = torch.randn((count, *images.shape[1:]), generator=noise, device=images.device)[part]
        pictures += strength * spread * drawn
    return changed, _moved_target(target, images.ndim, places)


def _moved(images: Shaped[Tensor, "batch channel *space"], places: Tensor) -> Shaped[Tensor, "batch channel *space"]:
    """Every image read at the pixels that its flips, turn and shift name."""
    return images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1)).view(images.shape)


def _moved_target(target: Tensor, image_ndim: int, places: Tensor) -> Tensor:
    if not of_pixels(target):
        return target
    return _moved(target, places) if target.ndim == image_ndim else _moved(target[:, None], places)[:, 0]


def _places(
    images: Tensor, recipe: Recipe, generator: torch.Generator, count: int, part: slice
) -> Int[Tensor, "batch pixel"]:
    """The number of the pixel, row by row, from which each pixel of each image comes; the same in all its channels."""
    sizes = images.shape[2:]
    flips, swapped = (drawn[part] for drawn in _orientations(count, sizes, recipe, generator))
    shifts = _shifts(count, sizes, recipe, generator)[part]
    device, dims = images.device, len(sizes)
    along = [
        _sources(size, flips[:, axis], shifts[:, axis])
        .to(device, non_blocking=True)
        .view(len(images), *(size if other == axis else 1 for other in range(dims)))
        for axis, size in enumerate(sizes)
    ]
    if recipe.augment_turns and sizes[-1] == sizes[-2]:
        here = swapped.to(device, non_blocking=True).view(len(images), *(1,) * dims)
        along[-2:] = [torch.where(here, places.transpose(-1, -2), places) for places in along[-2:]]
    numbers = along[0]
    for size, places in zip(sizes[1:], along[1:], strict=True):
        numbers = numbers * size + places
    return numbers.flatten(1)


def _orientations(
    count: int, sizes: tuple[int, ...], recipe: Recipe, generator: torch.Generator
) -> tuple[Bool[Tensor, "batch axis"], Bool[Tensor, " batch"]]:
    """Which axes of each image are turned over, and whether its last two axes change places."""
    flips = torch.zeros(count, len(sizes), dtype=torch.bool)
    swapped = torch.zeros(count, dtype=torch.bool)
    if recipe.augment_flips:
        flips = torch.rand(flips.shape, generator=generator) < 1 / 2
    if recipe.augment_turns and sizes[-1] == sizes[-2]:
        quarters = torch.randint(4, (count,), generator=generator)
        swapped = quarters % 2 == 1
        flips[:, -1] ^= (quarters == 1) | (quarters == 2)
        flips[:, -2] ^= (quarters == 2) | (quarters == 3)
    return flips, swapped


def _shifts(
    count: int, sizes: tuple[int, ...], recipe: Recipe, generator: torch.Generator
) -> Int[Tensor, "batch axis"]:
    """Pixels by which each image moves along each axis."""
    if not recipe.augment_shift:
        return torch.zeros(count, len(sizes), dtype=torch.int64)
    most = torch.tensor([int(recipe.augment_shift * size) for size in sizes])
    drawn = torch.rand(count, len(sizes), generator=generator)
    return (drawn * (2 * most + 1)).floor().long() - most


def _sources(size: int, flip: Bool[Tensor, " batch"], shift: Int[Tensor, " batch"]) -> Int[Tensor, "batch pixel"]:
    """Where along one axis each pixel comes from; beyond the border lies the border's pixel."""
    straight = (torch.arange(size) - shift[:, None]).clamp(0, size - 1)
    return torch.where(flip[:, None], size - 1 - straight, straight)


def _between_ones(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers from -1 to 1."""
    return 2 * torch.rand(shape, generator=generator) - 1


def _per_channel(numbers: Float[Tensor, "batch channel"], images: Tensor) -> Tensor:
    return numbers.to(images.device, non_blocking=True).view(*numbers.shape, *(1,) * (images.ndim - 2))
