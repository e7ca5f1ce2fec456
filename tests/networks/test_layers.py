import math

import pytest
import torch
from scipy import stats
from torch import nn

from archimed.errors import SettingsError
from archimed.networks.heads import PooledLinear
from archimed.networks.layers import (
    LARGE,
    InstanceNorm,
    Normalisation,
    check_spatial_dims,
    convolution,
    instance_norm,
    relu_conv_norm,
    with_normalisation,
)
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


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)], ids=["2D", "3D"])
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_is_the_library_s_and_keeps_the_layout(size: tuple[int, ...], batch: int) -> None:
    layout = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    features = torch.randn(batch, 4, *size).contiguous(memory_format=layout)
    norm = InstanceNorm(4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    result = norm(features)
    torch.testing.assert_close(result, torch.nn.functional.instance_norm(features, weight=norm.weight, bias=norm.bias))
    assert result.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)], ids=["2D", "3D"])
def test_instance_norm_by_images_has_the_library_s_gradients(size: tuple[int, ...]) -> None:
    layout = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    features = torch.randn(3, 4, *size, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight, bias = (torch.randn(4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ours = instance_norm(features, weight, bias, 1e-5)
    library = torch.nn.functional.instance_norm(features, weight=weight, bias=bias, eps=1e-5)
    found, expected = (torch.autograd.grad((each**3).sum(), (features, weight, bias)) for each in (ours, library))
    torch.testing.assert_close(found, expected)
    assert found[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("affine", [True, False])
def test_instance_norm_passes_a_single_pixel_through(affine: bool) -> None:
    features = torch.randn(2, 4, 1, 1, 1)
    assert torch.equal(InstanceNorm(4, affine)(features), features)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_normalisation_is_exchanged_in_place_without_drawing(spatial_dims: int, kind: Normalisation) -> None:
    network = torch.nn.Sequential(relu_conv_norm(2, 4, spatial_dims))
    state = torch.get_rng_state()
    changed = with_normalisation(network, kind, affine=False)
    assert changed is network
    assert torch.equal(torch.get_rng_state(), state)
    assert [name for name, _ in network.named_parameters()] == ["0.1.weight"]
    assert isinstance(network[0][2], InstanceNorm) == (kind == "instance")
