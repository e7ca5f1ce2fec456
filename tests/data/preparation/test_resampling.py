from itertools import permutations, product

import nibabel
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from archimed.data.preparation.resampling import canonical, resample, respace, same_grid, spaced_grid
from archimed.data.volume import Volume
from archimed.errors import DataError

RNG = np.random.default_rng(0)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def grid(spacing: tuple[float, float, float], corner: tuple[float, float, float], turn: float = 0.0) -> np.ndarray:
    """An affine in canonical order: depth up, height back, width left; turned about an odd axis by some radians."""
    affine = np.eye(4)
    directions = np.array([[0.0, 0, -1], [0, -1, 0], [1, 0, 0]])
    affine[:3, :3] = Rotation.from_rotvec(turn * np.array([0.6, 0.0, 0.8])).as_matrix() @ directions * spacing
    affine[:3, 3] = corner
    return affine


def volume(pixels: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(pixels[None], affine, tuple(np.linalg.norm(affine[:3, :3], axis=0)))


def itk(pixels: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """The same image for SimpleITK, whose indices run width first and whose millimetres are LPS."""
    image = SimpleITK.GetImageFromArray(pixels)
    steps = (LPS @ affine)[:3, [2, 1, 0]]
    image.SetSpacing(np.linalg.norm(steps, axis=0).tolist())
    image.SetDirection((steps / np.linalg.norm(steps, axis=0)).ravel().tolist())
    image.SetOrigin((LPS @ affine)[:3, 3].tolist())
    return image


def by_itk(pixels: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], to: np.ndarray, method: int) -> np.ndarray:
    target = itk(np.zeros(shape, np.float32), to)
    moving = itk(pixels, affine)
    moved = SimpleITK.Resample(moving, target, SimpleITK.Transform(), method, float(pixels.min()))
    return SimpleITK.GetArrayFromImage(moved)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product([1, -1], repeat=3)))
@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_canonical_axes_are_those_of_nibabel(order: tuple[int, ...], signs: tuple[int, ...], turn: float) -> None:
    pixels = RNG.integers(0, 99, (2, 3, 4)).astype(np.int16)
    steps = np.zeros((3, 3))
    steps[list(order), range(3)] = np.array(signs) * [1.5, 2, 3]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([turn * 0.6, 0, turn * 0.8]).as_matrix() @ steps
    affine[:3, 3] = [5, 6, 7]
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(pixels, affine))  # x right, y anterior, z superior
    found, place = canonical(pixels[None], affine)
    assert np.array_equal(found[0], np.asarray(expected.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1])
    for index in np.ndindex(found.shape[1:]):
        x, y, z = index[2], index[1], index[0]
        theirs = expected.affine @ [found.shape[3] - 1 - x, found.shape[2] - 1 - y, z, 1]
        assert np.allclose(place @ [*index, 1], theirs)


@pytest.mark.parametrize("affine", [np.diag([1.0, 0, 1, 1]), np.diag([1.0, np.nan, 1, 1]), np.ones((4, 4))])
def test_an_affine_without_volume_is_refused(affine: np.ndarray) -> None:
    with pytest.raises(ValueError, match="affine"):
        canonical(np.zeros((1, 2, 2, 2)), affine)


def test_grids_are_compared_by_the_places_of_their_corners() -> None:
    one = volume(np.zeros((4, 50, 60)), grid((3, 1, 1), (10, 20, 30)))
    assert same_grid(one, volume(np.ones((4, 50, 60)), grid((3, 1, 1), (10.001, 20, 30))))
    assert not same_grid(one, volume(np.zeros((4, 50, 60)), grid((3, 1, 1), (10.1, 20, 30))))
    assert not same_grid(one, volume(np.zeros((4, 50, 60)), grid((3, 1.001, 1), (10, 20, 30))))  # 0.05 mm at the end
    assert not same_grid(one, volume(np.zeros((4, 50, 61)), grid((3, 1, 1), (10, 20, 30))))
    assert same_grid(Volume(np.zeros((1, 5, 6))), Volume(np.zeros((3, 5, 6)), spacing=(1.0, 1.0)))
    assert not same_grid(Volume(np.zeros((1, 5, 6)), spacing=(1.0, 1.1)), Volume(np.zeros((1, 5, 6)), spacing=(1.0, 1)))


