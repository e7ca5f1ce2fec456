from itertools import product

import pytest
import torch
from torch import Tensor

from archimed.networks import depthwise, quick_convolution
from archimed.networks.layers import convolution, use_quick_forms
from archimed.networks.quick_convolution import Geometry, convolve, within_reach

CASES = [  # size, kernel, stride, dilation, groups, channels out
    *(((12, 13), kernel, stride, dilation, 4, 4) for kernel, stride, dilation in product((3, 5, 7), (1, 2), (1, 2))),
    *(((7, 6), kernel, 1, dilation, 4, 4) for kernel, dilation in product((3, 5), (1, 2))),
    *(((6, 7, 9), kernel, stride, dilation, 4, 4) for kernel, stride, dilation in product((3, 5), (1, 2), (1, 2))),
    *(((7, 8, 5), kernel, stride, 1, 1, 6) for kernel, stride in product((1, 3, 5), (1, 2))),
    *(((1, 9, 8), kernel, 1, 1, groups, 4) for kernel, groups in product((3, 5), (1, 4))),
    *(((9, 8), kernel, stride, 1, 1, 6) for kernel, stride in product((1, 3, 5), (1, 2))),
    ((9, 8), 3, 1, 1, 2, 6),
    *(((9, 8), 1, 1, 1, groups, 8) for groups in (2, 4)),  # joint pointwise convolutions
    *(
        ((2, 3, 4), kernel, stride, dilation, groups, 4)  # kernels wider than what there is to read
        for kernel, stride, dilation, groups in product((3, 5), (1, 2), (1, 2), (1, 4))
    ),
    ((1, 1), 3, 1, 1, 4, 4),
    ((1, 1, 1), 5, 2, 2, 4, 4),
]


def both(
    case: tuple[tuple[int, ...], int, int, int, int, int], batch: int, dtype: torch.dtype
) -> tuple[list[Tensor], list[Tensor]]:
    """Result, gradients and gradients of gradients, ours and the library's."""
    size, kernel, stride, dilation, groups, out = case
    axes = len(size)
    torch.manual_seed(0)
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    images = torch.randn(batch, 4, *size, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(out, 4 // groups, *(kernel,) * axes, dtype=dtype, requires_grad=True)
    geometry = Geometry((stride,) * axes, (dilation * (kernel - 1) // 2,) * axes, (dilation,) * axes, groups)
    library = torch.nn.functional.conv2d if axes == 2 else torch.nn.functional.conv3d
    plain = library(images, weight, None, geometry.stride, geometry.padding, geometry.dilation, groups)
    upper = torch.randn_like(plain)

    def all_of(result: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(result, (images, weight), upper, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), (images, weight))
        return [result, *first, *second]

    return all_of(convolve(images, weight, geometry)), all_of(plain)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_results_and_all_gradients_are_the_library_s(
    case: tuple[tuple[int, ...], int, int, int, int, int], batch: int
) -> None:
    for ours, expected in zip(*both(case, batch, torch.float64), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("case", [case for case in CASES if len(case[0]) == 3], ids=str)
def test_one_small_volume_of_float32_goes_to_the_fast_form(
    case: tuple[tuple[int, ...], int, int, int, int, int],
) -> None:
    for ours, expected in zip(*both(case, 1, torch.float32), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max()))


MAPS = [  # size, kernel, stride, dilation, groups, channels out
    ((4, 6, 5), 5, 1, 1, 4, 4),
    ((4, 3, 12), 5, 1, 1, 4, 4),  # a slow width, in two halves
    ((5, 4, 13), 5, 1, 1, 4, 4),
    ((9, 13), 7, 1, 1, 4, 4),
    ((5, 6), 7, 1, 1, 4, 4),
    ((6, 7, 9), 3, 1, 1, 4, 4),
    ((6, 7, 9), 5, 2, 1, 4, 4),
    ((6, 7, 9), 5, 1, 2, 4, 4),
]


@pytest.mark.parametrize("case", MAPS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_gradients_of_large_images_are_those_of_small_ones(
    case: tuple[tuple[int, ...], int, int, int, int, int], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large depthwise convolutions: from whole maps as kernels, or image by image."""
    monkeypatch.setattr(quick_convolution, "FEW_NUMBERS", 0)
    monkeypatch.setattr(depthwise, "LEAST_WINDOWS", {2: 0, 3: 0})
    monkeypatch.setattr(depthwise, "LARGE_IMAGE", 0)
    for ours, expected in zip(*both(case, batch, torch.float64), strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("size", [(6, 8), (4, 6, 8)])
def test_single_channels_lead_to_channels_innermost(size: tuple[int, ...]) -> None:
    layout = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    layer = convolution(1, 6, len(size), 3, stride=2)
    use_quick_forms(layer)
    images = torch.randn(2, 1, *size, requires_grad=True)
    result = layer(images)
    assert result.is_contiguous(memory_format=layout)
    result.sum().backward()
    assert images.grad is not None
    assert images.grad.shape == images.shape


def test_gradients_of_what_strides_leave_out_lie_innermost_too() -> None:
    layer = convolution(4, 3, 3, 1, stride=2)
    use_quick_forms(layer)
    images = torch.randn(2, 4, 5, 6, 7).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(images).sum(), images)
    assert gradient.is_contiguous(memory_format=torch.channels_last_3d)


def test_taps_that_meet_padding_alone_are_left_out() -> None:
    images, weight = torch.zeros(1, 2, 2, 5, 9), torch.randn(2, 1, 5, 5, 5)
    kept, geometry = within_reach(images, weight, Geometry((1,) * 3, (4,) * 3, (2,) * 3, 2))
    assert torch.equal(kept, weight[:, :, 2:3])
    assert geometry == Geometry((1,) * 3, (0, 4, 4), (2,) * 3, 2)


@pytest.mark.parametrize("needless", [0, 10**9], ids=["products for each group", "one product"])
def test_pointwise_convolutions_in_groups(needless: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_convolution, "NEEDLESS_PRODUCTS", needless)
    images = torch.randn(2, 3 * 20, 4, 5, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(3 * 7, 20, 1, 1, 1, dtype=torch.float64)
    expected = torch.nn.functional.conv3d(images, weight, groups=3)
    torch.testing.assert_close(convolve(images, weight, Geometry((1,) * 3, (0,) * 3, (1,) * 3, 3)), expected)


def test_channels_stay_innermost() -> None:
    for size, groups in (((8, 8, 8), 1), ((8, 8, 8), 4), ((8, 8), 1), ((8, 8), 4)):
        layout = torch.channels_last if len(size) == 2 else torch.channels_last_3d
        for kernel, dilation in ((1 if groups == 1 else 5, 1), (3, 1), (3, 2)):
            layer = convolution(4, 4, len(size), kernel, dilation=dilation, groups=groups)
            use_quick_forms(layer)
            images = torch.randn(2, 4, *size).contiguous(memory_format=layout)
            assert layer(images).is_contiguous(memory_format=layout)


def test_bfloat16_is_left_to_the_library() -> None:
    layer = convolution(4, 4, 3, 3)
    use_quick_forms(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(torch.randn(1, 4, 5, 5, 5))
    result.sum().backward()
    assert result.dtype == torch.bfloat16
    assert layer.weight.grad is not None
