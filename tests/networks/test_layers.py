import math

import pytest
import torch
from scipy import stats
from torch import nn

from archimed.errors import SettingsError
from archimed.networks.heads import PooledLinear
from archimed.networks.layers import LARGE, check_spatial_dims, convolution
from archimed.networks.stem import stem


def test_small_weights_are_those_that_pytorch_draws() -> None:
    torch.manual_seed(3)
    ours = convolution(8, 16, 2, 3)
    torch.manual_seed(3)
    theirs = nn.Conv2d(8, 16, 3, bias=False)
    assert torch.equal(next(ours.parameters()), theirs.weight)


@pytest.mark.parametrize(("spatial_dims", "kernel"), [(2, 1), (2, (7, 1)), (3, 3)])
def test_large_weights_have_the_default_distribution(spatial_dims: int, kernel: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = next(convolution(160, 128, spatial_dims, kernel).parameters()).detach()
    assert weight.numel() >= LARGE
    bound = 1 / math.sqrt(weight[0].numel())
    assert weight.abs().max() <= bound
    assert stats.kstest(weight.flatten().numpy(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
    neighbours = torch.stack([weight.flatten()[:-1], weight.flatten()[1:]])
    assert torch.corrcoef(neighbours)[0, 1].abs() < 5 / math.sqrt(weight.numel())


def test_large_weights_follow_the_global_seed_and_advance_it() -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [next(convolution(128, 129, 2, 1).parameters()).detach() for _ in range(2)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("size", [1, 2, 7, 28, 33])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_stem_rounds_sizes_up(size: int, stride: int, spatial_dims: int) -> None:
    small = size if spatial_dims == 2 else min(size, 7)
    made = stem(3, 6, spatial_dims, stride).eval()(torch.zeros(1, 3, *(small,) * spatial_dims))  # type: ignore[arg-type]
    assert made.shape == (1, 6, *(math.ceil(small / stride),) * spatial_dims)


def test_head_averages_space_then_maps_linearly() -> None:
    features = torch.randn(2, 5, 3, 4)
    head = PooledLinear(5, 3)
    expected = features.sum((2, 3)) / 12 @ head.linear.weight.T + head.linear.bias
    assert torch.allclose(head(features), expected, atol=1e-6)


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(SettingsError, match="4 axes"):
        check_spatial_dims(4)
