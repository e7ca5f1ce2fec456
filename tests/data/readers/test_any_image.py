from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from archimed.data.preparation.resampling import resample, same_grid, spaced_grid
from archimed.data.readers.any_image import is_image, read_image, read_mask
from archimed.data.volume import Volume
from archimed.errors import DataError

RNG = np.random.default_rng(0)
AFFINE = np.array([[-0.7, 0, 0, 90], [0, -0.8, 0, 80], [0, 0, 2.5, -70], [0, 0, 0, 1.0]])  # as CT: left, posterior
CT = RNG.integers(-1000, 3000, (12, 10, 6)).astype(np.int16)  # width, height, depth, as NIfTI has them


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = AFFINE) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def classes_of(values: np.ndarray) -> np.ndarray:
    return (values > 1000).astype(np.uint8) + 2 * (values < -500).astype(np.uint8)


@pytest.fixture
def ct(tmp_path: Path) -> Volume:
    return read_image(save(tmp_path / "ct.nii.gz", CT), "row 1")


def mask(path: Path, reference: Volume) -> np.ndarray:
    return read_mask(path, "the mask of row 1", reference, None)


def refused(path: Path, reference: Volume, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        mask(path, reference)
    assert "the mask of row 1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "a.tif", "a.bmp"])
def test_pictures_become_volumes_without_a_place(tmp_path: Path, name: str) -> None:
    pixels = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / name)
    found = read_image(tmp_path / name, "row 1")
    assert np.array_equal(found.pixels, np.moveaxis(pixels, -1, 0))
    assert (found.affine, found.spacing, found.kind, found.patient) == (None, None, "other", None)
    assert is_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.mhd", "a.nrrd", "a.nhdr", "A.NII.GZ"])
def test_volumes_are_the_same_from_every_kind_of_file(tmp_path: Path, ct: Volume, name: str) -> None:
    image = SimpleITK.ReadImage(str(tmp_path / "ct.nii.gz"))
    written = tmp_path / name.lower()
    SimpleITK.WriteImage(image, str(written), name.endswith("a"))
    found = read_image(written.rename(tmp_path / name), "row 1")
    assert np.array_equal(found.pixels, ct.pixels)
    assert same_grid(found, ct)
    assert is_image(tmp_path / name)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    for name in ("notes.txt", "table.csv", ".hidden.png", "._ct.nii.gz"):
        (tmp_path / name).write_text("hello")
        assert not is_image(tmp_path / name)
    assert not is_image(tmp_path)
    assert not is_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"known kind; row 1, .*notes\.txt"):
        read_image(tmp_path / "notes.txt", "row 1")
    with pytest.raises(DataError, match="must exist; row 1"):
        read_image(tmp_path / "gone.nii", "row 1")
    with pytest.raises(DataError, match="row 1"):
        read_image(tmp_path, "row 1")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_class_numbers_come_back_whole_whatever_their_type(tmp_path: Path, ct: Volume, dtype: type) -> None:
    found = mask(save(tmp_path / "mask.nii.gz", classes_of(CT).astype(dtype)), ct)
    assert found.dtype.kind in "iu"
    assert np.array_equal(found, classes_of(ct.pixels[0]))


def test_a_mask_stored_in_another_orientation_fits_its_image(tmp_path: Path, ct: Volume) -> None:
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(classes_of(CT), AFFINE))
    nibabel.save(turned, tmp_path / "mask.nii.gz")
    assert np.array_equal(mask(tmp_path / "mask.nii.gz", ct), classes_of(ct.pixels[0]))


def test_a_mask_on_another_grid_is_carried_over_by_nearest_neighbour(tmp_path: Path, ct: Volume) -> None:
    fine = np.kron(classes_of(CT), np.ones((2, 2, 2), np.uint8))  # every voxel as eight of half the size
    affine = AFFINE.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= AFFINE[:3, :3] @ [0.25, 0.25, 0.25]
    save(tmp_path / "mask.nii", fine, affine)
    assert np.array_equal(mask(tmp_path / "mask.nii", ct), classes_of(ct.pixels[0]))
    part = affine.copy()
    part[:3, 3] += affine[:3, :3] @ [8, 6, 4]  # the file begins within the image: nothing is marked before
    save(tmp_path / "part.nii", fine[8:, 6:, 4:], part)
    expected = classes_of(ct.pixels[0])
    expected[:2], expected[:, :3], expected[:, :, :4] = 0, 0, 0
    assert np.array_equal(mask(tmp_path / "part.nii", ct), expected)


