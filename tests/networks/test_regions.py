import numpy as np
import torch

from archimed.networks.regions import RegionNumbers, bright, region_statistics


def test_bright_is_what_lies_above_two_fifths_of_the_range_of_each_image() -> None:
    images = torch.tensor([[[0.0, 4.0, 4.1, 10.0]], [[-1.0, -1.0, -1.0, -1.0]], [[20.0, 26.0, 24.0, 30.0]]])
    expected = [[[False, False, True, True]], [[False] * 4], [[False, True, False, True]]]
    assert bright(images).tolist() == expected


def test_scale_and_offset_do_not_matter() -> None:
    images = torch.randn(5, 6, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bright(images), bright(3.5 * images - 12))


def test_region_statistics_are_those_of_numpy() -> None:
    images, region = torch.randn(3, 2, 4, 5, 6), (torch.rand(3, 1, 4, 5, 6) > 0.7).float()
    region[2] = 0
    found = region_statistics(images, region).numpy()
    for image, mask, numbers in zip(images.numpy(), region[:, 0].numpy() > 0, found, strict=True):
        inside = image[:, mask]
        expected = [np.log(max(1, mask.sum()))] if mask.any() else [0.0]
        told = [inside.mean(1), inside.std(1), inside.max(1)] if mask.any() else [np.zeros(6)]
        np.testing.assert_allclose(numbers, np.concatenate([*told, expected]), atol=1e-6)


def test_numbers_are_standardised_by_all_images_met_in_training() -> None:
    images, region = torch.randn(20, 2, 4, 4, 4) + torch.arange(20).view(-1, 1, 1, 1, 1), torch.ones(20, 1, 4, 4, 4)
    region[:, :, 0] = (torch.rand(20, 1, 4, 4) > 0.5).float()
    module = RegionNumbers(2)
    for rows in torch.arange(20).split(7):
        module(images[rows], region[rows])
    expected = region_statistics(images, region)
    torch.testing.assert_close(module.mean, expected.mean(0))
    torch.testing.assert_close(module.variance, expected.var(0, correction=0))
    found = module.eval()(images, region)
    torch.testing.assert_close(found.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(module(images[:1], region[:1]), found[:1])


def test_a_batch_of_one_gives_numbers() -> None:
    assert torch.equal(RegionNumbers(1)(torch.randn(1, 1, 4, 4), torch.ones(1, 1, 4, 4)), torch.zeros(1, 4))
