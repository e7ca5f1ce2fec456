from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from archimed.data.dataset import Case
from archimed.data.listing import Entry, Modality
from archimed.data.preparation.case import PreparedCase, prepare
from archimed.data.settings import DataSettings
from archimed.errors import DataError

CT, PET = Modality("ct", "ct"), Modality("pet", "pet")


def nifti(path: Path, values: np.ndarray, spacing: tuple[float, float, float], start: float = 0.0) -> Path:
    """A volume [z, y, x] whose axes lie as archimed keeps them: x to the left, y to the back, z to the head."""
    affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    affine[:3, 3] = (-start, -start, start)
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), affine), path)
    return path


def case(*images: Path | None, mask: Path | None = None, region: Path | None = None) -> Entry:
    return Entry(Case("case-1", "case-1", origin="line 2 of cases.csv"), images, None if mask else "a", mask, region)


def prepared(entry: Entry, *modalities: Modality, **settings: object) -> PreparedCase:
    return prepare(entry, modalities or (Modality("image"),), DataSettings(**settings))  # type: ignore[arg-type]


@pytest.fixture
def ramp() -> np.ndarray:
    z, y, x = np.meshgrid(np.arange(8), np.arange(10), np.arange(12), indexing="ij")
    return (4 * x + 2 * y + z).astype(np.float32)


def test_another_modality_comes_to_the_grid_of_the_first(tmp_path: Path, ramp: np.ndarray) -> None:
    ct = nifti(tmp_path / "ct.nii", np.zeros((8, 10, 12), np.int16), (1, 1, 1))
    z, y, x = np.meshgrid(np.arange(16) / 2, np.arange(20) / 2, np.arange(24) / 2, indexing="ij")
    pet = nifti(tmp_path / "pet.nii", (4 * x + 2 * y + z).astype(np.float32), (0.5, 0.5, 0.5))
    found = prepared(case(ct, pet), CT, PET)
    assert found.channel_names == ("ct", "pet")
    assert found.channel_kinds == ("ct", "pet")
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(found.image[1].numpy()[inside], ramp[inside], atol=1e-4)


def test_spacing_is_what_was_asked_for(tmp_path: Path, ramp: np.ndarray) -> None:
    found = prepared(case(nifti(tmp_path / "a.nii", ramp, (3, 1, 1))), spacing_mm=1.0)
    assert found.spacing == pytest.approx((1, 1, 1))
    assert tuple(found.image.shape) == (1, 24, 10, 12)


def test_image_and_mask_are_cropped_to_the_region_with_its_margin(tmp_path: Path, ramp: np.ndarray) -> None:
    image = nifti(tmp_path / "a.nii", ramp, (2, 1, 1))
    drawn = np.zeros(ramp.shape, np.uint8)
    drawn[3:5, 4:6, 5:8] = 1
    region = nifti(tmp_path / "region.nii", drawn, (2, 1, 1))
    found = prepared(case(image, mask=region, region=region), region_margin_mm=2.0)
    np.testing.assert_array_equal(found.image[0].numpy(), ramp[2:6, 2:8, 3:10])
    assert found.mask is not None
    np.testing.assert_array_equal(found.mask.numpy(), drawn[2:6, 2:8, 3:10])


def test_pictures_are_cropped_too(tmp_path: Path) -> None:
    pixels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    drawn = np.zeros((10, 20), np.uint8)
    drawn[4:6, 10:12] = 255
    for name, values in (("a", pixels), ("region", drawn)):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    found = prepared(case(tmp_path / "a.png", region=tmp_path / "region.png"), region_margin_mm=1.0)
    np.testing.assert_array_equal(found.image[0].numpy(), pixels[3:7, 9:13])


def test_an_empty_region_names_its_case(tmp_path: Path, ramp: np.ndarray) -> None:
    image = nifti(tmp_path / "a.nii", ramp, (1, 1, 1))
    region = nifti(tmp_path / "region.nii", np.zeros(ramp.shape, np.uint8), (1, 1, 1))
    with pytest.raises(DataError, match=r"line 2 of cases\.csv is empty"):
        prepared(case(image, region=region))


def test_mr_is_in_units_of_its_own_foreground(tmp_path: Path, ramp: np.ndarray) -> None:
    body = ramp.copy()
    body[:, :3] = 0
    values = prepared(case(nifti(tmp_path / "a.nii", 1000 * body, (1, 1, 1))), kind="mr").image[0].numpy()
    assert values[body > 0].mean() == pytest.approx(0, abs=1e-5)
    assert values[body > 0].std() == pytest.approx(1, abs=1e-5)


def test_ct_is_whole_hounsfield_units_whatever_the_file_holds(tmp_path: Path) -> None:
    for number, values in enumerate((np.full((4, 4, 4), 40.4, np.float32), np.full((4, 4, 4), 40, np.uint8))):
        found = prepared(case(nifti(tmp_path / f"{number}.nii", values, (1, 1, 1))), CT)
        assert str(found.image.dtype) == "torch.int16"
        assert (found.image == 40).all()


def test_a_missing_modality_is_air(tmp_path: Path, ramp: np.ndarray) -> None:
    pet = nifti(tmp_path / "pet.nii", ramp, (1, 1, 1))
    found = prepared(case(None, pet), CT, PET, missing_modality="zero")
    assert (found.image[0] == -1000).all()
    np.testing.assert_array_equal(found.image[1].numpy(), ramp)


@pytest.mark.parametrize("how", ["resize", "crop-or-pad"])
def test_image_and_mask_come_to_one_size(tmp_path: Path, ramp: np.ndarray, how: str) -> None:
    mask = nifti(tmp_path / "mask.nii", (ramp > 30).astype(np.uint8), (1, 1, 1))
    entry = case(nifti(tmp_path / "a.nii", ramp, (1, 1, 1)), mask=mask)
    found = prepared(entry, image_size=(8, 8, 8), fit=how)
    assert found.mask is not None
    assert tuple(found.image.shape[1:]) == tuple(found.mask.shape) == (8, 8, 8)
    if how == "crop-or-pad":
        np.testing.assert_array_equal(found.mask.numpy(), (found.image[0].numpy() > 30))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"spacing_mm": 1.0}, "tell their spacing"), ({"image_size": (8, 8, 8)}, "one number per axis")],
)
def test_settings_that_do_not_fit_pictures_are_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=message):
        prepared(case(tmp_path / "a.png"), **settings)


def test_instances_beyond_the_classes_ask_for_foreground(tmp_path: Path, ramp: np.ndarray) -> None:
    image = nifti(tmp_path / "a.nii", ramp, (1, 1, 1))
    mask = nifti(tmp_path / "mask.nii", (10 * ramp).astype(np.int16), (1, 1, 1))
    with pytest.raises(DataError, match="mask_values=foreground"):
        prepared(case(image, mask=mask))
    found = prepared(case(image, mask=mask), mask_values="foreground")
    assert found.mask is not None
    np.testing.assert_array_equal(found.mask.numpy(), ramp > 0)


def test_pictures_of_two_modalities_must_have_one_size(tmp_path: Path) -> None:
    for name, side in (("a", 9), ("b", 8)):
        Image.fromarray(np.zeros((side, side), np.uint8)).save(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match="9x9 and t2 8x8"):
        prepared(case(tmp_path / "a.png", tmp_path / "b.png"), Modality("t1"), Modality("t2"))