def test_masks_that_cannot_belong_to_the_image_are_refused(tmp_path: Path, ct: Volume) -> None:
    values = classes_of(CT)
    refused(save(tmp_path / "a.nii", values, np.eye(4)), ct, "without spacing and position")
    refused(save(tmp_path / "b.nii", values, None), ct, "both files must tell")
    far = AFFINE.copy()
    far[0, 3] += 500
    refused(save(tmp_path / "c.nii", values, far), ct, "nothing above 0 there")
    refused(save(tmp_path / "d.nii", values * 0.5), ct, "whole numbers up to 2\\^24; .* holds 0.5")
    refused(save(tmp_path / "e.nii", values.astype(np.int32) + 2**25), ct, "whole numbers up to")
    refused(save(tmp_path / "f.nii", np.stack([values, 1 - values], -1).astype(np.int16)), ct, "2 channels")
    bare = read_image(save(tmp_path / "bare.nii", CT, None), "row 1")
    assert np.array_equal(mask(tmp_path / "b.nii", bare), classes_of(bare.pixels[0]))
    refused(save(tmp_path / "g.nii", values), bare, "both files must tell")


def test_an_empty_mask_is_a_mask(tmp_path: Path, ct: Volume) -> None:
    assert not mask(save(tmp_path / "a.nii", np.zeros_like(CT)), ct).any()


def test_flat_masks_must_tell_their_orientation_where_the_image_does(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.nii", CT[:, :, 0]), "row 1")
    refused(save(tmp_path / "m.nii", classes_of(CT[:, :, 0]), None), image, "only its image does")
    assert np.array_equal(mask(save(tmp_path / "n.nii", classes_of(CT[:, :, 0])), image), classes_of(image.pixels[0]))


def test_masks_of_pictures_have_their_size_and_one_number_per_pixel(tmp_path: Path) -> None:
    picture = Volume(np.zeros((3, 7, 9), np.uint8))
    values = RNG.integers(0, 3, (7, 9), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([values] * 3, -1)).save(tmp_path / "equal.png")
    palette = Image.fromarray(values).convert("P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(values > 0).save(tmp_path / "bits.png")
    for name in ("grey", "equal", "palette"):
        assert np.array_equal(mask(tmp_path / f"{name}.png", picture), values)
    assert np.array_equal(mask(tmp_path / "bits.png", picture), 255 * (values > 0))
    Image.fromarray(RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)).save(tmp_path / "colours.png")
    refused(tmp_path / "colours.png", picture, "3 channels that differ")
    Image.fromarray(values[:-1]).save(tmp_path / "small.png")
    refused(tmp_path / "small.png", picture, "is 6x9 where the image is 7x9")


@pytest.mark.data
def test_pet_and_ct_of_one_patient_meet_on_one_grid(real_data: Path) -> None:
    for folder in sorted((real_data / "petct" / "sts").glob("STS_*"))[:6]:
        pet, ct = (read_image(folder / f"{name}_image.nii.gz", "row 1") for name in ("PET", "CT"))
        moved = resample(ct, pet.pixels.shape[1:], pet.affine, nearest=False)
        assert same_grid(moved, pet)
        own, other = (mask(folder / f"{name}_mask.nii.gz", pet) > 0 for name in ("PET", "CT"))
        overlap = 2 * (own & other).sum() / (own.sum() + other.sum())
        assert overlap > 0.9
        shape, affine = spaced_grid(ct, 4.0)
        coarse = resample(ct, shape, affine, nearest=False)
        assert coarse.pixels.mean() == pytest.approx(ct.pixels.mean(), abs=10)  # Hounsfield units


@pytest.mark.data
def test_hippocampus_masks_lie_on_their_images(real_data: Path) -> None:
    folder = real_data / "seg3d" / "hippocampus_msd"
    for path in sorted((folder / "images").glob("*.nii.gz"))[::13]:
        image = read_image(path, "row 1")
        found = mask(folder / "labels" / path.name, image)
        assert found.shape == image.pixels.shape[1:]
        assert set(np.unique(found)) == {0, 1, 2}
