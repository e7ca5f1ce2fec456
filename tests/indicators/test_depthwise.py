import pytest
import torch

from archimed.indicators import depthwise

CASES = [  # images, kernel, stride, padding, dilation
    ((9,), (3,), (1,), (2,), (2,)),
    ((4, 4), (7, 7), (1, 1), (3, 3), (1, 1)),
    ((7, 5), (3, 5), (1, 1), (2, 4), (2, 2)),
    ((6, 7), (3, 3), (2, 1), (1, 0), (2, 3)),
    ((2, 3, 2), (3, 3, 5), (1, 1, 1), (1, 1, 2), (1, 1, 1)),
    ((8, 8), (3, 5), (1, 1), (0, 0), (2, 1)),
]


def library(case, dtype=torch.float64):
    torch.manual_seed(0)
    size, kernel, stride, padding, dilation = case
    images, weight = torch.randn(3, 4, *size, dtype=dtype), torch.randn(4, 1, *kernel, dtype=dtype)
    geometry = (stride, padding, dilation, False, [0] * len(size), 4)
    gradient = torch.randn_like(torch.ops.aten.convolution(images, weight, None, *geometry))
    both = torch.ops.aten.convolution_backward(gradient, images, weight, None, *geometry, [True, True, False])
    return images, weight, gradient, both


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_by_the_weights_is_the_library_s(case):
    images, weight, gradient, (_, expected, _) = library(case)
    torch.testing.assert_close(depthwise.to_weight(gradient, images, weight, *case[2:]), expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_by_the_images_is_the_library_s(case):
    _, weight, gradient, (expected, _, _) = library(case)
    measured = depthwise.to_images(gradient, weight, *case[2:])
    if max(case[2]) > 1:
        assert measured is None
    else:
        torch.testing.assert_close(measured, expected)


def test_large_images_and_plain_kernels_are_left_to_the_library():
    for size, dilation in (((20, 20), (2, 2)), ((7, 7), (1, 1))):
        images, weight, gradient, _ = library((size, (3, 3), (1, 1), dilation, dilation))
        assert depthwise.to_weight(gradient, images, weight, (1, 1), dilation, dilation) is None


@pytest.mark.parametrize(("channels", "filters", "groups"), [(4, 4, 1), (4, 4, 2), (4, 8, 4)])
def test_only_one_filter_per_channel_is_depthwise(channels, filters, groups):
    images, weight = torch.zeros(1, channels, 3, 3), torch.zeros(filters, channels // groups, 3, 3)
    assert not depthwise.is_depthwise(images, weight, False, groups)
