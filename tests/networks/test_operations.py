import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from archimed.networks import operations as ops
from archimed.networks.operations import FactorisedReduction, Operation, Zero

ALL = [value for value in vars(ops).values() if isinstance(value, Operation)]


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize("operation", ALL, ids=lambda operation: operation.name)
@pytest.mark.parametrize("shape", [(1, 1), (7, 8), (1, 1, 1), (3, 4, 5)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_operations_keep_or_halve_the_size(operation: Operation, shape: tuple[int, ...], stride: int) -> None:
    features = torch.randn(2, 4, *shape, requires_grad=True)
    result = operation.build(4, len(shape), stride)(features)
    assert result.shape == (2, 4, *(math.ceil(size / stride) for size in shape))
    result.sum().backward()
    assert features.grad is not None


def test_there_are_twelve_operations() -> None:
    assert len(ALL) == len({operation.name for operation in ALL}) == 12


@pytest.mark.parametrize(
    ("operation", "expected"),
    [  # C channels: depthwise k^2 C, pointwise C^2, normalisation 2 C
        (ops.SEPARABLE_CONV_3, 2 * (9 * 16 + 16**2 + 2 * 16)),
        (ops.SEPARABLE_CONV_7, 2 * (49 * 16 + 16**2 + 2 * 16)),
        (ops.DILATED_CONV_5, 25 * 16 + 16**2 + 2 * 16),
        (ops.CONV_5, 25 * 16**2 + 2 * 16),
        (ops.FACTORISED_CONV_7, 14 * 16**2 + 2 * 16),
        (ops.IDENTITY, 0),
        (ops.ZERO, 0),
        (ops.MAX_POOL_3, 0),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_parameters_in_closed_form(operation: Operation, expected: int) -> None:
    assert parameters(operation.build(16, 2)) == expected


def test_a_separable_convolution_costs_what_the_notes_say() -> None:
    """27.5 million MACs at 128 channels and 28 x 28 pixels."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ops.SEPARABLE_CONV_3.build(128, 2)(torch.zeros(1, 128, 28, 28))
    assert counter.get_total_flops() / 2 == 28**2 * 2 * (9 * 128 + 128**2)


def test_dilation_reaches_twice_as_far() -> None:
    features = torch.randn(1, 3, 11, 11, requires_grad=True)
    dilated = ops.DILATED_CONV_3.build(3, 2).eval()(features.abs())
    dilated[0, 0, 5, 5].backward()
    assert features.grad is not None
    rows = features.grad.abs().sum((0, 1, 3)).nonzero().flatten().tolist()
    assert rows == [3, 5, 7]


def test_factorised_convolutions_take_one_axis_each() -> None:
    kernels = [m.kernel_size for m in ops.FACTORISED_CONV_7.build(2, 3).modules() if isinstance(m, nn.Conv3d)]
    assert kernels == [(7, 1, 1), (1, 7, 1), (1, 1, 7)]


def test_zero_sends_back_zero_not_nothing() -> None:
    features = torch.randn(1, 2, 5, 5, requires_grad=True)
    zeros = Zero(2, stride=2)(features)
    assert torch.equal(zeros, torch.zeros(1, 2, 3, 3))
    zeros.sum().backward()
    assert features.grad is not None
    assert not features.grad.any()


def test_factorised_reduction_reads_both_parities() -> None:
    features = torch.rand(1, 4, 6, 6, requires_grad=True)
    (FactorisedReduction(4, 4, 2).eval()(features) ** 2).sum().backward()
    assert features.grad is not None
    assert features.grad[:, :, ::2, ::2].any()
    assert features.grad[:, :, 1::2, 1::2].any()


def test_an_operation_without_stride_follows_a_reduction() -> None:
    mine = Operation("mine", lambda channels, spatial_dims: nn.Identity())  # noqa: ARG005
    assert mine.build(4, 2, stride=2)(torch.zeros(2, 4, 5, 5)).shape == (2, 4, 3, 3)
