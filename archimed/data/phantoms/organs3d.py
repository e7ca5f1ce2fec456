"""`organs3d`: segmentation of liver, spleen and kidneys in abdominal CT.

Hard because the organs' densities overlap with one another's, with stomach, bowel and muscle, and differ from patient
to patient: shape, place and neighbours tell them apart. Slices are thicker than the pixels are wide.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray

from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, shots
from archimed.data.phantoms.options import Form, PhantomOptions
from archimed.data.phantoms.segmentation import segmentation_dataset
from archimed.data.phantoms.shapes import Field, Grid, edge, ellipsoid, grid, hill, smooth_noise, turned

FORM = Form(cases=200, size=40, most_cases=5000, most_pixels=96)
CLASSES = ("background", "liver", "spleen", "kidney")
FIELD_MM = (320.0, 256.0, 256.0)  # head to foot, front to back, side to side
FAT_HU = -100.0


@dataclass(frozen=True)
class _Part:
    """Something in the abdomen: its level (1 at the outline), density in HU, and class (0 if not asked for)."""

    level: Field
    hu: float
    label: int


def organs3d(options: PhantomOptions, seed: int) -> Dataset:
    """Background (0), liver (1), spleen (2) and both kidneys (3); HU; one or two scans per patient."""
    count, size = options.fill(FORM)
    scans = shots("organs3d", seed, count)
    images = torch.empty(count, 1, size, size, size, dtype=torch.int16)
    masks = torch.empty(count, size, size, size, dtype=torch.uint8)
    for row, scan in enumerate(scans):
        image, mask = _draw(scan, size)
        images[row, 0], masks[row] = torch.from_numpy(image), torch.from_numpy(mask)
    spacing = tuple(side / size for side in FIELD_MM)
    return segmentation_dataset("organs3d", CLASSES, scans, images, masks, channels=[("CT", "ct")], spacing=spacing)


def _draw(scan: Shot, size: int) -> tuple[NDArray[np.int16], UInt8[np.ndarray, "size size size"]]:
    """One scan in HU and the class of each voxel; where parts meet, the deeper one wins."""
    shape, rng, view = (size, size, size), scan.scene, scan.view
    zoom, shifts = rng.uniform(0.95, 1.1), view.uniform(-0.03, 0.03, 3)
    at = tuple(((x - 0.5) * zoom + 0.5 + s).astype(np.float32) for x, s in zip(grid(shape), shifts, strict=True))
    skin = ellipsoid(at, (0.5, 0.5, 0.5), (9.0, 0.36, 0.46)) + 0.012 * smooth_noise(rng, shape, 3)
    cavity = ellipsoid(at, (0.5, 0.47, 0.5), (9.0, 0.36 - rng.uniform(0.06, 0.1), 0.46 - rng.uniform(0.06, 0.1)))
    organs = _organs(at, cavity, rng)
    level, mask = np.ones(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint8)
    hu: Field = np.full(shape, FAT_HU, dtype=np.float32)
    for part in [*organs, *_bowel(at, organs, rng, view)]:
        deeper = part.level < level
        hu += deeper * (FAT_HU + (part.hu - FAT_HU) * edge(1 - part.level, 0.12) - hu)
        level, mask = np.where(deeper, part.level, level), np.where(deeper, part.label, mask)
    muscle = edge(cavity - 1, 0.06) * (1 - edge(skin - rng.uniform(0.82, 0.96), 0.04))
    hu = hu + muscle * (rng.uniform(40, 65) - hu)
    hu = _with_bones(hu, at, cavity)
    hu = hu + edge(_dome(at), 0.03) * (1 - edge(cavity - 0.98, 0.04)) * (level >= 1) * (-850 - hu)
    hu = np.where(skin < 1, hu + 7 * smooth_noise(rng, shape, 7), -1000)
    hu = hu + view.uniform(12, 28) * scan.grain.standard_normal(shape, dtype=np.float32)
    return hu.clip(-1024, 1500).round().astype(np.int16), mask.astype(np.uint8)


def _dome(at: Grid) -> Field:
    """Positive above the diaphragm, in the lungs."""
    liver_side = 0.12 * hill(at, (0.0, 0.45, 0.3), (9.0, 0.25, 0.2))
    spleen_side = 0.09 * hill(at, (0.0, 0.45, 0.72), (9.0, 0.25, 0.2))
    return np.asarray(at[0] - 0.74 - liver_side - spleen_side)


def _organs(at: Grid, cavity: Field, rng: np.random.Generator) -> list[_Part]:
    """Liver on the patient's right under the diaphragm, spleen on the left at the back, kidneys beside the spine."""
    shape, sizes = cavity.shape, rng.uniform(0.85, 1.15, 4)
    shift = rng.normal(0, 0.02, (4, 3))
    rough = [0.05 * smooth_noise(rng, shape, 6) for _ in range(2)]
    right = np.array([0.66, 0.44, 0.3]) + shift[0]
    lobe = ellipsoid(turned(at, right, rng.uniform(-0.3, 0.3)), right, sizes[0] * np.array([0.2, 0.23, 0.21]))
    left = right + np.array([0.05, -0.1, 0.2])
    liver = np.minimum(lobe, ellipsoid(at, left, sizes[0] * np.array([0.1, 0.1, 0.19]))) + rough[0]
    centre = np.array([0.68, 0.62, 0.77]) + shift[1]
    spleen = ellipsoid(turned(at, centre, rng.uniform(0.2, 0.8)), centre, sizes[1] * np.array([0.16, 0.12, 0.09]))
    limit = np.maximum(cavity + 0.04, 1 + 4 * _dome(at))  # organs end at the wall and at the diaphragm
    liver, spleen = np.maximum(liver, limit), np.maximum(spleen + rough[1], limit)
    blood = rng.normal(58, 12)  # one contrast phase for all three, so that no density belongs to one organ
    parts = [_Part(liver, blood + rng.normal(0, 14), 1), _Part(spleen, blood + rng.normal(0, 14), 2)]
    density = blood + rng.normal(0, 18)
    for number, side in enumerate((-1, 1)):
        place = np.array([0.46 + 0.02 * side, 0.64, 0.5 + 0.19 * side]) + shift[2 + number]
        radii = sizes[2 + number] * np.array([0.14, 0.085, 0.08])
        kidney = ellipsoid(turned(at, place, rng.uniform(-0.4, 0.4)), place, radii)
        hilum = ellipsoid(at, place - np.array([0, 0.02, 0.06 * side]), (0.05, 0.025, 0.035))
        parts.append(_Part(np.maximum(np.maximum(kidney, 2 - hilum), limit), density, 3))
    return parts


