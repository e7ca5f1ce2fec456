"""`cells`: segmentation of touching cells into cytoplasm and nucleus.

Hard because stains differ from patient to patient (cytoplasm lighter or darker than the background, nuclei lighter or
darker than that), cells of one image differ as well, the light is uneven, and debris is as bright as a nucleus.
"""

import numpy as np
import torch
from jaxtyping import UInt8

from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, shots
from archimed.data.phantoms.options import Form, PhantomOptions
from archimed.data.phantoms.segmentation import segmentation_dataset
from archimed.data.phantoms.shapes import (
    Field,
    as_bytes,
    edge,
    ellipsoid,
    grid,
    hill,
    scattered,
    smooth_noise,
    turned,
)

FORM = Form(cases=400)
CLASSES = ("background", "cytoplasm", "nucleus")


def cells(options: PhantomOptions, seed: int) -> Dataset:
    """Background (0), cytoplasm (1) and nucleus (2), one or two fields per patient with the same stain."""
    count, size = options.fill(FORM)
    drawn = shots("cells", seed, count)
    images = torch.empty(count, 1, size, size, dtype=torch.uint8)
    masks = torch.empty(count, size, size, dtype=torch.uint8)
    for row, shot in enumerate(drawn):
        image, mask = _draw(shot, size)
        images[row, 0] = torch.from_numpy(as_bytes(image))
        masks[row] = torch.from_numpy(mask)
    return segmentation_dataset("cells", CLASSES, drawn, images, masks)


def _draw(shot: Shot, size: int) -> tuple[Field, UInt8[np.ndarray, "size size"]]:
    """The image and the class of each pixel."""
    stain, rng, shape = shot.scene, shot.view, (size, size)
    cytoplasm = stain.uniform(0.07, 0.2) * stain.choice((-1, 1))
    nucleus = stain.uniform(0.1, 0.22) * stain.choice((-1, 1))
    large, crowding, membrane = stain.uniform(0.075, 0.12), stain.uniform(1.1, 1.6), stain.uniform(-0.12, 0.05)
    owner, level, gap, core = _cells(rng, size, large, crowding)
    each = rng.normal(0, 0.045, (2, int(owner.max()) + 1))[:, owner]  # cells and nuclei differ from one another
    ground = rng.uniform(0.4, 0.6) + 0.1 * smooth_noise(rng, shape, 1) + 0.02 * smooth_noise(rng, shape, 4)
    within = edge(1 - level, 0.18)
    grains = 0.03 * smooth_noise(rng, shape, 24) + 0.03 * smooth_noise(rng, shape, 12)
    image = ground + within * (cytoplasm + each[0] + grains)
    image = image + membrane * within * np.exp(-((np.minimum(gap, 1 - level) / 0.14) ** 2))
    image = image + edge(1 - core, 0.3) * (nucleus + each[1] + 1.5 * grains)
    image = _with_debris(image, rng) + 0.025 * shot.grain.standard_normal(shape, dtype=np.float32)
    mask = np.where(core <= 1, 2, np.where(level <= 1, 1, 0)).astype(np.uint8)
    return image, mask


def _cells(
    rng: np.random.Generator, size: int, large: float, crowding: float
) -> tuple[UInt8[np.ndarray, "size size"], Field, Field, Field]:
    """Which cell owns each pixel; the pixel's level in it (1 at the outline), in the gap to the next, in the nucleus.

    A pixel belongs to the cell in which it lies deepest, so touching cells share a straight border.
    """
    at, shape = grid((size, size)), (size, size)
    wavy = 0.07 * smooth_noise(rng, shape, 9)
    centres = scattered(rng, int(rng.integers(6, 32)), (-0.05, -0.05), (1.05, 1.05), crowding * large)
    owner = np.zeros(shape, dtype=np.uint8)
    level, second, core = np.full((3, *shape), 9, dtype=np.float32)
    for number, centre in enumerate(centres):
        radii = large * rng.uniform(0.8, 1.25, 2)
        own = ellipsoid(turned(at, centre, rng.uniform(0, np.pi)), centre, radii) + wavy
        middle = centre + rng.uniform(-0.25, 0.25, 2) * radii
        inner = radii.min() * rng.uniform(0.4, 0.6) * rng.uniform(0.85, 1.15, 2)
        kernel = ellipsoid(turned(at, middle, rng.uniform(0, np.pi)), middle, inner) + 0.5 * wavy
        deeper = own < level
        second = np.where(deeper, level, np.minimum(second, own))
        owner, level = np.where(deeper, number, owner), np.where(deeper, own, level)
        core = np.where(deeper, kernel, core)
    return owner.astype(np.uint8), level, second - level, np.maximum(core, level + 0.15)


def _with_debris(image: Field, rng: np.random.Generator) -> Field:
    """A few specks and smears of the brightness of nuclei."""
    at = grid((image.shape[0], image.shape[1]))
    for _ in range(rng.integers(1, 7)):
        place, width = rng.uniform(0, 1, 2), rng.uniform(0.008, 0.035, 2)
        strength = rng.uniform(0.12, 0.3) * rng.choice((-1, 1))
        image = image + strength * hill(turned(at, place, rng.uniform(0, np.pi)), place, width)
    return image
