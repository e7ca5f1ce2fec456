"""How far the outlines of two masks lie apart: 95 % Hausdorff distance and surface Dice, in 2D and 3D.

The outline of a region is made of its pixels that touch another class, or the border of the image, with a side.
Distances run between centres of outline pixels. Each such pixel counts once, whatever its spacing: with very unequal
spacing these figures differ a little from those of a surface measured by its area.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

PERCENTILE = 95  # of the distances, which a single stray pixel does not decide
Box = tuple[slice, ...]


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of two outlines of one region.

    Attributes:
        to_truth: from each outline pixel of the answer to the nearest of the truth, in the unit of the spacing.
        to_answer: from each outline pixel of the truth to the nearest of the answer.
    """

    to_truth: Float[np.ndarray, " pixel"]
    to_answer: Float[np.ndarray, " pixel"]

    @property
    def hausdorff_95(self) -> float:
        """The larger of the two 95 % percentiles (Huttenlocher et al., 1993, with a percentile for the maximum)."""
        return float(max(np.percentile(self.to_truth, PERCENTILE), np.percentile(self.to_answer, PERCENTILE)))

    def surface_dice(self, tolerance: float) -> float:
        """The share of both outlines that is no further than the tolerance from the other (Nikolov et al., 2021)."""
        near = np.count_nonzero(self.to_truth <= tolerance) + np.count_nonzero(self.to_answer <= tolerance)
        return float(near / (len(self.to_truth) + len(self.to_answer)))


def surface_distances(
    answer: Bool[np.ndarray, "*space"], truth: Bool[np.ndarray, "*space"], spacing: Sequence[float]
) -> SurfaceDistances:
    """Exact Euclidean distances between the outlines of two regions, neither of them empty.

    Args:
        answer: the region as answered.
        truth: the region as it is.
        spacing: distance of neighbouring pixels along each axis.
    """
    answered, true = outline(answer), outline(truth)
    return SurfaceDistances(_to_nearest(answered, true, spacing), _to_nearest(true, answered, spacing))


def outline(region: Bool[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """The pixels of a region of which a side touches a pixel outside it, or the border."""
    padded = np.pad(region, 1)
    inside = region.copy()
    for axis in range(region.ndim):
        for start in (0, 2):
            shifted = [slice(1, -1)] * region.ndim
            shifted[axis] = slice(start, start + region.shape[axis])
            inside &= padded[tuple(shifted)]
    found: Bool[np.ndarray, "*space"] = region & ~inside
    return found


def class_boxes(
    answer: Integer[np.ndarray, "*space"], truth: Integer[np.ndarray, "*space"], num_classes: int
) -> Iterator[Box | None]:
    """The smallest box that holds a class in both masks, for each class but the background; None if it is in none."""
    from scipy.ndimage import find_objects

    for boxes in zip(find_objects(answer, num_classes - 1), find_objects(truth, num_classes - 1), strict=True):
        there = [box for box in boxes if box is not None]
        yield (
            tuple(
                slice(min(side.start for side in sides), max(side.stop for side in sides))
                for sides in zip(*there, strict=True)
            )
            or None
        )


def _to_nearest(
    start: Bool[np.ndarray, "*space"], goal: Bool[np.ndarray, "*space"], spacing: Sequence[float]
) -> Float[np.ndarray, " pixel"]:
    """The distance of each pixel of one outline to the other; those in both have none and are not searched for.

    A tree of the outline's pixels is several times quicker than a distance transform of the box, save on noise.
    """
    from scipy.spatial import KDTree

    distances = np.zeros(np.count_nonzero(start))
    apart = start & ~goal
    if apart.any():
        tree = KDTree(np.argwhere(goal) * np.asarray(spacing, dtype=np.float64), leafsize=32)
        distances[: np.count_nonzero(apart)] = tree.query(np.argwhere(apart) * np.asarray(spacing))[0]
    return distances
