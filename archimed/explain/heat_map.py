"""Heat maps as NIfTI files, on the grid of the file that the image was read from where that is known."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from archimed.data.placing import Grid
from archimed.data.preparation.resampling import TO_CANONICAL


def carried(
    heat: Float[np.ndarray, "*space"], affine: Float[np.ndarray, "4 4"], grid: Grid
) -> Float[np.ndarray, "*grid"]:
    """A heat map on another grid: linear between its voxels, 0 outside of all of them.

    Args:
        heat: on the grid that the network saw, 3D.
        affine: of that grid.
        grid: where it is wanted.
    """
    from scipy.ndimage import affine_transform

    step = np.linalg.inv(affine) @ grid.affine
    how = {"matrix": step[:3, :3], "offset": step[:3, 3], "output_shape": grid.shape}
    values = affine_transform(heat.astype(np.float32), **how, order=1, mode="nearest")
    inside = affine_transform(np.ones(heat.shape, np.uint8), **how, order=0, mode="grid-constant")
    result: Float[np.ndarray, "*grid"] = np.where(inside > 0, values, np.float32(0))
    return result


def own_affine(spacing: tuple[float, ...] | None, dims: int) -> Float[np.ndarray, "4 4"]:
    """An affine for a grid whose place nobody knows: its axes as those of every volume here, its first voxel at 0.

    Args:
        spacing: millimetres along each axis; None takes 1.
        dims: 2 or 3 axes; an image is the only slice of a volume.
    """
    steps = (1.0,) * (3 - dims) + tuple(spacing or (1.0,) * dims)
    affine = np.eye(4)
    affine[:3, :3] = TO_CANONICAL.T * np.array(steps)
    return affine


def write_nifti(path: Path, heat: Float[np.ndarray, "*space"], affine: Float[np.ndarray, "4 4"]) -> None:
    """Write a heat map; an image becomes a volume of one slice."""
    import nibabel

    volume = heat[None] if heat.ndim == 2 else heat
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume, np.float32), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
