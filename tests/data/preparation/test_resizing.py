import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.preparation.resizing import resize


@pytest.mark.parametrize(("old", "new"), [(64, 28), (28, 64), (30, 20)])
def test_resizing_agrees_with_pillow(old: int, new: int) -> None:
    pixels = np.random.default_rng(0).random((old, old)).astype(np.float32)
    expected = np.asarray(Image.fromarray(pixels).resize((new, new), Image.Resampling.BICUBIC))
    found = resize(torch.from_numpy(pixels)[None, None], new)[0, 0].numpy()
    assert np.abs(found - expected).max() < (2e-2 if new > old else 1e-5)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_type_and_constant_images_are_kept(dtype: torch.dtype) -> None:
    images = torch.full((3, 2, 10, 12), 200).to(dtype)
    found = resize(images, 16)
    assert found.dtype == dtype
    assert found.shape == (3, 2, 16, 16)
    assert (found.float() - 200).abs().max() < 1e-3


def test_overshoot_is_clamped_to_the_type() -> None:
    step = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    step[..., 8:] = 255
    values = resize(step, 64)[0, 0, 0].int()
    assert values.min() == 0
    assert (values.diff() >= -30).all()  # without clamping 255 + 10 would wrap round to 9


def test_volumes_shrink_by_their_mean() -> None:
    volume = torch.rand(2, 1, 8, 8, 8)
    expected = volume.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).mean((-1, -2, -3))
    assert torch.allclose(resize(volume, 4), expected, atol=1e-6)
    assert resize(volume, 12).shape == (2, 1, 12, 12, 12)


@pytest.mark.parametrize(("old", "new"), [(35, 32), (50, 32), (7, 3), (9, 8)])
def test_volumes_shrink_in_place_at_odd_ratios(old: int, new: int) -> None:
    ramp = torch.arange(old, dtype=torch.float32).expand(1, 1, 4, 6, old)
    expected = (torch.arange(new) + 0.5) * old / new - 0.5  # the middle of each new voxel
    assert torch.allclose(resize(ramp, (4, 6, new))[0, 0, 1, 1], expected, atol=0.13)
    values = torch.rand(1, 1, 5, old, old)
    fine = values.repeat_interleave(new, 3).repeat_interleave(new, 4)  # each voxel in parts that fit both grids
    parts = fine.unfold(3, old, old).unfold(4, old, old).mean((-1, -2))
    assert torch.allclose(resize(values, (5, new, new)), parts, atol=1e-5)


def test_same_size_is_not_copied() -> None:
    images = torch.zeros(2, 1, 8, 8)
    assert resize(images, 8) is images
