"""Features against closed forms of known bodies, brute force, SciPy and Haralick's own example."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from archimed.networks.radiomics import (
    DIRECTION_SHARES,
    INTENSITY,
    SHAPE,
    TEXTURE,
    cooccurrence,
    directions,
    feature_names,
    intensities,
    radiomic_features,
    shape,
    shifted,
    surface,
    texture,
)

RNG = np.random.default_rng(0)


def ellipsoid(radii: tuple[float, ...]) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(-math.ceil(r) - 1, math.ceil(r) + 2) for r in radii), indexing="ij")
    return sum((x / r) ** 2 for x, r in zip(grid, radii, strict=True)) <= 1  # type: ignore[no-any-return]


def brute_cooccurrence(levels: np.ndarray, count: int) -> np.ndarray:
    """Every pair of neighbours, one by one."""
    matrix = np.zeros((count, count))
    for at in np.ndindex(levels.shape):
        for step in product((-1, 0, 1), repeat=levels.ndim):
            there = tuple(np.add(at, step))
            if any(step) and all(0 <= x < size for x, size in zip(there, levels.shape, strict=True)):
                matrix[levels[at], levels[there]] += 1
    return matrix / matrix.sum()


def test_half_of_the_neighbours_are_directions() -> None:
    for dims, count in ((2, 4), (3, 13)):
        found = directions(dims)
        opposite = {tuple(-x for x in step) for step in found}
        assert len(found) == count
        assert {*found} | opposite == {step for step in product((-1, 0, 1), repeat=dims) if any(step)}


@pytest.mark.parametrize("size", [(5, 7), (4, 5, 6), (1, 6), (3, 1, 4)])
def test_cooccurrence_is_that_of_counting_every_pair(size: tuple[int, ...]) -> None:
    levels = RNG.integers(0, 5, size)
    assert np.allclose(cooccurrence(levels, 5), brute_cooccurrence(levels, 5), atol=1e-12)


def test_cooccurrence_in_one_direction_is_the_example_of_haralick() -> None:
    """Haralick et al., 1973, Fig. 3: the horizontal matrix of a 4x4 image."""
    image = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
    first, second = shifted(image, (0, 1))
    counts = np.zeros((4, 4), dtype=int)
    np.add.at(counts, (first, second), 1)
    assert (counts + counts.T).tolist() == [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]]


def test_texture_by_its_definitions() -> None:
    image = RNG.random((6, 7, 8))
    levels = np.minimum(np.floor((image - image.min()) / np.ptp(image) * 16), 15).astype(int)
    shares = brute_cooccurrence(levels, 16)
    found = dict(zip(TEXTURE, texture(image), strict=True))
    pairs = list(product(range(16), repeat=2))
    i, j = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    p = shares.reshape(-1)
    mean, second = (p * i).sum(), (p * i * i).sum()
    assert found["contrast"] == pytest.approx((p * (i - j) ** 2).sum())
    assert found["homogeneity"] == pytest.approx((p / (1 + (i - j) ** 2)).sum())
    assert found["energy"] == pytest.approx(math.sqrt((p**2).sum()))
    assert found["entropy"] == pytest.approx(stats.entropy(p, base=2))
    assert found["correlation"] == pytest.approx(((p * i * j).sum() - mean**2) / (second - mean**2))


def test_texture_of_a_chessboard_and_of_one_value() -> None:
    board = np.indices((20, 20)).sum(0) % 2
    shares = cooccurrence(board, 2)
    sides, corners = 2 * 20 * 19, 2 * 19 * 19  # side neighbours differ, corner neighbours are equal
    assert shares[0, 1] + shares[1, 0] == pytest.approx(sides / (sides + corners))
    assert texture(np.full((3, 4), 7.0)).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_intensities_are_those_of_scipy() -> None:
    values = RNG.gamma(2.0, size=(8, 9, 10))
    found = dict(zip(INTENSITY, intensities(values), strict=True))
    flat = values.reshape(-1)
    assert found["mean"] == pytest.approx(flat.mean())
    assert found["deviation"] == pytest.approx(flat.std())
    assert found["skewness"] == pytest.approx(stats.skew(flat))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(flat, fisher=False))
    assert found["energy"] == pytest.approx(np.mean(flat**2))
    assert found["entropy"] == pytest.approx(stats.entropy(np.histogram(flat, bins=32)[0], base=2))
    assert [found["minimum"], found["maximum"]] == [flat.min(), flat.max()]
    assert found["percentile 25"] == pytest.approx(stats.scoreatpercentile(flat, 25))


def test_no_pixels_and_pixels_of_one_value_have_finite_features() -> None:
    assert not intensities(np.zeros(0)).any()
    found = dict(zip(INTENSITY, intensities(np.full(9, 3.0)), strict=True))
    assert [found[name] for name in ("mean", "deviation", "skewness", "entropy")] == [3.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("radii", [(12.0, 12.0, 12.0), (9.0, 9.0)])
def test_a_ball_has_the_surface_and_axis_of_its_closed_form(radii: tuple[float, ...]) -> None:
    found = dict(zip(SHAPE, shape(ellipsoid(radii)), strict=True))
    r, dims = radii[0], len(radii)
    assert found["volume"] == pytest.approx(math.pi * r**2 if dims == 2 else 4 / 3 * math.pi * r**3, rel=0.02)
    assert found["surface"] == pytest.approx(2 * math.pi * r if dims == 2 else 4 * math.pi * r**2, rel=0.03)
    assert found["sphericity"] == pytest.approx(1, abs=0.03)
    assert found["longest axis"] == pytest.approx(2 * r, rel=0.02)
    assert found["elongation"] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("radii", [(12.3, 30.2, 18.4), (24.3, 60.2)])
def test_axes_of_an_ellipsoid(radii: tuple[float, ...]) -> None:
    found = dict(zip(SHAPE, shape(ellipsoid(radii)), strict=True))
    assert found["longest axis"] == pytest.approx(2 * max(radii), rel=0.02)
    assert found["elongation"] == pytest.approx(sorted(radii)[-2] / max(radii), rel=0.02)
    assert found["sphericity"] < 0.95


def test_surface_of_a_plate_by_area() -> None:
    """A large cuboid: Crofton's weights err most where a surface lies along the grid."""
    assert surface(np.ones((30, 40, 50), dtype=bool)) == pytest.approx(2 * (30 * 40 + 30 * 50 + 40 * 50), rel=0.1)