@pytest.mark.parametrize("turn", [0.0, 0.3], ids=["aligned", "oblique"])
@pytest.mark.parametrize("spacing", [(1.1, 0.9, 0.8), (2.0, 1.0, 0.7)])
def test_finer_grids_agree_with_simpleitk(turn: float, spacing: tuple[float, float, float]) -> None:
    pixels = RNG.normal(size=(9, 14, 12)).astype(np.float32)
    source, target = grid((2, 1.2, 1), (3, 4, 5)), grid(spacing, (1, 2.2, 7), turn)
    found = resample(volume(pixels, source), (10, 12, 14), target, nearest=False).pixels[0]
    expected = by_itk(pixels, source, (10, 12, 14), target, SimpleITK.sitkLinear)
    inside = expected != pixels.min()
    assert inside.any()
    assert (~inside).any()
    assert np.allclose(found[inside], expected[inside], atol=2e-5)
    places = (
        np.linalg.inv(source) @ target @ np.stack([i.ravel() for i in (*np.indices(found.shape), np.ones(found.shape))])
    )
    border = np.abs(np.abs(places[:3].T - (np.array(pixels.shape) - 1) / 2) - np.array(pixels.shape) / 2).min(1) < 0.011
    assert np.array_equal((found == pixels.min()).ravel()[~border], ~inside.ravel()[~border])


@pytest.mark.parametrize("turn", [0.0, 0.3], ids=["aligned", "oblique"])
def test_nearest_agrees_with_brute_force_and_simpleitk(turn: float) -> None:
    classes = RNG.integers(1, 5, (6, 9, 8)).astype(np.uint8)
    source, target = grid((2, 1.2, 1), (3, 4, 5)), grid((2.3, 1.7, 1.31), (1.03, 2.21, 6.07), turn)
    found = resample(volume(classes, source), (7, 8, 7), target, nearest=True).pixels[0]
    assert found.dtype == np.uint8
    expected = np.zeros_like(found)
    for index in np.ndindex(found.shape):
        place = (np.linalg.inv(source) @ target @ [*index, 1])[:3]
        if (place > -0.5).all() and (place < np.array(classes.shape) - 0.5).all():
            expected[index] = classes[tuple(np.rint(place).astype(int))]
    assert (expected == 0).any()
    assert np.array_equal(found, expected)
    theirs = by_itk(classes, source, (7, 8, 7), target, SimpleITK.sitkNearestNeighbor)
    assert np.array_equal(found[expected > 0], theirs[expected > 0])


@pytest.mark.parametrize("turn", [0.0, 0.2], ids=["aligned", "oblique"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint16])
def test_a_ramp_is_reproduced_where_its_neighbours_are_known(turn: float, dtype: type) -> None:
    shape = (20, 30, 32)
    d, h, w = np.indices(shape)
    pixels = (100 * d + 10 * h + 40 * w).astype(dtype)
    source, target = grid((2, 1, 1), (0, 0, 0)), grid((3, 2.5, 3), (-7.7, -9.3, 9.1), turn)
    found = resample(volume(pixels, source), (8, 6, 5), target, nearest=False)
    assert found.pixels.dtype == dtype
    places = (
        np.linalg.inv(source)
        @ target
        @ np.stack([*np.indices(found.pixels.shape[1:]), np.ones((8, 6, 5))]).reshape(4, -1)
    )
    expected = ([100, 10, 40] @ places[:3]).reshape(8, 6, 5)
    margin = 5  # the Gaussian reaches four standard deviations, 4.8 voxels at most
    inside = ((places[:3] > margin) & (places[:3] < np.array(shape)[:, None] - 1 - margin)).all(0).reshape(8, 6, 5)
    assert inside.sum() > 30
    assert np.abs(found.pixels[0] - expected)[inside].max() < (0.51 if dtype != np.float32 else 0.02)


def test_both_ways_of_computing_agree_on_a_coarser_grid() -> None:
    pixels = RNG.normal(size=(1, 18, 40, 44)).astype(np.float32)
    source = Volume(pixels, grid((2, 1, 1), (0, 0, 0)))
    straight = resample(source, (7, 12, 14), grid((5, 3.1, 3), (-1, -1, 1)), nearest=False).pixels
    turned = resample(source, (7, 12, 14), grid((5, 3.1, 3), (-1, -1, 1), 1e-3), nearest=False).pixels
    assert np.abs(straight - turned).max() < 0.02
    assert straight.std() < 0.2  # noise of 1 averaged over some 45 voxels


