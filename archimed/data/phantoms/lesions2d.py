"""`lesions2d`: a patch of tissue (smooth noise, vessels, specks) with one growth in it.

A lesion is irregular, with spicules, a sharp border and a bright rim; a benign growth is a smooth soft-edged blob. Both
have the same sizes (1/1000 to 1/5 of the image, log-uniform), brightness and places, so only structure tells them
apart, and the smallest ones barely can be: overall brightness says nothing.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset
from archimed.data.phantoms.options import FLAT, PhantomOptions
from archimed.seeding import torch_generator
from archimed.task import ImagingTask

SMALLEST_AREA, LARGEST_AREA = 1 / 1000, 1 / 5  # of the image
CHUNK = 256  # images drawn at a time


def lesions2d(options: PhantomOptions, seed: int) -> Dataset:
    """Lesion (class 1) or benign growth (class 0), half of the patients each, one or two images per patient."""
    count, size = options.fill(FLAT)
    generator = torch_generator(seed, "phantom", "lesions2d")
    patients = _patients(count, generator)
    lesion = torch.randperm(int(patients[-1]) + 1, generator=generator)[patients] % 2
    area = torch.exp(_uniform(count, math.log(SMALLEST_AREA), math.log(LARGEST_AREA), generator))
    images = torch.empty(count, 1, size, size, dtype=torch.uint8)
    grain = torch_generator(seed, "phantom", "lesions2d", "grain")  # apart: so the same scene is drawn at every size
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        scene = _draw(lesion[rows].bool(), area[rows], size, generator)
        scene += 0.025 * torch.randn(scene.shape, generator=grain)
        images[rows, 0] = (scene.clamp(0, 1) * 255).round().to(torch.uint8)
    cases = tuple(
        Case(
            id=f"lesions2d-{row:05d}",
            patient=f"phantom-{int(patients[row]):05d}",
            lesion_area=float(area[row]) if lesion[row] else None,
            origin=f"image {row} of phantom:lesions2d",
        )
        for row in range(count)
    )
    task = ImagingTask("binary", ("benign", "lesion"), 1, (size, size))
    return Dataset("lesions2d", "phantom", task, cases, Arrays.of(images), lesion.long(), patients_known=True)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, " case"]:
    return low + (high - low) * torch.rand(count, generator=generator)


def _patients(cases: int, generator: torch.Generator) -> Tensor:
    """The patient number of each case: every patient has one or two neighbouring cases."""
    images_each = torch.randint(1, 3, (cases,), generator=generator)
    return torch.repeat_interleave(torch.arange(cases), images_each)[:cases]


def _draw(
    lesion: Tensor, area: Float[Tensor, " case"], size: int, generator: torch.Generator
) -> Float[Tensor, "case size size"]:
    """The images without grain, 0 to 1 but for a few peaks; no draw depends on the size."""
    count = len(lesion)
    tissue = _tissue(count, size, generator) + _vessels(count, size, generator) + _specks(count, size, generator)
    contrast = _uniform(count, 0.25, 0.45, generator).view(-1, 1, 1)
    brightness = _uniform(count, 0.25, 0.5, generator).view(-1, 1, 1)
    return brightness + tissue + contrast * _growth(lesion, area, size, generator)


def _tissue(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "case size size"]:
    """Smooth noise of three scales, the coarsest of which is a gradient; standard deviation near 0.1."""
    total = torch.zeros(count, size, size)
    for cells, weight in ((2, 0.06), (5, 0.05), (11, 0.03)):
        coarse = torch.randn(count, 1, cells, cells, generator=generator)
        fine = functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
        total += weight * fine[:, 0]
    return total


def _grid(size: int) -> tuple[Tensor, Tensor]:
    """Row and column of each pixel's centre, as shares of the side."""
    centres = (torch.arange(size) + 0.5) / size
    return centres.view(1, -1, 1), centres.view(1, 1, -1)


def _vessels(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "case size size"]:
    """Three thin curved bright lines, sharp like a lesion's border but long."""
    rows, columns = _grid(size)
    total = torch.zeros(count, size, size)
    for _ in range(3):
        angle, shift, bend, phase = (
            _uniform(count, low, high, generator).view(-1, 1, 1)
            for low, high in ((0.0, math.pi), (-0.45, 0.45), (0.02, 0.1), (0.0, 2 * math.pi))
        )
        along = (columns - 0.5) * angle.cos() + (rows - 0.5) * angle.sin()
        across = (rows - 0.5) * angle.cos() - (columns - 0.5) * angle.sin()
        distance = across - shift - bend * torch.sin(5 * along + phase)
        width = max(0.012, 0.5 / size)
        strength = _uniform(count, 0.0, 0.16, generator).view(-1, 1, 1)
        total += strength * torch.exp(-0.5 * (distance / width).square())
    return total


def _specks(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "case size size"]:
    """Up to four small sharp bright dots, so that one sharp edge somewhere is no sign of a lesion."""
    rows, columns = _grid(size)
    total = torch.zeros(count, size, size)
    for _ in range(4):
        down, right, draw = (torch.rand(count, 1, 1, generator=generator) for _ in range(3))
        radius = _uniform(count, 0.006, 0.02, generator).view(-1, 1, 1)
        inside = radius - torch.hypot(rows - down, columns - right)
        total += 0.9 * (draw - 0.5).clamp(min=0) * torch.sigmoid(inside * size / 0.4)
    return total


def _growth(
    lesion: Tensor, area: Float[Tensor, " case"], size: int, generator: torch.Generator
) -> Float[Tensor, "case size size"]:
    """The growths alone; the sum over pixels is the area for both classes, so that brightness tells nothing."""
    count = len(area)
    harmonics = torch.arange(2, 10).view(1, -1)
    lobes = 0.12 * torch.randn(count, 8, generator=generator) * (harmonics >= 3)  # spicules of a lesion
    ellipse = 0.15 * torch.randn(count, 8, generator=generator) * (harmonics == 2)  # a benign growth is oval
    amplitude = torch.where(lesion.view(-1, 1), lobes, ellipse)
    phase = 2 * math.pi * torch.rand(count, 8, generator=generator)
    radius = (area / (math.pi * (1 + amplitude.square().sum(1) / 2))).sqrt().view(-1, 1, 1)  # outline encloses `area`
    margin = (1.2 * radius).clamp(max=0.45)
    centre = [margin + (1 - 2 * margin) * torch.rand(count, 1, 1, generator=generator) for _ in range(2)]
    rows, columns = _grid(size)
    down, right = rows - centre[0], columns - centre[1]
    angle, distance = torch.atan2(down, right), torch.hypot(down, right)
    outline = torch.ones(count, size, size)
    for k in range(8):
        wave = torch.cos((k + 2) * angle + phase[:, k].view(-1, 1, 1))
        outline += amplitude[:, k].view(-1, 1, 1) * wave
    inside = radius * outline.clamp(min=0.2) - distance  # positive inside
    pixel = 1.0 / size
    sharp = torch.sigmoid(inside / (0.04 * radius + 0.4 * pixel))
    rim = 0.7 + 0.6 * torch.exp(-(inside / (0.3 * radius).clamp(min=0.5 * pixel)).square())
    soft = torch.sigmoid(inside / (0.2 * radius + 0.5 * pixel))
    shape = torch.where(lesion.view(-1, 1, 1), sharp * rim, soft)
    total = shape.sum((1, 2), keepdim=True).clamp(min=1e-3)
    return (shape * (area.view(-1, 1, 1) * size * size / total)).clamp(max=2.0)
