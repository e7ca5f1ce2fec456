"""Heat maps on the grid of the input file: what a network saw at a place lies at that place in the patient."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from archimed.data.placing import Grid, grid_of, places
from archimed.data.settings import DataSettings
from archimed.explain.heat_map import carried, own_affine, write_nifti

STRAIGHT = np.diag([2.0, 1.5, 3.0, 1.0])
FLIPPED = np.array([[0.0, -2.0, 0.0, 30.0], [0.0, 0.0, 1.5, -9.0], [-3.0, 0.0, 0.0, 50.0], [0.0, 0.0, 0.0, 1.0]])
OBLIQUE = np.array([[2.0, 0.3, 0.0, -20.0], [-0.2, 1.5, 0.4, 7.0], [0.1, -0.2, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0]])
SHAPE = (20, 24, 16)
SETTINGS = {
    "as it is": DataSettings(image_size=None),
    "resized": DataSettings(image_size=12),
    "respaced": DataSettings(image_size=None, spacing_mm=2.5),
    "cut": DataSettings(image_size=12, fit="crop-or-pad"),
    "padded": DataSettings(image_size=32, fit="crop-or-pad", spacing_mm=3.0),
    "region": DataSettings(image_size=None, region_margin_mm=4),
    "region in the middle": DataSettings(image_size=16, fit="crop-or-pad", spacing_mm=2.0),
}


def smooth_field(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A function of the place in the patient, mm, on a grid: linear, so that interpolation keeps it."""
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    return places @ np.array([0.7, -0.4, 0.2])


def write_table(folder: Path, affine: np.ndarray, regions: bool) -> Path:
    """Two cases whose voxels hold a function of their place, and their regions."""
    values = smooth_field(affine, SHAPE).astype(np.float32)
    region = np.zeros(SHAPE, np.uint8)
    region[6:13, 8:17, 4:11] = 1
    for number in (0, 1):
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(region, affine), folder / f"{number}-mask.nii.gz")
    table = folder / "cases.csv"
    column = "region" if regions else "remark"
    table.write_text(f"id,image,label,{column}\na,0.nii.gz,0,0-mask.nii.gz\nb,1.nii.gz,1,1-mask.nii.gz\n")
    return table


@pytest.mark.parametrize("affine", [STRAIGHT, FLIPPED, OBLIQUE], ids=["straight", "flipped", "oblique"])
@pytest.mark.parametrize("how", SETTINGS)
def test_what_was_seen_at_a_place_lies_at_that_place(how: str, affine: np.ndarray, tmp_path: Path) -> None:
    from archimed.data.preparation.case import prepare
    from archimed.data.problems import Problems
    from archimed.data.source import lister_of

    table, settings = write_table(tmp_path, affine, "region" in how), SETTINGS[how]
    lister = lister_of(table, settings)
    assert lister is not None
    listing = lister(table, settings, Problems(strict=True))
    seen = prepare(listing.entries[0], listing.modalities, settings)
    place = places(str(table), settings, {"a"})["a"]
    inside = smooth_field(place.prepared, tuple(seen.image.shape[1:]))
    assert np.abs(inside - seen.image[0].numpy())[2:-2, 2:-2, 2:-2].max() < 0.35 or "padded" in how

    assert place.source.shape == SHAPE
    assert np.allclose(place.source.affine, affine, atol=1e-4)
    write_nifti(tmp_path / "heat.nii.gz", carried(inside, place.prepared, place.source), place.source.affine)
    heat = nibabel.load(tmp_path / "heat.nii.gz")
    assert heat.shape == SHAPE
    assert np.allclose(heat.affine, affine, atol=1e-4)
    values = np.asarray(heat.dataobj)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    step = np.linalg.inv(place.prepared) @ affine
    at = index @ step[:3, :3].T + step[:3, 3]
    well_inside = ((at > 0) & (at < np.array(inside.shape) - 1)).all(-1)
    outside = ((at < -0.51) | (at > np.array(inside.shape) - 0.49)).any(-1)
    assert well_inside.any()
    assert np.abs(values - smooth_field(affine, SHAPE))[well_inside].max() < 1e-3
    assert (values[outside] == 0).all()


def test_the_edge_voxels_of_a_coarse_grid_reach_as_far_as_they_are_wide() -> None:
    coarse, fine = np.diag([4.0, 4.0, 4.0, 1.0]), np.eye(4)
    fine[:3, 3] = -1.5
    found = carried(np.ones((2, 2, 2)), coarse, Grid((8, 8, 8), fine))
    assert (found == 1).all()
    wider = carried(np.ones((2, 2, 2)), coarse, Grid((10, 8, 8), fine - np.diag([0, 0, 0, 0.0])))
    assert (wider[8:] == 0).all()


def test_a_place_that_nobody_knows_is_made_up_upright(tmp_path: Path) -> None:
    affine = own_affine((3.0, 2.0, 1.0), 3)
    assert nibabel.aff2axcodes(affine) == ("S", "P", "L")
    assert np.allclose(np.linalg.norm(affine[:3, :3], axis=0), (3, 2, 1))
    write_nifti(tmp_path / "flat.nii.gz", np.ones((5, 7)), own_affine(None, 2))
    assert nibabel.load(tmp_path / "flat.nii.gz").shape == (1, 5, 7)


def test_other_volumes_keep_their_voxels_and_places(tmp_path: Path) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(np.zeros((6, 8, 10), np.float32))
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((5.0, 6.0, 7.0))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    grid = grid_of(tmp_path / "a.mha", "a case")
    assert grid.shape == (6, 8, 10)
    corner = grid.affine @ [0, 0, 0, 1]
    assert np.allclose(corner[:3], (-5, -6, 7))  # LPS of the file to RAS
