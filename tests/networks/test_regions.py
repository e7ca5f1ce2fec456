import torch

from archimed.networks.regions import bright


def test_bright_is_what_lies_above_two_fifths_of_the_range_of_each_image() -> None:
    images = torch.tensor([[[0.0, 4.0, 4.1, 10.0]], [[-1.0, -1.0, -1.0, -1.0]], [[20.0, 26.0, 24.0, 30.0]]])
    expected = [[[False, False, True, True]], [[False] * 4], [[False, True, False, True]]]
    assert bright(images).tolist() == expected


def test_scale_and_offset_do_not_matter() -> None:
    images = torch.randn(5, 6, 7, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bright(images), bright(3.5 * images - 12))
