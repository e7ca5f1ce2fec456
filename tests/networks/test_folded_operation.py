"""Folded operations give what mixed operations give in eval mode."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from archimed.networks.folded_operation import FoldedOperation, largest_of_three
from archimed.networks.layers import batch_norm, convolution
from archimed.networks.mixed_operation import EdgeWeights, MixedOperation
from archimed.networks.operations import CONV_3, FACTORISED_CONV_7, SEPARABLE_CONV_7, ZERO, Operation
from archimed.spaces.darts_cell import OPERATIONS

CHANNELS = 4
BARE = Operation("bare", lambda channels, dims: convolution(channels, channels, dims, 3), None)
SHIFTED = Operation("shifted", lambda channels, dims: nn.Sequential(nn.ReLU(), batch_norm(channels, dims)), None)
FURTHER = (CONV_3, FACTORISED_CONV_7, SEPARABLE_CONV_7, BARE, SHIFTED)


def weights(readers: int, options: int, share: float) -> list[EdgeWeights]:
    """Random weights, some of them zero; the last reader has none where some are."""
    table = torch.rand(readers, options) * (torch.rand(readers, options) < share)
    if share < 1:
        table[-1] = 0
    return [EdgeWeights(row.unbind(), [value != 0 for value in row.tolist()]) for row in table]


def agree(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operations", [OPERATIONS, FURTHER], ids=["DARTS", "others"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 6), (5, 4, 3), (1, 1)])
def test_as_the_mixed_operation(operations: Any, stride: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    dims = len(size)
    mixed = MixedOperation((ZERO, *operations), CHANNELS, dims, stride=stride, readers=3)
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    features = torch.randn(5, 3 * CHANNELS, *size).contiguous(memory_format=layout)[:, :CHANNELS]
    if max(size) > 1:
        mixed.train()(features, weights(3, len(operations) + 1, 1.0))  # running statistics of its own
    mixed.eval()
    with torch.inference_mode():
        folded = FoldedOperation(mixed, CHANNELS)
        for share in (1.0, 0.5, 0.2, 0.0, 1.0):
            edges = weights(3, len(operations) + 1, share)
            agree(folded(features, edges), mixed(features, edges))


@pytest.mark.parametrize("size", [(5, 4), (1, 3), (2, 3, 4)])
def test_the_largest_of_three(size: tuple[int, ...]) -> None:
    features = torch.randn(2, 3, *size)
    pool = functional.max_pool2d if len(size) == 2 else functional.max_pool3d
    assert torch.equal(largest_of_three(features), pool(features, 3, 1, 1))
