"""`vessels`: segmentation of thin branching vessels, darker than what surrounds them or brighter.

Hard because the background varies more than the contrast, half of the patients have dark vessels (an eye) and half
bright ones (an angiography), the last branches are a pixel thin, and blobs and a bright disc look alike but branch not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, shots
from archimed.data.phantoms.options import Form, PhantomOptions
from archimed.data.phantoms.segmentation import segmentation_dataset
from archimed.data.phantoms.shapes import (
    Field,
    as_bytes,
    distance_to_segment,
    edge,
    ellipsoid,
    grid,
    hill,
    smooth_noise,
    turned,
)

FORM = Form(cases=400)
THINNEST = 0.007  # radius of the last branches
MOST_PIECES = 90  # of all vessels of an image


@dataclass(frozen=True)
class Piece:
    """A straight piece of a vessel, from one end and radius to the other."""

    start: Float[np.ndarray, "2"]
    end: Float[np.ndarray, "2"]
    radii: tuple[float, float]


def vessels(options: PhantomOptions, seed: int) -> Dataset:
    """Background (0) and vessel (1), one or two images per patient of the same contrast."""
    count, size = options.fill(FORM)
    drawn = shots("vessels", seed, count)
    images = torch.empty(count, 1, size, size, dtype=torch.uint8)
    masks = torch.empty(count, size, size, dtype=torch.uint8)
    for row, shot in enumerate(drawn):
        image, inside = _draw(shot, size)
        images[row, 0] = torch.from_numpy(as_bytes(image))
        masks[row] = torch.from_numpy((inside >= 0).astype(np.uint8))
    return segmentation_dataset("vessels", ("background", "vessel"), drawn, images, masks)


def _draw(shot: Shot, size: int) -> tuple[Field, Field]:
    """The image, and how far inside a vessel each pixel lies (negative outside)."""
    dark, strength = bool(shot.scene.integers(2)), shot.scene.uniform(0.1, 0.22)
    rng, at, shape = shot.view, grid((size, size)), (size, size)
    inside, calibre = _inside(_tree(rng), size)
    faint = strength * (0.45 + 0.55 * np.clip(calibre / 0.025, 0, 1)) * (1 + 0.2 * smooth_noise(rng, shape, 4))
    filled = faint * edge(inside + 0.25 / size, 1.0 / size + 0.004)
    ground = rng.uniform(0.35, 0.65) + 0.11 * smooth_noise(rng, shape, 1) + 0.05 * smooth_noise(rng, shape, 5)
    ground = ground + 0.03 * smooth_noise(rng, shape, 14)
    for _ in range(rng.integers(2, 6)):  # exudates and bleedings: as dark or bright as a vessel
        place, width = rng.uniform(0.05, 0.95, 2), rng.uniform(0.012, 0.035, 2)
        ground = ground + rng.uniform(-0.2, 0.2) * hill(turned(at, place, rng.uniform(0, 3)), place, width)
    if rng.random() < 0.5:  # the disc where the vessels of an eye begin
        level = ellipsoid(at, rng.uniform(0.15, 0.85, 2), rng.uniform(0.06, 0.1, 2))
        ground = ground + rng.uniform(0.08, 0.2) * edge(1 - level, 0.25)
    image = ground - filled if dark else ground + filled
    return image + 0.03 * shot.grain.standard_normal(shape, dtype=np.float32), inside


def _tree(rng: np.random.Generator) -> list[Piece]:
    """Two or three trunks from the border inwards, each of which divides again and again into thinner branches."""
    pieces: list[Piece] = []
    growing: list[tuple[NDArray[np.float64], float, float]] = []  # tip, direction, radius
    for _ in range(rng.integers(2, 4)):
        side, along = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.35)
        tip = 0.5 + 0.62 * np.array([np.sin(side), np.cos(side)])
        growing.append((tip, side + np.pi + along, rng.uniform(0.016, 0.03)))
    while growing and len(pieces) < MOST_PIECES:
        tip, direction, radius = growing.pop(0)
        for _ in range(rng.integers(2, 4)):
            direction += rng.normal(0, 0.22)
            thinner = 0.95 * radius
            reached = tip + rng.uniform(0.05, 0.09) * np.array([np.sin(direction), np.cos(direction)])
            pieces.append(Piece(tip, reached, (radius, thinner)))
            tip, radius = reached, thinner
        if radius > THINNEST and np.all(np.abs(tip - 0.5) < 0.65):
            share = rng.uniform(0.6, 0.95)  # Murray's law: the cubes of the branches' radii add up to the trunk's
            fork = rng.uniform(0.5, 1.0) * rng.choice((-1, 1))
            growing.append((tip, direction - 0.3 * fork, radius * share ** (1 / 3)))
            growing.append((tip, direction + fork, radius * (1 - share) ** (1 / 3)))
    return pieces


def _inside(pieces: list[Piece], size: int) -> tuple[Field, Field]:
    """For each pixel how far inside the nearest vessel it lies, and that vessel's radius."""
    at = grid((size, size))
    inside, calibre = np.full((2, size, size), -1, dtype=np.float32)
    for piece in pieces:
        distance, along = distance_to_segment(at, piece.start, piece.end)
        radius = piece.radii[0] + along * np.float32(piece.radii[1] - piece.radii[0])
        depth = np.maximum(radius, 0.55 / size) - distance  # no branch is thinner than a pixel
        nearer = depth > inside
        inside, calibre = np.where(nearer, depth, inside), np.where(nearer, radius, calibre)
    return inside, calibre
