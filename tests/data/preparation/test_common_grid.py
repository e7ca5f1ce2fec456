import math
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from archimed.data.dataset import Dataset
from archimed.data.preparation.common_grid import MOST_VOXELS, CommonGrid, Extent, common_grid
from archimed.data.settings import DataSettings
from archimed.data.source import load_cases, load_dataset
from tests.data.preparation.cohort import cohort

AUTO = DataSettings()


def test_volumes_of_one_size_without_regions_stay_as_they_are() -> None:
    assert common_grid([Extent((8, 9, 10), (1, 1, 1)), Extent((8, 9, 10), (2, 1, 1))], AUTO) is None


def test_the_window_holds_the_largest_field_at_the_median_voxel() -> None:
    fields = [Extent((10, 20, 20), (4, 2, 2)), Extent((20, 10, 18), (4, 2, 2)), Extent((9, 9, 9), (8, 8, 8))]
    found = common_grid(fields, AUTO)
    assert found is not None
    assert found.spacing_mm == pytest.approx((2.6,) * 3)  # the cube of 16 cubic millimetres, rounded up to tenths
    assert found.image_size == (32, 28, 28)  # 80, 72 and 72 mm
    assert found.about == "field"


def test_a_large_window_is_coarse_enough() -> None:
    found = common_grid([Extent((300, 500, 500), (1, 1, 1)), Extent((250, 400, 400), (1, 1, 1))], AUTO)
    assert found is not None
    assert math.prod(found.image_size) <= MOST_VOXELS
    finer = np.ceil(np.array([300, 500, 500]) / (found.spacing_mm[0] - 0.1) / 4 - 1e-6) * 4
    assert finer.prod() > MOST_VOXELS


def test_a_spacing_that_is_set_holds() -> None:
    found = common_grid([Extent((30, 50, 50), (1, 1, 1), (10, 20, 8))], replace(AUTO, spacing_mm=(2.0, 1.0, 1.0)))
    assert found == CommonGrid((2, 1, 1), (8, 20, 20), "region")


def test_the_recorded_form_is_read_again() -> None:
    found = CommonGrid((2.0, 1.0, 1.0), (8, 20, 20), "region")
    assert CommonGrid.from_json(found.to_json()) == found


def read(path: Path, **settings: object) -> Dataset:
    return load_dataset(str(path), DataSettings(cache=False, **settings), 0)  # type: ignore[arg-type]


def test_every_region_lies_in_the_middle_at_its_true_size(tmp_path: Path) -> None:
    dataset = read(cohort(tmp_path), region_channel=True)
    assert dataset.grid is not None
    assert dataset.task.channel_names == ("PET", "CT", "region")
    assert dataset.channel_kinds == ("pet", "ct", "mask")
    size = dataset.grid.image_size
    assert dataset.task.image_size == size == (16, 16, 16)  # a ball of 12 mm with 10 mm on every side
    assert dataset.grid.spacing_mm == (2, 2, 2)
    for image in dataset.images:
        region = image[2].numpy()
        assert set(np.unique(region)) == {0, 1}
        assert np.abs(np.array(ndimage.center_of_mass(region)) - 7.5).max() < 1
        assert region.sum() * 8 == pytest.approx(4 / 3 * math.pi * 6**3, rel=0.15)
        assert image[1].numpy()[region > 0].mean() > 80
        assert image[1].numpy()[ndimage.binary_dilation(region, iterations=2) == 0].max() < 5


def test_what_is_around_a_region_is_the_image_and_not_padding(tmp_path: Path) -> None:
    path = cohort(tmp_path)
    for number in range(12):
        pet = nibabel.load(tmp_path / f"PET{number}.nii")
        nibabel.save(
            nibabel.Nifti1Image(np.full(pet.shape, 3.0, np.float32), pet.affine), tmp_path / f"PET{number}.nii"
        )
    assert all((image == 3).all() for image in read(path, modalities=("PET",), region_margin_mm=6.0).images)


def test_other_data_come_to_the_grid_of_the_run(tmp_path: Path) -> None:
    path = cohort(tmp_path)
    grid = CommonGrid((3.0, 3.0, 3.0), (12, 16, 16), "region")
    found = load_cases(str(path), grid.asked_by(DataSettings(cache=False, region_channel=True)), 0, grid.image_size)
    assert found.images.shape == (3, 12, 16, 16)
    assert found.spacing[0] == pytest.approx((3, 3, 3))


def test_without_regions_the_middles_of_the_fields_meet(tmp_path: Path) -> None:
    dataset = read(cohort(tmp_path, with_region=False), region_channel=True)
    assert dataset.grid is not None
    assert dataset.grid.about == "field"
    assert dataset.task.channel_names == ("PET", "CT")
    assert dataset.images.shape is not None


def test_regions_of_some_cases_are_no_channel(tmp_path: Path) -> None:
    path = cohort(tmp_path)
    path.write_text(path.read_text().replace("region3.nii", ""))
    dataset = read(path, region_channel=True)
    assert dataset.task.channels == 2
    assert any("Only 11 of 12 cases have a region" in note for note in dataset.notes)


def test_the_cache_remembers_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    path = cohort(tmp_path)
    first, second = (load_dataset(str(path), DataSettings(), 0) for _ in range(2))
    assert first.grid == second.grid is not None
