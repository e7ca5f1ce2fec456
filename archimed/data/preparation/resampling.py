"""Where voxels lie: axes in canonical order, two grids compared, an image carried from one grid to another."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Shaped

from archimed.data.volume import Volume
from archimed.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MAX_VOXELS = 2**30  # of one volume
SAME_PLACE = 0.01  # voxels: positions that differ by less are the same
FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian with standard deviation 1
REACH = 4.0  # standard deviations after which a Gaussian is cut off
TO_CANONICAL = np.array(
    [[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]]
)  # RAS x, y, z to superior, posterior, left


def canonical(
    pixels: Shaped[np.ndarray, "channel *space"], affine: Float[np.ndarray, "4 4"]
) -> tuple[Shaped[np.ndarray, "channel *space"], Float[np.ndarray, "4 4"]]:
    """Reorder and flip the three axes of space so that they run towards superior, posterior and left.

    Each axis goes to the direction it is nearest to, such that the cosines of all three add up to most; an oblique
    image stays oblique, no voxel changes its value.

    Args:
        pixels: an image of any three axes.
        affine: from voxel indices, in the order of those axes, to millimetres x, y, z in RAS+.

    Returns:
        A view of the pixels, and the affine of its axes.

    Raises:
        ValueError: if the affine is not finite or not invertible.
    """
    check_affine(affine)
    cosines = TO_CANONICAL @ (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))  # direction by axis
    order = max(permutations(range(3)), key=lambda axes: sum(abs(cosines[to, axis]) for to, axis in enumerate(axes)))
    moved, placed = pixels.transpose(0, *(axis + 1 for axis in order)), affine[:, [*order, 3]].astype(np.float64)
    for to, axis in enumerate(order):
        if cosines[to, axis] < 0:
            moved = np.flip(moved, to + 1)
            placed[:, 3] += placed[:, to] * (moved.shape[to + 1] - 1)
            placed[:, to] = -placed[:, to]
    return moved, placed


def check_affine(affine: Float[np.ndarray, "4 4"]) -> None:
    """ValueError unless the affine places voxels of a sensible size, in a sensible place, in three dimensions."""
    if not np.isfinite(affine).all() or np.abs(affine).max() > 1e6 or not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise ValueError("its affine is not one of finite millimetres")
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.min() < 1e-6 or abs(np.linalg.det(affine[:3, :3] / np.maximum(sizes, 1e-12))) < 1e-3:
        raise ValueError("its affine gives voxels without volume")


def spacing_of(affine: Float[np.ndarray, "4 4"]) -> tuple[float, ...]:
    """Millimetres between voxels along each axis, to six digits."""
    return tuple(float(f"{size:.6g}") for size in np.linalg.norm(affine[:3, :3], axis=0))


def same_grid(first: Volume, second: Volume) -> bool:
    """Whether equal indices are the same place in both, to a hundredth of a voxel.

    Where one of the two has no affine, an equal shape, and equal spacing if both tell theirs, has to do.
    """
    shape = first.pixels.shape[1:]
    if shape != second.pixels.shape[1:]:
        return False
    if first.affine is not None and second.affine is not None:
        step = np.linalg.inv(first.affine) @ second.affine
        corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(np.array(shape) - 1), 1]
        return bool(np.abs(corners @ step.T - corners).max() < SAME_PLACE)
    if first.spacing is None or second.spacing is None:
        return True
    return bool(np.allclose(first.spacing, second.spacing, rtol=SAME_PLACE))


def resample(volume: Volume, shape: Sequence[int], affine: Float[np.ndarray, "4 4"], *, nearest: bool) -> Volume:
    """Carry a volume onto another grid, in the number type it has.

    Trilinear, after a Gaussian along the axes where the grid is coarser, whose width brings the voxel's point spread
    to that of the grid (Cardoso et al., MICCAI 2015: full width at half maximum squared, target minus source); for
    masks the nearest voxel. Outside of the source's voxels the value is the smallest of the channel, 0 for masks.

    Args:
        volume: 3D, with an affine.
        shape: of the grid: depth, height, width.
        affine: of the grid.
        nearest: True for class numbers.
    """
    if volume.affine is None:
        raise ValueError("Only a volume with an affine can be resampled onto a grid.")
    step = np.linalg.inv(volume.affine) @ affine  # index on the grid to index in the source
    pixels = _sample(volume.pixels, tuple(shape), step[:3, :3], step[:3, 3], nearest)
    return replace(volume, pixels=pixels, affine=np.asarray(affine, np.float64), spacing=spacing_of(affine))


def spaced_grid(
    volume: Volume, spacing_mm: float | Sequence[float]
) -> tuple[tuple[int, ...], Float[np.ndarray, "4 4"]]:
    """Shape and affine of the grid of that spacing (one, or one per axis) over the volume's field of view.

    The middle stays where it is; the number of voxels is rounded, so that the field grows or shrinks by less than
    half a voxel at either end.
    """
    if volume.affine is None:
        raise ValueError("Only a volume with an affine lies in a grid of millimetres.")
    old = np.linalg.norm(volume.affine[:3, :3], axis=0)
    shape, scale, offset = _respaced(volume.pixels.shape[1:], old, spacing_mm)
    step = np.diag([*scale, 1.0])
    step[:3, 3] = offset
    return shape, volume.affine @ step


def window(
    volume: Volume, middle: Sequence[float], shape: Sequence[int], spacing_mm: float | Sequence[float] | None
) -> Float[np.ndarray, "4 4"]:
    """Affine of a grid of that many voxels whose middle lies at a place of the volume.

    Args:
        volume: 3D, with an affine.
        middle: in voxels of the volume.
        shape: voxels along each axis.
        spacing_mm: one, or one per axis; None keeps the volume's voxels as they are, to half a voxel of the place.
    """
    if volume.affine is None:
        raise ValueError("Only a volume with an affine lies in a grid of millimetres.")
    old = np.linalg.norm(volume.affine[:3, :3], axis=0)
    scale = np.ones(3) if spacing_mm is None else np.broadcast_to(np.asarray(spacing_mm, np.float64), (3,)) / old
    start = np.asarray(middle) - scale * (np.array(shape) - 1) / 2
    step = np.diag([*scale, 1.0])
    step[:3, 3] = np.floor(start + 0.5) if spacing_mm is None else start
    return np.asarray(volume.affine @ step)


def respace(volume: Volume, spacing_mm: float | Sequence[float], *, nearest: bool) -> Volume:
    """The same field of view at another spacing, for 2D images and for volumes without an affine too.

    Raises:
        DataError: if the file did not tell its spacing.
    """
    if volume.affine is not None:
        return resample(volume, *spaced_grid(volume, spacing_mm), nearest=nearest)
    if volume.spacing is None:
        raise DataError(
            "To bring images to one spacing, each must tell its own; one does not. "
            "Leave data.spacing_mm out, or use files that store it."
        )
    shape, scale, offset = _respaced(volume.pixels.shape[1:], np.array(volume.spacing), spacing_mm)
    pixels = _sample(volume.pixels, shape, np.diag(scale), offset, nearest)
    return replace(
        volume, pixels=pixels, spacing=tuple(float(s * o) for s, o in zip(scale, volume.spacing, strict=True))
    )


def respaced_step(
    shape: tuple[int, ...], spacing: Sequence[float], spacing_mm: float | Sequence[float]
) -> Float[np.ndarray, "axes axes"]:
    """From indices of an image once it is at another spacing (see `respace`) to its indices before, homogeneous."""
    _, scale, offset = _respaced(shape, np.array(spacing), spacing_mm)
    step = np.diag([*scale, 1.0])
    step[:-1, -1] = offset
    return step


def _respaced(
    shape: tuple[int, ...], old: Float[np.ndarray, " axis"], spacing_mm: float | Sequence[float]
) -> tuple[tuple[int, ...], Float[np.ndarray, " axis"], Float[np.ndarray, " axis"]]:
    """Number of voxels, step and start in old voxels, per axis."""
    if not isinstance(spacing_mm, int | float) and len(spacing_mm) != len(shape):
        raise DataError(
            f"data.spacing_mm must be one number or one per axis; it has {len(spacing_mm)} for {len(shape)} axes. "
            "Give it as depth, height, width."
        )
    scale = np.broadcast_to(np.asarray(spacing_mm, np.float64), old.shape) / old
    counts = tuple(max(1, int(count)) for count in np.floor(np.array(shape) / scale + 0.5))
    if np.prod(np.array(counts, np.float64)) > MAX_VOXELS:
        raise DataError(
            f"A volume may have 2^30 voxels; a spacing of {spacing_mm} mm gives one of {' x '.join(map(str, counts))}. "
            "Choose a coarser data.spacing_mm."
        )
    return counts, scale, (np.array(shape) - 1) / 2 - scale * (np.array(counts) - 1) / 2


def _sample(
    pixels: Shaped[np.ndarray, "channel *space"],
    shape: tuple[int, ...],
    matrix: Float[np.ndarray, "axis axis"],
    offset: Float[np.ndarray, " axis"],
    nearest: bool,
) -> Shaped[np.ndarray, "channel *grid"]:
    """Values at the places matrix @ index + offset, in source voxels."""
    across = np.abs(matrix - np.diag(matrix.diagonal())) @ (np.array(shape) - 1)
    aligned = across.max() < SAME_PLACE / 2
    sigmas = np.sqrt(np.maximum((matrix**2).sum(1) - 1, 0)) / FWHM  # Cardoso et al., the diagonal of their covariance
    result = np.empty((len(pixels), *shape), pixels.dtype)
    places = [np.arange(n) * step + start for n, step, start in zip(shape, matrix.diagonal(), offset, strict=True)]
    for channel, source in enumerate(pixels):
        fill = 0 if nearest else source.min()
        if aligned and nearest:
            result[channel] = _nearest(source, places)
        elif aligned:
            _store(_separable(source, places, sigmas), result[channel])
        else:
            _store(_oblique(source, shape, matrix, offset, None if nearest else sigmas), result[channel])
        _fill_outside(result[channel], source.shape, matrix, offset, fill)
    return result


def _store(values: Shaped[np.ndarray, "*grid"], result: Shaped[np.ndarray, "*grid"]) -> None:
    if np.issubdtype(result.dtype, np.integer) and np.issubdtype(values.dtype, np.floating):
        np.rint(values, out=values)  # within the source's range, hence within the type's
    result[...] = values


def _nearest(
    source: Shaped[np.ndarray, "*space"], places: list[Float[np.ndarray, " n"]]
) -> Shaped[np.ndarray, "*grid"]:
    rows = [np.clip(np.floor(p + 0.5).astype(int), 0, n - 1) for p, n in zip(places, source.shape, strict=True)]
    return np.asarray(source[np.ix_(*rows)])


def _separable(
    source: Shaped[np.ndarray, "*space"], places: list[Float[np.ndarray, " n"]], sigmas: Float[np.ndarray, " axis"]
) -> Float[np.ndarray, "*grid"]:
    """Slice by slice in the plane, then along depth, so that only one slice at a time exists at its full size."""
    weights = [_weights(p, n, sigma) for p, n, sigma in zip(places, source.shape, sigmas, strict=True)]
    slices = source if source.ndim == 3 else source[None]
    rows, columns = weights[-2:]
    plane = np.empty((len(slices), rows.shape[0], columns.shape[0]), np.float32)
    for index, one in enumerate(slices):
        shorter = rows @ np.ascontiguousarray(one, np.float32)
        plane[index] = (columns @ np.ascontiguousarray(shorter.T)).T
    if source.ndim == 2:
        return np.asarray(plane[0])
    deep = weights[0] @ plane.reshape(len(plane), -1)
    return np.asarray(deep.reshape(-1, *plane.shape[1:]), np.float32)


def _weights(places: Float[np.ndarray, " n"], length: int, sigma: float) -> "csr_array":
    """[n, length] weights: a Gaussian cut off at four standard deviations, then linear; the edge voxel goes on."""
    from scipy.sparse import csr_array

    reach = int(REACH * sigma + 0.5)
    gaussian = np.zeros(2 * reach + 2)
    gaussian[:-1] = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2) if reach else 1.0
    gaussian /= gaussian.sum()
    places = np.clip(places, 0, length - 1)
    below = np.floor(places).astype(int)
    part = (places - below)[:, None]
    weights = (1 - part) * gaussian + part * np.roll(gaussian, 1)
    columns = np.clip(below[:, None] + np.arange(-reach, reach + 2), 0, length - 1)
    rows = np.repeat(np.arange(len(places)), columns.shape[1])
    return csr_array((weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(len(places), length))


def _oblique(
    source: Shaped[np.ndarray, "*space"],
    shape: tuple[int, ...],
    matrix: Float[np.ndarray, "axis axis"],
    offset: Float[np.ndarray, " axis"],
    sigmas: Float[np.ndarray, " axis"] | None,
) -> Shaped[np.ndarray, "*grid"]:
    from scipy import ndimage

    if sigmas is None:
        return np.asarray(ndimage.affine_transform(source, matrix, offset, shape, order=0, mode="nearest"))
    smooth = np.asarray(source, np.float32)
    for axis, sigma in enumerate(sigmas):
        if int(REACH * sigma + 0.5):
            smooth = ndimage.gaussian_filter1d(smooth, sigma, axis, mode="nearest", truncate=REACH)
    return np.asarray(ndimage.affine_transform(smooth, matrix, offset, shape, order=1, mode="nearest"))


def _fill_outside(
    result: Shaped[np.ndarray, "*grid"],
    source_shape: tuple[int, ...],
    matrix: Float[np.ndarray, "axis axis"],
    offset: Float[np.ndarray, " axis"],
    fill: float,
) -> None:
    """Write `fill` where the place is outside of every voxel of the source, slice by slice."""
    last = np.array(result.shape) - 1
    corners = np.array(list(np.ndindex(*(2,) * result.ndim))) * last @ matrix.T + offset
    low, high = -0.5 - SAME_PLACE, np.array(source_shape) - 0.5 + SAME_PLACE
    if (corners >= low).all() and (corners <= high).all():
        return
    for index in range(len(result)):
        result[index][_outside(index, result.shape[1:], matrix, offset, low, high)] = fill


def _outside(
    index: int,
    shape: tuple[int, ...],
    matrix: Float[np.ndarray, "axis axis"],
    offset: Float[np.ndarray, " axis"],
    low: float,
    high: Float[np.ndarray, " axis"],
) -> Bool[np.ndarray, "*slice"]:
    outside = np.zeros(shape, bool)
    for row, start, end in zip(matrix, offset, high, strict=True):
        place = np.full((1,) * len(shape), start + row[0] * index)
        for axis, n in enumerate(shape):
            place = place + (np.arange(n) * row[axis + 1]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        outside |= (place < low) | (place > end)
    return outside
