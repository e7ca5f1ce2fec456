import itertools
import math

import numpy as np
import pytest
import torch

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
