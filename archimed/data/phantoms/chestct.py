"""`chestct`: CT of the chest; normal, ground-glass opacities or a consolidation.

Hard because lungs differ more in density (inflation, dependent parts, body size) than the disease changes their mean:
what tells is where and how the density lies. Ground glass: several faint patches under the pleura in which vessels
remain visible; consolidation: one or two dense segments; normal lungs have dense dependent parts and scars.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, balanced_classes, cases_of, shots
from archimed.data.phantoms.options import Form, PhantomOptions
from archimed.data.phantoms.shapes import (
    Field,
    Grid,
    distance_to_curve,
    edge,
    ellipsoid,
    grid,
    hill,
    smooth_curve,
    smooth_noise,
)
from archimed.task import ImagingTask

FORM = Form(cases=200, size=40, most_cases=5000, most_pixels=96)
CLASSES = ("normal", "ground-glass", "consolidation")
FIELD_MM = (280.0, 320.0, 320.0)  # head to foot, front to back, side to side
SIDES = (-1, 1)  # right lung, left lung


@dataclass(frozen=True)
class _Lung:
    """A lung's ellipsoid: centre and radii as shares of the image; the level is 1 at the pleura."""

    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    level: Field


def chestct(options: PhantomOptions, seed: int) -> Dataset:
    """Normal (0), ground-glass (1) or consolidation (2), a third of the patients each; HU; one or two scans."""
    count, size = options.fill(FORM)
    scans = shots("chestct", seed, count)
    classes = balanced_classes("chestct", seed, scans, len(CLASSES))
    images = torch.empty(count, 1, size, size, size, dtype=torch.int16)
    for row, (scan, disease) in enumerate(zip(scans, classes, strict=True)):
        images[row, 0] = torch.from_numpy(_draw(CLASSES[disease], scan, size))
    return Dataset(
        "chestct",
        "phantom",
        ImagingTask("multi-class", CLASSES, 1, (size, size, size)),
        cases_of("chestct", scans),
        Arrays.of(images),
        torch.tensor(classes),
        channel_names=("CT",),
        channel_kinds=("ct",),
        spacing=(tuple(side / size for side in FIELD_MM),) * count,
        patients_known=True,
    )


def _draw(disease: str, scan: Shot, size: int) -> NDArray[np.int16]:
    """One scan in HU."""
    shape, rng, view = (size, size, size), scan.scene, scan.view
    ill = rng.spawn(1)[0]  # apart: so that a disease changes nothing else
    zoom = rng.uniform(0.92, 1.12)
    shifts = view.uniform(-0.02, 0.02, 3)
    at = tuple(((x - 0.5) * zoom + 0.5 + s).astype(np.float32) for x, s in zip(grid(shape), shifts, strict=True))
    lungs = _lungs(at, rng)
    base, heart = _diaphragm(at, rng, view.uniform(-0.02, 0.02)), _heart(at, rng)
    inside = np.maximum(*(edge(1 - lung.level, 0.1) for lung in lungs)) * base * (1 - heart)
    density = _inflation(at, rng) + 0.02 * smooth_noise(rng, shape, 5) + 0.015 * smooth_noise(rng, shape, 11)
    density = density + _scars(at, lungs, rng)
    if disease == "ground-glass":
        density = density + _ground_glass(at, lungs, ill)
    vessels = np.maximum(density, _vessels(at, lungs, rng))
    if disease == "consolidation":
        vessels = np.maximum(vessels, _consolidation(at, lungs, ill))
    lung_hu = -1000 + 1040 * vessels.clip(0, 1.03)
    flesh, body = _body(at, lungs, rng)
    image = body * (inside * lung_hu + (1 - inside) * flesh) - 1000 * (1 - body)
    image = image + view.uniform(14, 30) * scan.grain.standard_normal(shape, dtype=np.float32)
    return np.asarray(image.clip(-1024, 1500).round(), dtype=np.int16)


def _lungs(at: Grid, rng: np.random.Generator) -> list[_Lung]:
    radii = np.array([0.52, 0.25, 0.155]) * rng.uniform(0.93, 1.07, 3)
    lungs = []
    for side in SIDES:
        centre = np.array([0.4, 0.5, 0.5 + side * 0.195])
        rough = 0.03 * smooth_noise(rng, (at[0].size, at[1].size, at[2].size), 5)
        lungs.append(_Lung(centre, radii, ellipsoid(at, centre, radii) + rough))
    return lungs


def _diaphragm(at: Grid, rng: np.random.Generator, breath: float) -> Field:
    """1 above the diaphragm, a dome on each side."""
    domes = sum((hill(at, (0.0, 0.45, 0.5 + side * 0.2), (9.0, 0.2, 0.12)) for side in SIDES), np.float32(0))
    return edge(at[0] - rng.uniform(0.06, 0.14) - breath - 0.1 * domes, 0.04)


def _heart(at: Grid, rng: np.random.Generator) -> Field:
    """1 in the heart, between the lungs and more in the left one."""
    size = rng.uniform(0.9, 1.15)
    heart = ellipsoid(at, (0.27, 0.4, 0.56), (0.22 * size, 0.14 * size, 0.15 * size))
    return edge(1 - heart, 0.15)


