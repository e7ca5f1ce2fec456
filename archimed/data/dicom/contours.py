"""Closed planar contours filled, slice by slice, on the grid of a volume."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from archimed.data.dicom.header import RefusedError

SAME_PLANE_MM = 0.01
FLATNESS = 0.5  # voxels by which the points of a contour may leave their slice


def filled(
    contours: Sequence[Float[np.ndarray, "point 3"]], affine: Float[np.ndarray, "4 4"], shape: Sequence[int]
) -> Bool[np.ndarray, "depth height width"]:
    """Voxels whose centre lies inside an odd number of the contours of their slice, so that inner ones are holes.

    A slice takes the nearest plane of contours if that is within half a step of the planes (or half a voxel, if that
    is more), so that contours drawn on coarser or finer slices than the grid's leave no gaps.

    Args:
        contours: corners in millimetres in RAS+.
        affine: of the grid, from voxel indices to millimetres in RAS+.
        shape: of the grid.

    Raises:
        RefusedError: if the contours do not lie along slices of the grid.
    """
    inverse = np.linalg.inv(affine)
    indices = [points @ inverse[:3, :3].T + inverse[:3, 3] for points in contours]
    thickness = np.max([np.ptp(points, axis=0) for points in indices], axis=0)
    axis = int(np.argmin(thickness))
    if thickness[axis] > FLATNESS:
        raise RefusedError(
            "Contours must lie along slices of their image",
            "has oblique ones",
            "Pair it with its own series.",
        )
    mask = np.zeros(tuple(shape), bool)
    slices = np.moveaxis(mask, axis, 0)
    same = SAME_PLANE_MM / float(np.linalg.norm(affine[:3, axis]))
    planes, members = _planes(np.array([points[:, axis].mean() for points in indices]), same)
    across = [other for other in range(3) if other != axis]
    for index, plane in _nearest(planes, len(slices)):
        slices[index] = parity([indices[member][:, across] for member in members[plane]], slices.shape[1:])
    return mask


def _planes(places: Float[np.ndarray, " contour"], same: float) -> tuple[Float[np.ndarray, " plane"], list[list[int]]]:
    """Contours at equal places belong together: the places in order, and which contours lie there."""
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-np.inf) > same)
    groups = np.split(order, starts[1:])
    return places[order[starts]], [[int(member) for member in group] for group in groups]


def _nearest(planes: Float[np.ndarray, " plane"], slices: int) -> list[tuple[int, int]]:
    """Which plane each slice takes, for the slices that take one."""
    steps = np.diff(planes)
    step = float(np.median(steps)) if len(steps) else 1.0
    reach = max(step, 1.0) / 2
    found = []
    for index in range(slices):
        plane = int(np.argmin(np.abs(planes - index)))
        offset = index - planes[plane]
        between = planes[0] < index < planes[-1] and steps[plane if offset > 0 else plane - 1] < 1.5 * step
        if between or -reach + 1e-6 < offset <= reach + 1e-6:
            found.append((index, plane))
    return found


def parity(polygons: Sequence[Float[np.ndarray, "point 2"]], shape: Sequence[int]) -> Bool[np.ndarray, "height width"]:
    """Pixels whose centre, at whole numbers of (row, column), lies in an odd number of polygons.

    Each edge turns round all pixels of a row right of where it crosses the row; a centre on the left or upper border
    counts as inside, on the right or lower as outside.
    """
    height, width = shape
    turns = np.zeros((height, width + 1), np.uint8)
    for corners in polygons:
        rows, columns = _crossings(corners, np.roll(corners, -1, axis=0), height)
        np.bitwise_xor.at(turns, (rows, np.clip(np.ceil(columns), 0, width).astype(np.int64)), 1)
    return np.bitwise_xor.accumulate(turns, axis=1)[:, :width].astype(bool)


def _crossings(
    start: Float[np.ndarray, "edge 2"], end: Float[np.ndarray, "edge 2"], height: int
) -> tuple[Int[np.ndarray, " crossing"], Float[np.ndarray, " crossing"]]:
    """Rows that edges cross, and in which column; an edge has its upper end, not its lower one."""
    first = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, height).astype(np.int64)
    counts = last - first
    edge = np.repeat(np.arange(len(start)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (end - start)[edge]
    return rows, start[edge, 1] + (rows - start[edge, 0]) * slope[:, 1] / slope[:, 0]