def test_shares_of_the_directions_are_those_of_the_sphere() -> None:
    points = RNG.standard_normal((200_000, 3))
    steps = np.array([step for step in product((-1, 0, 1), repeat=3) if any(step)])
    nearest = (points @ (steps / np.linalg.norm(steps, axis=1, keepdims=True)).T).argmax(1)
    along = np.abs(steps).sum(1)[nearest]
    for squared, pairs in ((1, 3), (2, 6), (3, 4)):
        assert np.mean(along == squared) / pairs == pytest.approx(DIRECTION_SHARES[3][squared - 1], abs=1.5e-3)


def test_regions_without_extent() -> None:
    assert not shape(np.zeros((4, 4, 4), dtype=bool)).any()
    one = np.zeros((4, 4), dtype=bool)
    one[1, 2] = True
    assert np.isfinite(shape(one)).all()
    assert dict(zip(SHAPE, shape(one), strict=True))["volume"] == 1


@pytest.mark.parametrize("size", [(2, 9, 8), (2, 5, 6, 7), (1, 1, 1)])
def test_every_feature_has_a_name_and_is_finite(size: tuple[int, ...]) -> None:
    names = feature_names(size[0])
    for image in (RNG.random(size), np.zeros(size)):
        features = radiomic_features(image)
        assert features.shape == (len(names),)
        assert np.isfinite(features).all()
    assert len(set(names)) == len(names)


def test_a_channel_is_measured_where_the_other_is_bright() -> None:
    image = RNG.random((2, 6, 7, 8))
    features = dict(zip(feature_names(2), radiomic_features(image), strict=True))
    region = image[0] > image[0].min() + 0.4 * np.ptp(image[0])
    assert features["channel 1 in region 0 mean"] == pytest.approx(image[1][region].mean())
    assert features["region 0 volume"] == region.sum()


def test_an_outlined_tumour_is_measured_inside() -> None:
    pet, ct = np.random.default_rng(0).normal(size=(2, 6, 7, 8))
    region = np.zeros((6, 7, 8))
    region[1:4, 2:6, 3:5] = 1
    found = dict(
        zip(
            feature_names(2, outlined=True),
            radiomic_features(np.stack([pet, ct, region]), outlined=True),
            strict=True,
        )
    )
    for name, channel in (("channel 0", pet), ("channel 1", ct)):
        inside = channel[1:4, 2:6, 3:5]
        assert found[f"{name} in region maximum"] == inside.max()
        assert found[f"{name} in region mean"] == pytest.approx(inside.mean())
        assert found[f"{name} texture contrast"] == texture(inside)[0]
    assert found["region volume"] == 3 * 4 * 2


def test_an_empty_outline_has_finite_features() -> None:
    assert np.isfinite(radiomic_features(np.zeros((2, 4, 4, 4)), outlined=True)).all()