def _inflation(at: Grid, rng: np.random.Generator) -> Field:
    """Density of the lung tissue, 0 (air) to 1 (water): overall, and more in the dependent parts at the back."""
    whole, dependent = rng.uniform(0.1, 0.24), rng.uniform(0.02, 0.3)
    return np.asarray(whole + dependent * edge(at[1] - 0.72, 0.3) ** 2, dtype=np.float32)


def _scars(at: Grid, lungs: list[_Lung], rng: np.random.Generator) -> Field:
    """Up to three small dense spots, in every class."""
    total = np.zeros_like(lungs[0].level)
    for _ in range(rng.integers(0, 4)):
        place = _place(lungs, rng, (0.5, 1.0))
        total += rng.uniform(0.3, 0.8) * hill(at, place, rng.uniform(0.014, 0.03, 3))
    return total


def _ground_glass(at: Grid, lungs: list[_Lung], rng: np.random.Generator) -> Field:
    """Four to eight faint patches under the pleura of both lungs, uneven and without a sharp border."""
    patches = np.zeros_like(lungs[0].level)
    texture = 1 + 0.25 * smooth_noise(rng, patches.shape, 12)
    for _ in range(rng.integers(4, 9)):
        place = _place(lungs, rng, (0.78, 0.98))
        rough = ellipsoid(at, place, rng.uniform(0.06, 0.12, 3)) + 0.2 * smooth_noise(rng, patches.shape, 8)
        np.maximum(patches, rng.uniform(0.18, 0.34) * edge(1 - rough, 0.5), out=patches)
    return patches * texture


def _consolidation(at: Grid, lungs: list[_Lung], rng: np.random.Generator) -> Field:
    """One or two segments full of fluid, bounded by a fissure on one face, with air left in the bronchi."""
    total: Field = np.zeros_like(lungs[0].level)
    for _ in range(rng.integers(1, 3)):
        place = _place(lungs, rng, (0.3, 0.75))
        normal = rng.standard_normal(3)
        normal /= np.linalg.norm(normal)
        fissure = np.asarray(sum(n * (x - p) for n, x, p in zip(normal, at, place, strict=True))) + 0.03
        rough = ellipsoid(at, place, rng.uniform(0.075, 0.12, 3)) + 0.15 * smooth_noise(rng, total.shape, 8)
        bronchi = 0.5 * edge(smooth_noise(rng, total.shape, 14) - 1.6, 0.4)
        np.maximum(total, edge(1 - rough, 0.3) * edge(fissure, 0.03) * (1.0 - bronchi), out=total)
    return total


def _vessels(at: Grid, lungs: list[_Lung], rng: np.random.Generator) -> Field:
    """Density of curves from the root of each lung outwards that become thinner."""
    density = np.zeros_like(lungs[0].level)
    for lung, side in zip(lungs, SIDES, strict=True):
        root = lung.centre + np.array([0.05, 0.02, -side * 0.12])
        for _ in range(4):
            towards = rng.standard_normal(3)
            end = lung.centre + 0.9 * lung.radii * towards / np.linalg.norm(towards)
            distance = distance_to_curve(at, smooth_curve(rng, root, end, 0.06, 3))
            thick = 0.017 - 0.012 * np.clip(side * (at[2] - root[2]) / 0.25, 0, 1)
            np.maximum(density, 0.9 * edge(thick - distance, 0.025), out=density)
    return density


def _body(at: Grid, lungs: list[_Lung], rng: np.random.Generator) -> tuple[Field, Field]:
    """HU of all but the lungs (muscle, fat, ribs, spine), and 1 within the skin."""
    shape = lungs[0].level.shape
    level = ellipsoid(at, (0.5, 0.5, 0.5), (9.0, 0.37, 0.455)) + 0.01 * smooth_noise(rng, shape, 4)
    flesh = 45 + 8 * smooth_noise(rng, shape, 9) - 145 * edge(level - rng.uniform(0.86, 0.98), 0.04)
    nearest = np.minimum(*(lung.level for lung in lungs))
    slant = at[0] * 7.5 + 1.6 * at[1] + rng.uniform(0, 1)
    ribs = edge(0.14 - np.abs(slant - np.round(slant)), 0.15) * edge(0.06 - np.abs(nearest - 1.13), 0.05)
    flesh = flesh + 380 * ribs * edge(np.abs(at[2] - 0.5) - 0.1, 0.05)
    spine = ellipsoid(at, (0.5, 0.74, 0.5), (9.0, 0.06, 0.06))
    flesh = flesh + edge(1 - spine, 0.3) * (180 + 90 * np.sin(at[0] * 60))
    return np.asarray(flesh, dtype=np.float32), edge(rng.uniform(1.02, 1.12) - level, 0.05)


def _place(lungs: list[_Lung], rng: np.random.Generator, levels: tuple[float, float]) -> NDArray[np.float64]:
    """A place in a lung between two levels, not at its tip nor in the diaphragm."""
    lung = lungs[int(rng.integers(2))]
    towards = rng.standard_normal(3) * np.array([0.7, 1.0, 1.0])
    place: NDArray[np.float64] = lung.centre + rng.uniform(*levels) * lung.radii * towards / np.linalg.norm(towards)
    return np.maximum(place, [0.24, 0, 0])
