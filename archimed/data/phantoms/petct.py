"""`petct`: PET and CT of a lung; malignant if a spot of high uptake is also a nodule.

Every lung has one or two hot spots (PET) and one or two nodules (CT), each at one of four places. Only where the two
meet is the disease malignant (class 1): a hot spot in normal lung is an inflammation, a nodule without uptake a scar.
Given their numbers, the places of the hot spots say nothing about the class, nor do those of the nodules: the best AUC
is 0.65 from either modality alone (`BEST_SINGLE_AUC`), and 1 from both. The heart takes up tracer too.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, balanced_classes, cases_of, shots
from archimed.data.phantoms.options import SOLID, PhantomOptions
from archimed.data.phantoms.shapes import (
    Field,
    Grid,
    distance_to_curve,
    edge,
    ellipsoid,
    grid,
    hill,
    scattered,
    smooth_curve,
    smooth_noise,
)
from archimed.task import ImagingTask

SIDE_MM = 128.0  # of the cube that is imaged
PLACES = 4
BEST_SINGLE_AUC = 0.646  # of the count of hot spots, or of nodules; see the test
CENTRE, RADII = np.array([0.52, 0.5, 0.56]), np.array([0.62, 0.4, 0.36])  # of the lung
PLACED = (0.38, 0.3, 0.38), (0.86, 0.7, 0.75)  # hot spots and nodules lie between these corners


@dataclass(frozen=True)
class Scene:
    """What a patient has: the places of hot spots and nodules, and how they look."""

    places: Float[np.ndarray, "place 3"]
    hot: tuple[int, ...]
    nodules: tuple[int, ...]

    @property
    def malignant(self) -> bool:
        """Whether a hot spot is also a nodule."""
        return bool(set(self.hot) & set(self.nodules))


def petct(options: PhantomOptions, seed: int) -> Dataset:
    """Benign (0) or malignant (1), half of the patients each; channels PET in SUV and CT in HU, one or two scans."""
    count, size = options.fill(SOLID)
    scans = shots("petct", seed, count)
    classes = balanced_classes("petct", seed, scans, 2)
    images = torch.empty(count, 2, size, size, size)
    for row, (scan, malignant) in enumerate(zip(scans, classes, strict=True)):
        images[row] = torch.from_numpy(_draw(draw_scene(scan.scene, bool(malignant)), scan, size))
    return Dataset(
        "petct",
        "phantom",
        ImagingTask("binary", ("benign", "malignant"), 2, (size, size, size)),
        cases_of("petct", scans),
        Arrays.of(images),
        torch.tensor(classes),
        channel_names=("PET", "CT"),
        channel_kinds=("pet", "ct"),
        spacing=((SIDE_MM / size,) * 3,) * count,
        patients_known=True,
    )


def draw_scene(rng: np.random.Generator, malignant: bool) -> Scene:
    """Places, and one or two hot spots and nodules among them that meet if and only if malignant."""
    places = scattered(rng, PLACES, *PLACED, 0.27)
    fitting = [scene for scene in _scenes(places) if scene.malignant == malignant]
    weights = np.array([_chance(scene) for scene in fitting])
    return fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))]


def _scenes(places: Float[np.ndarray, "place 3"]) -> list[Scene]:
    """Every way to have one or two hot spots and one or two nodules."""
    subsets = [(a,) for a in range(PLACES)] + [(a, b) for b in range(PLACES) for a in range(b)]
    return [Scene(places, hot, nodules) for hot, nodules in product(subsets, subsets)]


def _chance(scene: Scene) -> float:
    """One or two equally often, whatever the number of ways."""
    ways = {1: PLACES, 2: PLACES * (PLACES - 1) // 2}
    return 1 / (ways[len(scene.hot)] * ways[len(scene.nodules)])


def _draw(scene: Scene, scan: Shot, size: int) -> Float[np.ndarray, "2 size size size"]:
    """PET in SUV and CT in HU of one scan."""
    shape = (size, size, size)
    rng, view = scan.scene, scan.view
    growth = view.uniform(0.9, 1.1)  # between the scans of a patient
    at = tuple((x - s).astype(np.float32) for x, s in zip(grid(shape), view.uniform(-0.03, 0.03, 3), strict=True))
    outside = ellipsoid(at, CENTRE, RADII * rng.uniform(0.94, 1.06, 3)) - 1 + 0.05 * smooth_noise(rng, shape, 4)
    dome = at[0] - rng.uniform(0.08, 0.2) - 0.1 * hill(at, (0.0, 0.5, 0.5), (9.0, 0.25, 0.25))
    lung = edge(-outside, 0.08) * edge(dome, 0.04)
    body = edge(1.34 + 0.04 * smooth_noise(rng, shape, 3) - ellipsoid(at, (0.5, 0.5, 0.4), (2.0, 0.42, 0.5)), 0.06)
    ct = _ct(scene, at, lung, body, outside, growth, rng)
    breath = tuple((x + s).astype(np.float32) for x, s in zip(at, view.uniform(-0.03, 0.03, 3), strict=True))
    pet = _pet(scene, breath, lung, body, edge(-dome, 0.08), growth, rng)
    noise = scan.grain.standard_normal((2, *shape), dtype=np.float32)
    pet = pet + 0.32 * np.sqrt(pet + 0.05) * noise[0]
    return np.stack([pet.clip(min=0), (ct + 22 * noise[1]).clip(-1024, 2000)]).astype(np.float32)


def _ct(
    scene: Scene, at: Grid, lung: Field, body: Field, outside: Field, growth: float, rng: np.random.Generator
) -> Field:
    """HU: air, fat, wall with ribs, lung with vessels and nodules."""
    shape = lung.shape
    fat = edge(outside - 0.42 - 0.06 * smooth_noise(rng, shape, 4), 0.06)
    flesh = 45 - 145 * fat + 8 * smooth_noise(rng, shape, 9)
    slant = at[0] * rng.uniform(4.5, 5.5) + 0.9 * at[1] + rng.uniform(0, 1)
    ribs = edge(0.1 - np.abs(slant - np.round(slant)), 0.1) * edge(0.09 - np.abs(outside - 0.18), 0.06)
    flesh = flesh + 420 * ribs * edge(at[2] - 0.45, 0.1)
    air = -840 + rng.uniform(-50, 50) + 22 * smooth_noise(rng, shape, 5) + 16 * smooth_noise(rng, shape, 12)
    density = _vessels(at, rng)
    for place in scene.nodules:
        radius = growth * rng.uniform(0.052, 0.085) * rng.uniform(0.85, 1.15, 3)
        rough = ellipsoid(at, scene.places[place], radius) + 0.12 * smooth_noise(rng, shape, 9)
        density = np.maximum(density, edge(1 - rough, 0.35) * rng.uniform(0.5, 1.0))
    tissue = lung * (air + (40 - air) * density) + (1 - lung) * flesh
    return (body * tissue - 1000 * (1 - body)).astype(np.float32)


def _vessels(at: Grid, rng: np.random.Generator) -> Field:
    """Share of blood in each voxel: curves from the root of the lung outwards that become thinner."""
    density = np.zeros(np.broadcast_shapes(*(x.shape for x in at)), dtype=np.float32)
    for _ in range(5):
        towards = rng.standard_normal(3)
        end = CENTRE + 0.95 * RADII * towards / np.linalg.norm(towards)
        start = CENTRE + np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.05, 0.1), -0.3])
        distance = distance_to_curve(at, smooth_curve(rng, start, end, 0.06, 4))
        thick = 0.024 - 0.018 * np.clip((at[2] - start[2]) / 0.6, 0, 1)
        np.maximum(density, 0.85 * edge(thick - distance, 0.03), out=density)
    return density


def _pet(
    scene: Scene, at: Grid, lung: Field, body: Field, liver: Field, growth: float, rng: np.random.Generator
) -> Field:
    """SUV before noise: tissues, the heart's wall, and the hot spots."""
    shape = lung.shape
    uptake = 0.45 * lung + (1 - lung) * (1.1 + 0.7 * edge(0.35 - at[2], 0.15))
    uptake = uptake * (1 + 0.1 * smooth_noise(rng, shape, 4)) + liver * rng.uniform(0.8, 1.4)
    heart = ellipsoid(at, (rng.uniform(0.3, 0.45), 0.38, rng.uniform(0.0, 0.06)), (0.18, 0.15, 0.13))
    uptake = uptake + rng.uniform(0.3, 6) * np.exp(-(((heart - 0.85) / 0.28) ** 2)) * (1 - lung)
    for place in scene.hot:
        width = growth * rng.uniform(0.042, 0.06) * rng.uniform(0.9, 1.1, 3)
        uptake = uptake + rng.uniform(1.6, 6) * hill(at, scene.places[place], width)
    faint: NDArray[np.float32] = (body * uptake).clip(min=0).astype(np.float32)
    return faint
