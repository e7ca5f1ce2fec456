"""Where in the patient the prepared images of some cases lie, and on which grid their files are."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from archimed.data.preparation.case import prepare
from archimed.data.preparation.common_grid import CommonGrid
from archimed.data.problems import Problems
from archimed.data.readers.any_image import NIFTI, read_image
from archimed.data.settings import DataSettings
from archimed.data.source import lister_of
from archimed.data.source_options import own_settings


@dataclass(frozen=True)
class Grid:
    """Voxels in the patient.

    Attributes:
        shape: voxels along each axis.
        affine: from voxel indices to millimetres, as of `archimed.data.volume.Volume`.
    """

    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Place:
    """Where a prepared volume lies.

    Attributes:
        prepared: the affine of the volume as a network sees it.
        source: the grid of the file that it was read from, of its first modality; axes as in the file if it is NIfTI,
            else as of `Volume`.
    """

    prepared: Float[np.ndarray, "4 4"]
    source: Grid


def places(
    source: str,
    settings: DataSettings,
    ids: Collection[str],
    image_size: int | None = None,
    grid: CommonGrid | None = None,
) -> dict[str, Place]:
    """Places of those of these cases whose files tell where they lie; none for data that are not image files.

    Args:
        source: what `--data` names.
        settings: the `data.*` settings.
        ids: of cases.
        image_size: pixels per side, in place of `settings.image_size`.
        grid: to which the data set was brought, if one was chosen for it.

    Raises:
        DataError: a file cannot be read any more.
    """
    source, settings = own_settings(source, settings)
    if image_size is not None:
        settings = replace(settings, image_size=image_size)
    path = Path(source).expanduser()
    lister = None if source.startswith("phantom:") else lister_of(path, settings)
    if lister is None:
        return {}
    listing = lister(path, settings, Problems(strict=True))
    if grid is not None:
        settings = grid.asked_by(settings)
    found = {}
    for entry in listing.entries:
        if entry.case.id not in ids:
            continue
        affine = prepare(entry, listing.modalities, replace(settings, region_channel=False)).affine
        if affine is not None:
            file = next(path for path in entry.images if path is not None)
            found[entry.case.id] = Place(affine, grid_of(file, entry.case.origin))
    return found


def grid_of(path: Path, origin: str) -> Grid:
    """The grid of an image file that tells where it lies."""
    volume = read_image(path, origin)
    if volume.affine is None:
        raise ValueError(f"{path} does not tell where it lies.")
    grid = Grid(volume.pixels.shape[1:], volume.affine)
    return in_file_order(path, grid) if path.name.lower().endswith(NIFTI) else grid


def in_file_order(path: Path, grid: Grid) -> Grid:
    """The same voxels with axes ordered and directed as in a NIfTI file; as they are if its header says otherwise."""
    import nibabel

    image = nibabel.load(path)
    affine, shape = np.asarray(image.affine, np.float64), tuple(image.shape[:3])
    step = np.linalg.inv(grid.affine) @ affine
    turned = np.rint(step[:3, :3])
    exact = np.allclose(step[:3, :3], turned, atol=1e-3) and (np.abs(turned).sum(0) == 1).all()
    same = exact and tuple(np.abs(turned.T) @ grid.shape) == shape
    return Grid(shape, affine) if same else grid
