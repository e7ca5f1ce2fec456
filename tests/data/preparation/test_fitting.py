import numpy as np
import pytest
import torch

from archimed.data.preparation.fitting import crop, crop_to_region, fit, region_box
from archimed.data.preparation.resizing import resize
from archimed.data.volume import Volume
from archimed.errors import DataError

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(5, 7), (12, 16), (4, 20), (9, 10)])
def test_crop_or_pad_is_numpy_slicing_and_padding(dtype: type, size: tuple[int, int]) -> None:
    pixels = RNG.integers(3, 200, (2, 9, 10)).astype(dtype)
    found = fit(torch.from_numpy(pixels), size, "crop-or-pad", nearest=False).numpy()
    assert found.dtype == dtype
    for channel, one in zip(found, pixels, strict=True):
        expected = one
        for axis, (old, new) in enumerate(zip((9, 10), size, strict=True)):
            start = max(0, (old - new) // 2)
            expected = expected.take(range(start, start + min(old, new)), axis)
            before = max(0, (new - old) // 2)
            widths = [(0, 0), (0, 0)]
            widths[axis] = (before, max(0, new - old) - before)
            expected = np.pad(expected, widths, constant_values=one.min())
        assert np.array_equal(channel, expected)


def test_padding_is_zero_for_masks_and_what_is_asked_for() -> None:
    pixels = torch.full((1, 2, 2, 2), 5, dtype=torch.uint8)
    assert fit(pixels, (4, 4, 4), "crop-or-pad", nearest=True).sum() == 8 * 5
    assert fit(pixels, (4, 2, 2), "crop-or-pad", nearest=False).eq(5).all()
    assert fit(pixels.float(), (4, 2, 2), "crop-or-pad", nearest=False, fill=-1.5).sum() == 8 * 5 - 8 * 1.5


@pytest.mark.parametrize("size", [(5, 7), (12, 33), (4, 20), (3, 4, 9), (8, 20, 11)])
def test_masks_are_resized_to_the_pixel_that_holds_the_middle(size: tuple[int, ...]) -> None:
    shape = (9, 14, 11)[: len(size)]
    mask = RNG.integers(0, 1000, (1, *shape)).astype(np.uint16)
    found = fit(torch.from_numpy(mask), size, "resize", nearest=True).numpy()
    for index in np.ndindex(size):
        place = [int((i + 0.5) * old / new + 1e-9) for i, old, new in zip(index, shape, size, strict=True)]
        assert found[(0, *index)] == mask[(0, *place)]


def test_each_axis_has_its_size_and_shrinks_by_its_mean() -> None:
    volume = torch.rand(1, 8, 6, 4)
    found = fit(volume, (4, 6, 8), "resize", nearest=False)
    halves = volume.unfold(1, 2, 2).mean(-1)
    expected = torch.nn.functional.interpolate(halves[None], size=(4, 6, 8), mode="trilinear")[0]
    assert torch.allclose(found, expected, atol=1e-6)
    assert resize(torch.rand(2, 3, 10, 12), (4, 6)).shape == (2, 3, 4, 6)


def test_hounsfield_units_stay_whole_and_in_range() -> None:
    step = torch.full((1, 16, 16), -32768, dtype=torch.int16)
    step[..., 8:] = 32767
    values = fit(step, (64, 64), "resize", nearest=False)
    assert values.dtype == torch.int16
    assert values[0, 0, 0] == -32768
    assert values[0, 0, -1] == 32767
    tens = torch.full((1, 9, 9), -1000, dtype=torch.int16)
    assert fit(tens, (4, 5), "resize", nearest=False).eq(-1000).all()


def test_region_is_boxed_with_its_margin_inside_the_image() -> None:
    region = np.zeros((10, 20, 30), np.uint8)
    region[4:6, 10, 1:3] = 2
    assert region_box(region, (5.0, 1.0, 2.0), 0) == (slice(4, 6), slice(10, 11), slice(1, 3))
    assert region_box(region, (5.0, 1.0, 2.0), 5) == (slice(3, 7), slice(5, 16), slice(0, 6))
    assert region_box(region, None, 2) == (slice(2, 8), slice(8, 13), slice(0, 5))


def test_a_cropped_volume_stays_where_it_is() -> None:
    affine = np.array([[0, 0, -2.0, 9], [0, -1, 0, 8], [5, 0, 0.1, 7], [0, 0, 0, 1]])
    pixels = RNG.normal(size=(2, 10, 20, 30)).astype(np.float32)
    region = np.zeros((10, 20, 30), np.uint8)
    region[4:6, 10, 9:13] = 1
    found = crop_to_region(Volume(pixels, affine, (5.0, 1.0, 2.0)), region, 3.0)
    assert np.array_equal(found.pixels, pixels[:, 3:7, 7:14, 7:15])
    assert np.allclose(found.affine @ [0, 0, 0, 1], affine @ [3, 7, 7, 1])
    assert found.spacing == (5.0, 1.0, 2.0)
    assert crop(Volume(pixels[:, 0]), (slice(1, 3), slice(0, 5))).pixels.shape == (2, 2, 5)


def test_an_empty_region_is_an_error_that_names_the_case() -> None:
    with pytest.raises(DataError, match="that of line 3 is empty"):
        crop_to_region(Volume(np.zeros((1, 4, 4), np.uint8)), np.zeros((4, 4), np.uint8), 1.0, "line 3")