def test_what_is_too_fine_for_the_grid_is_smoothed_away_before() -> None:
    stripes = np.zeros((8, 8, 64), np.float32)
    stripes[..., ::2] = 1
    found = resample(
        volume(stripes, grid((1, 1, 1), (0, 0, 0))), (8, 8, 16), grid((1, 1, 4), (-1.5, 0, 0)), nearest=False
    )
    assert np.abs(found.pixels[0, :, :, 2:-2] - 0.5).max() < 1e-2


def test_the_point_spread_of_a_coarser_grid_has_the_width_of_its_voxels() -> None:
    impulse = np.zeros((1, 1, 81), np.float32)
    impulse[..., 40] = 1
    fine = [
        resample(volume(impulse, grid((1, 1, 1), (0, 0, 0))), (1, 1, 17), grid((1, 1, 5), (s, 0, 0)), nearest=False)
        for s in range(5)
    ]
    places = np.concatenate([5 * np.arange(17) - s for s in range(5)]) - 40
    weights = np.concatenate([one.pixels[0, 0, 0] for one in fine])
    assert weights.sum() == pytest.approx(1, rel=1e-3)
    deviation = np.sqrt((weights * places**2).sum() / weights.sum())
    assert deviation * 2.3548 == pytest.approx(np.sqrt(25 - 1), rel=0.02)  # Cardoso et al. 2015, Eq. 4


def test_outside_of_the_source_lies_its_smallest_value_per_channel() -> None:
    pixels = np.stack([np.full((4, 4, 4), 7), np.full((4, 4, 4), -1000)]).astype(np.int16)
    pixels[0, 0, 0, 0] = 3
    far = grid((1, 1, 1), (100, 0, 0))
    found = resample(Volume(pixels, grid((1, 1, 1), (0, 0, 0))), (2, 2, 2), far, nearest=False).pixels
    assert (found[0] == 3).all()
    assert (found[1] == -1000).all()
    mask = resample(Volume(pixels, grid((1, 1, 1), (0, 0, 0))), (2, 2, 2), far, nearest=True).pixels
    assert not mask.any()


@pytest.mark.parametrize(("spacing", "shape"), [(2.0, (10, 11, 9)), ((4.0, 1.0, 0.5), (5, 22, 36)), (50.0, (1, 1, 1))])
def test_another_spacing_keeps_the_middle_and_the_field_of_view(
    spacing: float | tuple[float, ...], shape: tuple[int, ...]
) -> None:
    one = volume(RNG.normal(size=(7, 30, 17)).astype(np.float32), grid((2.8, 0.72, 1.05), (3, 4, 5), 0.3))
    found, affine = spaced_grid(one, spacing)
    assert found == shape
    assert np.allclose(np.linalg.norm(affine[:3, :3], axis=0), spacing)
    middles = [a @ [*((np.array(s) - 1) / 2), 1] for a, s in ((one.affine, (7, 30, 17)), (affine, shape))]
    assert np.allclose(*middles)
    assert not (resample(one, found, affine, nearest=False).pixels == one.pixels.min()).any()  # nothing from outside


def test_the_grid_it_has_already_changes_nothing() -> None:
    one = volume(RNG.integers(0, 4000, (4, 5, 6)).astype(np.uint16), grid((2, 1, 1), (3, 4, 5), 0.3))
    shape, affine = spaced_grid(one, one.spacing)
    assert same_grid(one, resample(one, shape, affine, nearest=False))
    assert np.array_equal(resample(one, shape, affine, nearest=False).pixels, one.pixels)


def test_images_without_a_place_are_respaced_too() -> None:
    ramp = np.arange(40, dtype=np.float32)[None, None] * np.ones((1, 10, 1), np.float32)
    image = Volume(ramp, spacing=(1.0, 0.5))
    found = respace(image, 0.25, nearest=False)
    assert found.pixels.shape == (1, 40, 80)
    assert found.spacing == (0.25, 0.25)
    assert np.allclose(found.pixels[0, :, 1:-1], (np.arange(80) * 0.5 - 0.25)[1:-1])
    assert respace(Volume(ramp.astype(np.uint8), spacing=(1.0, 0.5)), 1.0, nearest=True).pixels.shape == (1, 10, 20)
    with pytest.raises(DataError, match="must tell its own"):
        respace(Volume(ramp), 1.0, nearest=False)
    with pytest.raises(DataError, match="one per axis"):
        respace(image, (1.0, 1.0, 1.0), nearest=False)
    with pytest.raises(DataError, match="coarser"):
        respace(image, 1e-4, nearest=False)
