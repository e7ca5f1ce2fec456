"""Masks come back on the grid of the file that was read: in its axes, at its size, where it lies."""

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from archimed.data.dataset import Case
from archimed.data.listing import Entry, Modality
from archimed.data.preparation.case import prepare
from archimed.data.readers.any_image import read_image
from archimed.data.settings import DataSettings
from archimed.data.unlabelled import Source
from archimed.experiment.mask_files import answered_mask, pixel_volume_ml, write_mask

RNG = np.random.default_rng(1)
SHAPE = (9, 12, 7)


def affines() -> list[np.ndarray]:
    """Every order and direction of the axes, and one that is oblique."""
    found = []
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[list(order)] @ np.diag(np.array([1.0, 2.0, 3.0]) * signs)
        affine[:3, 3] = (5, -6, 7)
        found.append(affine)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    return [*found, turn @ np.diag([1.0, 1.5, 2.0, 1.0])]


def one_hot(mask: np.ndarray, classes: int) -> np.ndarray:
    return np.stack([mask == number for number in range(classes)]).astype(np.float32)


def prepared(path: Path, settings: DataSettings) -> tuple[np.ndarray, Source]:
    """The image as a network would see it, and where it comes from, as `unlabelled` tells it."""
    found = prepare(Entry(Case("a", "a", origin="a"), (path,)), (Modality("image"),), settings)
    affine = None if found.affine is None else found.affine @ np.linalg.inv(found.to_source)
    return found.image[0].numpy(), Source(path, found.source_shape, found.to_source, affine, found.spacing)


@pytest.mark.parametrize("affine", [*affines(), None], ids=str)
@pytest.mark.parametrize("shape", [SHAPE, (9, 12, 1)])
def test_a_volume_gets_its_mask_voxel_by_voxel(
    tmp_path: Path, affine: np.ndarray | None, shape: tuple[int, ...]
) -> None:
    truth = RNG.integers(0, 3, shape).astype(np.uint8)
    image = nibabel.Nifti1Image(truth, np.eye(4) if affine is None else affine)
    if affine is None:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    image.header["descrip"] = b"Doe, Jane"
    nibabel.save(image, tmp_path / "image.nii.gz")
    seen, source = prepared(tmp_path / "image.nii.gz", DataSettings(image_size=None))
    mask = answered_mask(one_hot(seen, 3), source)
    written = nibabel.load(write_mask(tmp_path, "mask", mask, source))
    assert np.array_equal(np.asarray(written.dataobj), truth)
    assert written.get_data_dtype() == np.uint8
    stored = nibabel.load(tmp_path / "image.nii.gz")
    assert np.array_equal(written.affine, stored.affine)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (
        int(stored.header["sform_code"]),
        int(stored.header["qform_code"]),
    )
    assert b"Doe" not in written.to_bytes()
    if affine is not None and shape[2] > 1:
        assert pixel_volume_ml(source) == pytest.approx(abs(np.linalg.det(affine[:3, :3])) / 1000)


@pytest.mark.parametrize(
    "settings",
    [
        DataSettings(image_size=24),
        DataSettings(image_size=(20, 24, 28)),
        DataSettings(image_size=24, fit="crop-or-pad"),
        DataSettings(image_size=None, spacing_mm=1.6),
        DataSettings(image_size=20, spacing_mm=2.5, fit="crop-or-pad"),
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [True, False])
def test_what_preparation_did_is_undone(tmp_path: Path, settings: DataSettings, known: bool) -> None:
    axes = np.stack(np.meshgrid(*(np.arange(side) for side in (30, 26, 20)), indexing="ij"))
    ball = (((axes - np.array([13, 12, 10])[:, None, None, None]) / [[[[8]]], [[[7]]], [[[6]]]]) ** 2).sum(0) < 1
    image = nibabel.Nifti1Image(ball.astype(np.float32) * 100, np.diag([-1.0, 1.2, 1.5, 1.0]))
    if not known:
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "image.nii")
    seen, source = prepared(tmp_path / "image.nii", settings)
    share = np.clip(seen / 100, 0, 1)
    mask = answered_mask(np.stack([1 - share, share]), source)
    found = np.asarray(nibabel.load(write_mask(tmp_path, "mask", mask, source)).dataobj) > 0
    assert found.shape == ball.shape
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.93
    middles = [np.argwhere(one).mean(0) for one in (found, ball)]
    assert middles[0] == pytest.approx(middles[1], abs=0.35)


def test_a_picture_gets_a_picture(tmp_path: Path) -> None:
    truth = np.zeros((40, 30), np.uint8)
    truth[8:28, 5:20] = 1
    truth[20:36, 12:26] = 2
    Image.fromarray(truth * 100).save(tmp_path / "image.png")
    seen, source = prepared(tmp_path / "image.png", DataSettings(image_size=(80, 60)))
    mask = answered_mask(one_hot(np.rint(seen / 100).clip(0, 2), 3), source)
    path = write_mask(tmp_path, "mask", mask, source)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        numbers = np.asarray(picture)
        assert picture.convert("RGB").getpixel((15, 10)) == (230, 159, 0)
    assert numbers.shape == truth.shape
    assert (numbers == truth).mean() > 0.97
    assert np.array_equal(read_image(path, "mask").pixels.shape[1:], truth.shape)
    assert pixel_volume_ml(source) is None


def test_outside_of_what_the_network_saw_is_background(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 200, np.uint8)).save(tmp_path / "image.png")
    _, source = prepared(tmp_path / "image.png", DataSettings(image_size=16, fit="crop-or-pad"))
    everywhere = np.stack([np.zeros((16, 16)), np.ones((16, 16))]).astype(np.float32)
    mask = answered_mask(everywhere, source)
    expected = np.zeros((40, 40), np.uint8)
    expected[12:28, 12:28] = 1
    assert np.array_equal(mask, expected)
