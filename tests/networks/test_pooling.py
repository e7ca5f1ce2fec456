import itertools
import math

import numpy as np
import pytest
import torch

from archimed.networks.layers import use_quick_forms
from archimed.networks.pooling import PoolingKind, pooling


def by_hand(values: np.ndarray, kind: PoolingKind, kernel: int) -> np.ndarray:
    """Max or mean over the pixels that exist in windows that start at 2 i - (kernel - 1) // 2 along each axis."""
    out = np.zeros(tuple(math.ceil(size / 2) for size in values.shape))
    for place in itertools.product(*map(range, out.shape)):
        starts = [2 * i - (kernel - 1) // 2 for i in place]
        window = values[tuple(slice(max(start, 0), start + kernel) for start in starts)]
        out[place] = window.max() if kind == "max" else window.mean()
    return out


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 7), (8, 5), (1, 1, 1), (2, 2, 3), (1, 4, 7), (4, 5, 6)], ids=str)
@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_equals_windows_taken_by_hand(kind: PoolingKind, kernel: int, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape) - 3  # all negative: padding with zeros would show
    layer = pooling(kind, kernel, len(shape))
    pooled = layer(torch.from_numpy(values)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(pooled, by_hand(values, kind, kernel), rtol=1e-12)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_stride_one_keeps_the_size(kind: PoolingKind) -> None:
    assert pooling(kind, 3, 2, stride=1)(torch.zeros(1, 1, 5, 6)).shape == (1, 1, 5, 6)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("size", [(7, 6), (1, 2), (5, 4, 6), (1, 2, 1), (2, 3, 1)], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_quick_poolings_are_the_plain_ones_ties_too(kind: PoolingKind, size: tuple[int, ...], stride: int) -> None:
    plain, quick = (pooling(kind, 3, len(size), stride) for _ in range(2))
    use_quick_forms(quick)
    results = []
    for layer in (plain, quick):
        torch.manual_seed(0)
        features = torch.randint(0, 3, (2, 4, *size)).double().requires_grad_()
        pooled = layer(features)
        results.append((pooled, *torch.autograd.grad((pooled * torch.rand(pooled.shape)).sum(), features)))
    for ours, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, expected)
