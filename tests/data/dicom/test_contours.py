import numpy as np
import pytest

from archimed.data.dicom.contours import filled, parity
from archimed.data.dicom.header import RefusedError

AFFINE = np.array([[0, 0, -0.5, 40.0], [0, -2.0, 0, 30], [3.0, 0, 0, -100], [0, 0, 0, 1]])
SHAPE = (6, 12, 40)


def inside(polygons: list[np.ndarray], row: float, column: float) -> bool:
    """Whether a ray to the left meets an odd number of edges, one by one."""
    odd = False
    for corners in polygons:
        for (r0, c0), (r1, c1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if (r0 <= row) != (r1 <= row) and c0 + (row - r0) * (c1 - c0) / (r1 - r0) <= column:
                odd = not odd
    return odd


def ring(radius: float, points: int = 40, middle: tuple[float, float] = (10, 10)) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.array(middle) + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)


@pytest.mark.parametrize("seed", range(20))
def test_parity_is_that_of_a_point_in_polygon(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [rng.uniform(-4, 20, (rng.integers(3, 12), 2)) for _ in range(rng.integers(1, 4))]
    if seed % 2:  # corners on pixel centres
        polygons = [np.rint(corners) for corners in polygons]
    mask = parity(polygons, (15, 16))
    expected = [[inside(polygons, row, column) for column in range(16)] for row in range(15)]
    assert np.array_equal(mask, expected)


def test_area_of_a_disc_with_a_hole() -> None:
    mask = parity([ring(90, 400, (100.3, 99.6)), ring(40, 400, (100.3, 99.6))], (200, 200))
    assert mask.sum() == pytest.approx(np.pi * (90**2 - 40**2), rel=2e-3)
    assert not mask[100, 100]


def world(plane: float, corners: np.ndarray, axis: int = 0) -> np.ndarray:
    """Corners in two voxel indices, on a plane of the third, in millimetres."""
    indices = np.insert(corners, axis, plane, axis=1)
    return indices @ AFFINE[:3, :3].T + AFFINE[:3, 3]


def test_slice_by_slice_on_a_grid() -> None:
    square = np.array([[2.5, 3.5], [2.5, 8.5], [6.5, 8.5], [6.5, 3.5]])
    hole = np.array([[4.5, 5.5], [4.5, 7.5], [6, 7], [6, 6]])
    mask = filled([world(2, square), world(3, square + 1), world(3, hole)], AFFINE, SHAPE)
    assert mask.shape == SHAPE
    assert np.flatnonzero(mask.any((1, 2))).tolist() == [2, 3]
    assert mask[2].sum() == 20
    assert mask[2, 3:7, 4:9].all()
    assert np.array_equal(mask[3], parity([square + 1, hole], SHAPE[1:]))


@pytest.mark.parametrize("axis", [1, 2])
def test_contours_drawn_on_other_planes_of_the_grid(axis: int) -> None:
    square = np.array([[1.5, 2.5], [1.5, 7.5], [4.5, 7.5], [4.5, 2.5]])
    mask = filled([world(5, square, axis)], AFFINE, SHAPE)
    assert np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))).tolist() == [5]
    assert mask.sum() == 15


@pytest.mark.parametrize(
    ("planes", "slices"),
    [
        ([1.02, 1.98, 3.01], [1, 2, 3]),
        ([0.75, 2.75, 4.75], [0, 1, 2, 3, 4, 5]),  # drawn on thicker slices: each fills what is nearest to it
        ([1.0, 1.25, 1.5, 1.75, 2.0, 2.25], [1, 2]),  # drawn on thinner slices
        ([0, 1, 4, 5], [0, 1, 4, 5]),  # two parts
        ([0.5, 1.502, 2.5], [1, 2, 3]),
        ([2.2], [2]),
        ([-2, -1, 0], [0]),
    ],
)
def test_slices_take_the_nearest_plane_of_contours(planes: list[float], slices: list[int]) -> None:
    mask = filled([world(plane, ring(3, middle=(5, 9))) for plane in planes], AFFINE, SHAPE)
    assert np.flatnonzero(mask.any((1, 2))).tolist() == slices


def test_oblique_contours_are_refused() -> None:
    corners = np.array([[1, 2, 3], [1, 2, 30], [3, 9, 30.0]]) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    with pytest.raises(RefusedError, match="oblique"):
        filled([corners], AFFINE, SHAPE)
