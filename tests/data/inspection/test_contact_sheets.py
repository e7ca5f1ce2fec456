"""Contact sheets show the right pixels, in the right place, grey, proportion and direction."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset
from archimed.data.inspection.contact_sheets import CAPTION, GAP, TITLE, contact_sheets, sheet_of_image
from archimed.data.inspection.describe import look
from archimed.data.inspection.description import write_description
from archimed.data.inspection.views import COLOURS, Style, picture, shown_limits
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.data.volume import Volume
from archimed.task import ImagingTask

Rows = list[dict[str, object]]
GREY = Style(((0.0, 255.0),), False, 60)


@pytest.fixture
def dataset(table_rows: Rows, write_table: Callable[..., str]) -> Dataset:
    return load_dataset(write_table(table_rows), DataSettings(), 0)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as sheet:
        return np.asarray(sheet)


def test_one_sheet_for_each_class_with_its_images(tmp_path: Path, dataset: Dataset) -> None:
    paths = contact_sheets(dataset, look(dataset), tmp_path)
    assert [path.name for path in paths] == ["00-benign.png", "01-malignant.png"]
    sheet = opened(paths[0])
    expected = Image.fromarray(dataset.images[0][0].numpy()).resize((93, 112), Image.Resampling.BICUBIC)
    top = GAP + TITLE
    assert np.array_equal(sheet[top : top + 112, GAP : GAP + 93, 0], np.asarray(expected))
    assert sheet.shape[:2] == (top + 112 + CAPTION + GAP, GAP + 6 * (93 + GAP))


def test_masks_have_one_sheet_with_contours(tmp_path: Path) -> None:
    images = torch.zeros(2, 1, 20, 20, dtype=torch.uint8)
    images[:, :, 5:9, 5:9] = 200
    masks = torch.zeros(2, 20, 20, dtype=torch.uint8)
    masks[:, 5:9, 5:9] = 1
    cases = (Case("a", "a"), Case("b", "b"))
    target = torch.ones(2, 2)
    task = ImagingTask("segmentation", ("background", "nucleus"), 1, (20, 20))
    dataset = Dataset("cells", "masks", task, cases, Arrays.of(images), target, Arrays.of(masks))
    (path,) = contact_sheets(dataset, look(dataset), tmp_path)
    sheet = opened(path).astype(int)
    assert path.name == "00-cells.png"
    red = (sheet == COLOURS[0]).all(2)
    rows, columns = np.nonzero(red[GAP + TITLE + 20 :])
    assert columns.min() > GAP + 224  # the plain image is left of the one with contours
    assert (rows.max() - rows.min() + 1) == pytest.approx(224 * 4 / 20, abs=1.5)


def test_proportions_follow_the_spacing() -> None:
    image = np.zeros((1, 10, 10), np.uint8)
    assert picture(image, None, (1.0, 2.0), GREY).shape == (30, 60, 3)
    assert picture(image, None, None, GREY).shape == (60, 60, 3)


def test_slices_of_a_volume_have_the_head_up_and_the_left_of_the_patient_on_the_right() -> None:
    image = np.zeros((1, 20, 20, 20), np.uint8)
    image[0, 19, :, :] = 255  # the topmost slice
    image[0, :, :, 19] = 255  # the leftmost of the patient
    image[0, :, 0, :] = 255  # the front
    views = picture(image, None, (1.0, 1.0, 1.0), Style(((0.0, 255.0),), False, 20))
    axial, coronal, sagittal = (views[:, start : start + 20, 0] for start in (0, 22, 44))
    assert (axial[0] == 255).all()
    assert (axial[:, 19] == 255).all()
    assert axial[10, 5] == 0
    assert (coronal[0] == 255).all()
    assert (coronal[:, 19] == 255).all()
    assert (sagittal[0] == 255).all()
    assert (sagittal[:, 0] == 255).all()
    assert sagittal[10, 10] == 0


def test_slices_go_where_the_mask_is() -> None:
    image = np.arange(20, dtype=np.uint8)[:, None, None].repeat(20, 1).repeat(20, 2)[None] * 10
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[3, 2:8, 2:8] = 1
    shown = picture(image, mask, None, Style(((0.0, 255.0),), False, 20))
    assert (shown[:20, :20] == 30).all()
    assert (shown[22:42, :20] == COLOURS[0]).all(2).sum() == 20  # contour of a square of 6


def test_windows_are_those_of_radiology() -> None:
    assert shown_limits("ct", False, (-1000, -900, 0, 900, 3000)) == (-160, 240)
    assert shown_limits("pet", False, (0, 0, 1, 5, 40)) == (10, 0)
    assert shown_limits("mr", False, (-1, -1, 0, 4, 9)) is None
    assert shown_limits("other", True, (0, 3, 90, 200, 255)) == (0, 255)
    assert shown_limits("other", True, (0, 0, 0, 1, 1)) == (0, 1)
    assert shown_limits("other", False, (0, 30, 500, 3000, 60000)) == (30, 3000)
    pet = np.array([[[0.0, 5.0, 10.0, 40.0]]], np.float32).repeat(4, 1)
    shown = picture(pet, None, None, Style(((10.0, 0.0),), False, 4))
    assert shown[0, :, 0].tolist() == [255, 127, 0, 0]


def test_colour_images_stay_coloured_and_channels_of_modalities_stand_side_by_side() -> None:
    image = np.zeros((3, 8, 8), np.uint8)
    image[0] = 255
    three = ((0.0, 255.0),) * 3
    assert (picture(image, None, None, Style(three, True, 8)) == (255, 0, 0)).all()
    assert picture(image, None, None, Style(three, False, 8)).shape == (8, 28, 3)


@pytest.mark.parametrize(("dtype", "space"), [(torch.uint16, (8, 8)), (torch.float32, (4, 8, 8))])
def test_sheets_of_other_types_and_volumes(
    tmp_path: Path, dataset: Dataset, dtype: torch.dtype, space: tuple[int, ...]
) -> None:
    images = Arrays.of((torch.rand(12, 2, *space) * 5000).to(dtype))
    task = dataclasses.replace(dataset.task, channels=2, image_size=space)
    changed = dataclasses.replace(dataset, images=images, task=task, channel_kinds=())
    assert len(contact_sheets(changed, look(changed), tmp_path)) == 2


def test_images_with_nan_or_of_one_value_are_shown() -> None:
    image = np.full((1, 8, 8), np.nan, np.float32)
    assert picture(image, None, None, Style((None,), False, 8)).shape == (8, 8, 3)


def test_a_description_holds_pairs_that_look_alike_and_the_fingerprint(
    tmp_path: Path, table_rows: Rows, write_table: Callable[..., str]
) -> None:
    image = np.asarray(Image.open(tmp_path / str(table_rows[2]["image"])))
    Image.fromarray((image * 0.8 + 20).astype(np.uint8)).save(tmp_path / str(table_rows[9]["image"]))
    paths, found = write_description(write_table(table_rows), DataSettings(), 0, tmp_path / "look")
    assert found is None
    assert [path.name for path in paths] == ["00-benign.png", "01-malignant.png", "look-alikes.png", "data.json"]
    assert all(path.exists() for path in paths)


def test_a_single_image_is_pictured(tmp_path: Path, make_image: Callable[..., str]) -> None:
    source = tmp_path / make_image("one.png", size=(20, 30))
    (path,), found = write_description(str(source), DataSettings(), 0, tmp_path / "look")
    assert opened(path).shape[1] >= 400
    assert found is not None
    assert found.fatal
    volume = Volume(np.zeros((1, 5, 6, 7), np.int16), spacing=(3.0, 1.0, 1.0), kind="ct")
    assert sheet_of_image(volume, tmp_path).exists()
