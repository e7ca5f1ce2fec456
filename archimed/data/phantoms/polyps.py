"""`polyps`: segmentation of one polyp on the folded wall of a bowel, in colour.

Hard because the polyp has the colour of the wall, the light falls off from a moving centre, folds and bulges cast the
same shadows, and white reflections cover it. Small polyps fill 1 % of the image, large ones a quarter.
"""

import numpy as np
import torch
from jaxtyping import Float

from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, shots
from archimed.data.phantoms.options import Form, PhantomOptions
from archimed.data.phantoms.segmentation import segmentation_dataset
from archimed.data.phantoms.shapes import (
    Field,
    Grid,
    as_bytes,
    distance_to_curve,
    edge,
    ellipsoid,
    grid,
    hill,
    smooth_curve,
    smooth_noise,
    turned,
)

FORM = Form(cases=400)
MOST_FRAMES = 4  # of a patient


def polyps(options: PhantomOptions, seed: int) -> Dataset:
    """Background (0) and polyp (1), one to four frames per patient, with the polyp's share of each frame."""
    count, size = options.fill(FORM)
    drawn = shots("polyps", seed, count, MOST_FRAMES)
    images = torch.empty(count, 3, size, size, dtype=torch.uint8)
    masks = torch.empty(count, size, size, dtype=torch.uint8)
    for row, shot in enumerate(drawn):
        image, level = _draw(shot, size)
        images[row] = torch.from_numpy(as_bytes(image))
        masks[row] = torch.from_numpy((level <= 1).astype(np.uint8))
    areas = masks.float().mean((1, 2)).tolist()
    return segmentation_dataset("polyps", ("background", "polyp"), drawn, images, masks, areas)


def _draw(shot: Shot, size: int) -> tuple[Float[np.ndarray, "3 size size"], Field]:
    """The image, and the level of each pixel in the polyp: 1 at its outline."""
    scene, rng, shape = shot.scene, shot.view, (size, size)
    at = grid(shape)
    colour = np.array([0.78, 0.42, 0.34]) + scene.normal(0, 0.05, 3)
    tint = scene.normal(0, 0.02, 3) + scene.uniform(-0.05, 0.05)
    radii = np.exp(scene.uniform(np.log(0.06), np.log(0.25))) * scene.uniform(0.8, 1.25, 2) * rng.uniform(0.85, 1.15)
    rough = scene.uniform(0.03, 0.1)
    place = rng.uniform(0.2, 0.8, 2)
    level = ellipsoid(turned(at, place, rng.uniform(0, np.pi)), place, radii) + rough * smooth_noise(rng, shape, 6)
    light = 0.62 + 0.5 * hill(at, rng.uniform(0.2, 0.8, 2), rng.uniform(0.3, 0.5, 2))
    light = light * (1 + _folds(at, rng) * edge(level - 0.9, 0.3)) * (1 + _bulges(at, rng))
    light = light * (1 - rng.uniform(0.3, 0.8) * hill(at, rng.uniform(-0.1, 1.1, 2), rng.uniform(0.1, 0.25, 2)))
    dome = np.sqrt(np.clip(1 - level**2, 0, 1))  # a half ball, lit from one side
    slopes = rng.uniform(-0.14, 0.14, 2) / radii
    side = (at[0] - place[0]) * slopes[0] + (at[1] - place[1]) * slopes[1]
    shade = edge(1 - level, 0.1) * (0.2 * dome + side - 0.12) - 0.16 * np.exp(-(((level - 1.06) / 0.12) ** 2))
    wall = 0.05 * smooth_noise(rng, shape, 4) + 0.035 * smooth_noise(rng, shape, 13)
    red = _veins(at, rng) * edge(level - 1, 0.2)
    image: Field = np.empty((3, *shape), dtype=np.float32)
    for channel in range(3):
        body = colour[channel] + tint[channel] * edge(1 - level, 0.2) - (0, 0.1, 0.1)[channel] * red
        image[channel] = body * light * (1 + shade + wall)
    image = image + _reflections(at, level, place, radii, rng)
    return image + 0.02 * shot.grain.standard_normal(image.shape, dtype=np.float32), level


def _folds(at: Grid, rng: np.random.Generator) -> Field:
    """Ridges across the bowel: long curves, light on one flank and dark on the other."""
    total = np.zeros((at[0].size, at[1].size), dtype=np.float32)
    angle = rng.uniform(0, np.pi)
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    for _ in range(rng.integers(2, 5)):
        middle = 0.5 + across * rng.uniform(-0.5, 0.5)
        curve = smooth_curve(rng, middle - 0.8 * along, middle + 0.8 * along, 0.07, 10)
        width, height = rng.uniform(0.02, 0.05), rng.uniform(0.1, 0.3)
        ridge = np.exp(-((distance_to_curve(at, curve) / width) ** 2))
        beside = np.exp(-((distance_to_curve(at, curve + 1.3 * width * across) / width) ** 2))
        total += height * (ridge - 1.2 * beside)
    return total


def _bulges(at: Grid, rng: np.random.Generator) -> Field:
    """Rounded parts of the wall that are no polyp: lit like one, but without an outline."""
    total = np.zeros((at[0].size, at[1].size), dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        place, width = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.14, 2)
        total += rng.uniform(0.15, 0.35) * hill(turned(at, place, rng.uniform(0, 3)), place, width)
    return total


def _veins(at: Grid, rng: np.random.Generator) -> Field:
    """Fine red lines, 0 to 1."""
    total = np.zeros((at[0].size, at[1].size), dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        curve = smooth_curve(rng, rng.uniform(0, 1, 2), rng.uniform(0, 1, 2), 0.1, 6)
        np.maximum(total, np.exp(-((distance_to_curve(at, curve) / 0.01) ** 2)), out=total)
    return total


def _reflections(
    at: Grid, level: Field, place: Float[np.ndarray, "2"], radii: Float[np.ndarray, "2"], rng: np.random.Generator
) -> Field:
    """White spots: most anywhere, some on the polyp."""
    total = np.zeros_like(level)
    for number in range(rng.integers(4, 12)):
        centre = place + rng.uniform(-0.6, 0.6, 2) * radii if number < 2 else rng.uniform(0, 1, 2)
        spot = ellipsoid(turned(at, centre, rng.uniform(0, 3)), centre, rng.uniform(0.008, 0.026, 2))
        np.maximum(total, 0.7 * edge(1 - spot, 0.6), out=total)
    return total
