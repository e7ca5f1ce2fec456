from itertools import pairwise

import numpy as np
import pytest
from scipy.interpolate import BSpline

from archimed.data.phantoms.shapes import (
    distance_to_curve,
    edge,
    ellipsoid,
    grid,
    hill,
    scattered,
    smooth_curve,
    smooth_noise,
    turned,
)


def places(shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(np.meshgrid(*((np.arange(side) + 0.5) / side for side in shape), indexing="ij"), -1)


@pytest.mark.parametrize("shape", [(12, 9), (7, 8, 9)])
def test_ellipsoids_and_hills_by_their_formula(shape: tuple[int, ...]) -> None:
    centre, radii = np.array([0.4, 0.6, 0.5])[: len(shape)], np.array([0.2, 0.3, 0.1])[: len(shape)]
    expected = np.linalg.norm((places(shape) - centre) / radii, axis=-1)
    np.testing.assert_allclose(ellipsoid(grid(shape), centre, radii), expected, rtol=1e-5)
    np.testing.assert_allclose(hill(grid(shape), centre, radii), np.exp(-(expected**2) / 2), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("shape", [(20, 20), (9, 10, 11)])
def test_distance_to_a_curve_as_to_its_many_points(shape: tuple[int, ...]) -> None:
    points = np.random.default_rng(0).uniform(0, 1, (4, len(shape)))
    dense = np.concatenate([np.linspace(a, b, 400) for a, b in pairwise(points)])
    expected = np.linalg.norm(places(shape)[..., None, :] - dense, axis=-1).min(-1)
    np.testing.assert_allclose(distance_to_curve(grid(shape), points), expected, atol=3e-3)


def test_smooth_noise_is_a_spline_of_unit_variance() -> None:
    values = np.random.default_rng(3).standard_normal(7 + 3, dtype=np.float32)
    place = (np.arange(50) + 0.5) / 50 * 7
    spline = BSpline(np.arange(-3, 11), values, 3)(place) / np.sqrt(151 / 315)
    np.testing.assert_allclose(smooth_noise(np.random.default_rng(3), (50,), 7), spline, atol=1e-5)
    rng = np.random.default_rng(0)
    for shape in ((16, 20), (8, 9, 10)):
        field = np.stack([smooth_noise(rng, shape, 4) for _ in range(400)])
        assert field.shape[1:] == shape
        assert field.std() == pytest.approx(1, abs=0.03)
        assert field.mean() == pytest.approx(0, abs=0.05)


def test_a_quarter_turn_swaps_the_axes() -> None:
    at, centre = grid((10, 10)), (0.5, 0.5)
    level = ellipsoid(turned(at, centre, np.pi / 2), centre, (0.1, 0.3))
    np.testing.assert_allclose(level, ellipsoid(at, centre, (0.3, 0.1)), atol=1e-5)


def test_an_edge_is_a_ramp() -> None:
    np.testing.assert_allclose(edge(np.array([-1, -0.1, 0, 0.1, 1]), 0.4), [0, 0.25, 0.5, 0.75, 1], atol=1e-6)


def test_curves_begin_and_end_where_told() -> None:
    curve = smooth_curve(np.random.default_rng(0), (0.1, 0.2), (0.9, 0.4), 0.1, 8)
    np.testing.assert_allclose(curve[[0, -1]], [(0.1, 0.2), (0.9, 0.4)], atol=1e-12)
    assert len(curve) == 9


def test_scattered_points_keep_apart_while_there_is_room() -> None:
    rng = np.random.default_rng(0)
    points = scattered(rng, 10, (0, 0), (1, 2), 0.2)
    distances = np.linalg.norm(points[:, None] - points, axis=-1) + np.eye(10)
    assert distances.min() >= 0.2
    assert scattered(rng, 50, (0, 0), (1, 1), 0.5).shape == (50, 2)
