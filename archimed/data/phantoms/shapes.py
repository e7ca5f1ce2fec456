"""What phantoms are drawn with, in 2D and 3D: smooth noise, ellipses, curves; lengths are shares of the image's side.

Every shape is a function of the place, evaluated at the pixels' centres, so a scene is the same at every size.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]  # one number per pixel, or arrays that broadcast to that
Grid = tuple[Field, ...]  # the place along each axis, each [1, ..., n, ..., 1]
Point = Sequence[float] | NDArray[np.floating]


@lru_cache(maxsize=8)
def grid(shape: tuple[int, ...]) -> Grid:
    """The pixels' centres along each axis, 0 to 1."""
    return tuple(
        ((np.arange(side, dtype=np.float32) + 0.5) / side).reshape([-1 if axis == k else 1 for k in range(len(shape))])
        for axis, side in enumerate(shape)
    )


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> Field:
    """Random hills and dales about `1 / cells` wide: cubic B-splines; mean 0, standard deviation about 1."""
    values: Field = rng.standard_normal((cells + 3,) * len(shape), dtype=np.float32)
    for side in shape:  # each turn replaces the first axis and puts it last
        values = np.tensordot(values, _splines(side, cells), axes=(0, 1))
    return values


@lru_cache(maxsize=64)
def _splines(side: int, cells: int) -> Float[np.ndarray, "side coefficient"]:
    """The uniform cubic B-splines at the pixels' centres, scaled so that white noise keeps its mean variance."""
    place = (np.arange(side) + 0.5) / side * cells
    distance = np.abs(place[:, None] - (np.arange(cells + 3) - 1))
    near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance) ** 3 / 6
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    variance = 151 / 315  # the mean of the sum of squared cubic B-splines
    return np.asarray(weights / np.sqrt(variance), dtype=np.float32)


def ellipsoid(at: Grid, centre: Point, radii: Point) -> Field:
    """Distance from the centre in units of the radii: 1 on the outline."""
    square = sum((((x - c) / r) ** 2 for x, c, r in zip(at, centre, radii, strict=True)), np.float32(0))
    return np.sqrt(np.asarray(square, dtype=np.float32))


def turned(at: Grid, centre: Point, angle: float) -> Grid:
    """The grid in axes turned by `angle` radians about `centre`, in the plane of the last two axes."""
    down, right = at[-2] - centre[-2], at[-1] - centre[-1]
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    return (*at[:-2], centre[-2] + cosine * down - sine * right, centre[-1] + sine * down + cosine * right)


def hill(at: Grid, centre: Point, widths: Point) -> Field:
    """A Gaussian of height 1 with these standard deviations."""
    return np.asarray(np.exp(-0.5 * ellipsoid(at, centre, widths) ** 2), dtype=np.float32)


def edge(inside: Field, width: float) -> Field:
    """0 outside and 1 inside, where `inside` is positive within; the change is `width` wide."""
    return np.asarray(np.clip(0.5 + inside / np.float32(width), 0, 1), dtype=np.float32)


def distance_to_curve(at: Grid, points: Float[np.ndarray, "point axis"]) -> Field:
    """Distance of every pixel to the polyline through these points."""
    nearest = np.full(np.broadcast_shapes(*(x.shape for x in at)), np.inf, dtype=np.float32)
    for start, end in pairwise(points):
        np.minimum(nearest, distance_to_segment(at, start, end)[0], out=nearest)
    return nearest


def distance_to_segment(at: Grid, start: Point, end: Point) -> tuple[Field, Field]:
    """Distance of every pixel to a straight piece, and how far along it (0 to 1) the nearest point lies."""
    step = np.asarray(end, dtype=np.float32) - np.asarray(start, dtype=np.float32)
    offsets = [x - np.float32(s) for x, s in zip(at, start, strict=True)]
    length = max(float(step @ step), 1e-12)
    along = np.clip(sum((o * s for o, s in zip(offsets, step, strict=True)), np.float32(0)) / length, 0, 1)
    square = sum(((o - along * s) ** 2 for o, s in zip(offsets, step, strict=True)), np.float32(0))
    return np.sqrt(np.asarray(square, dtype=np.float32)), np.asarray(along, dtype=np.float32)


def smooth_curve(
    rng: np.random.Generator, start: Point, end: Point, bend: float, pieces: int
) -> Float[np.ndarray, "point axis"]:
    """Points from start to end, off the straight line by a few slow sines of about `bend` times its length."""
    first, last = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    along = np.linspace(0, 1, pieces + 1)[:, None]
    waves = np.sin(np.pi * along * np.array([1, 2, 3])) / np.array([1, 2, 3])
    offsets = waves @ rng.standard_normal((3, len(first)))
    points: NDArray[np.float64] = first + along * (last - first) + bend * np.linalg.norm(last - first) * offsets
    return points


def scattered(
    rng: np.random.Generator, count: int, low: Point, high: Point, apart: float
) -> Float[np.ndarray, "count axis"]:
    """Points in a box at least `apart` from each other; nearer where no room is found in a fair number of tries."""
    chosen: list[NDArray[np.float64]] = []
    tries = rng.uniform(low, high, (40 * count, len(low)))
    for tried in range(len(tries)):
        need = apart if tried < 30 * count else 0.0
        if len(chosen) < count and all(np.linalg.norm(tries[tried] - other) >= need for other in chosen):
            chosen.append(tries[tried])
    return np.stack(chosen)


def as_bytes(image: Field) -> NDArray[np.uint8]:
    """Grey values 0 to 1 as 0 to 255."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