def _bowel(at: Grid, organs: list[_Part], rng: np.random.Generator, view: np.random.Generator) -> list[_Part]:
    """Stomach and loops of bowel, not in an organ: as dense as those, or full of gas or contrast medium.

    They move between the scans of a patient.
    """
    outside = 2 - np.minimum.reduce([organ.level for organ in organs])
    place = np.array([0.66, 0.38, 0.64]) + view.normal(0, 0.02, 3)
    stomach = ellipsoid(at, place, rng.uniform(0.07, 0.13, 3)) + 0.05
    parts = [_Part(np.maximum(stomach, outside), rng.uniform(20, 80), 0)]
    for _ in range(14):
        place = view.uniform((0.02, 0.24, 0.2), (0.52, 0.58, 0.8))
        filling = (view.uniform(20, 80), -700.0, view.uniform(90, 220))[int(view.choice(3, p=(0.76, 0.14, 0.1)))]
        loop = ellipsoid(turned(at, place, view.uniform(0, np.pi)), place, view.uniform(0.035, 0.1, 3))
        parts.append(_Part(np.maximum(loop + 0.08, outside), filling, 0))
    return parts


def _with_bones(hu: Field, at: Grid, cavity: Field) -> Field:
    """With the spine, and ribs in the upper half."""
    spine = edge(1 - ellipsoid(at, (0.5, 0.72, 0.5), (9.0, 0.075, 0.07)), 0.3)
    hu = hu + spine * (190 + 70 * np.sin(at[0] * 60) - hu)
    slant = at[0] * 8 + 1.5 * at[1]
    ribs = edge(0.14 - np.abs(slant - np.round(slant)), 0.15) * edge(0.05 - np.abs(cavity - 1.08), 0.05)
    return np.asarray(hu + 330 * ribs * edge(at[0] - 0.45, 0.1), dtype=np.float32)
