import pytest
import torch
from torch import nn

from archimed.networks.reference_cnn import CnnLayout, ReferenceNetwork, SliceNetwork, largest_slices
from archimed.seeding import torch_seed


def layout(encoders: tuple[tuple[int, ...], ...], dims: int = 2) -> CnnLayout:
    return CnnLayout(encoders, (4, 6, 8), "instance", num_outputs=3, spatial_dims=dims)


def network(encoders: tuple[tuple[int, ...], ...], dims: int = 2) -> nn.Module:
    with torch_seed(0):
        return ReferenceNetwork(layout(encoders, dims)).eval()


@pytest.mark.parametrize("size", [(9, 12), (7, 9, 12), (1, 1)])
def test_logits_of_images_and_volumes_of_any_size(size: tuple[int, ...]) -> None:
    images = torch.randn(2, 3, *size)
    assert network(((0, 2), (1,)), len(size))(images).shape == (2, 3)


def test_an_encoder_sees_its_channels_only() -> None:
    images = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    changed[:, 1] += 1
    only, both = network(((0, 2),)), network(((0, 2), (1,)))
    with torch.no_grad():
        assert torch.equal(only(images), only(changed))
        assert not torch.allclose(both(images), both(changed))


def test_how_bright_an_image_is_is_not_normalised_away() -> None:
    images = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    model = network(((0,),))
    with torch.no_grad():
        assert (model(images) - model(4 * images)).abs().max() > 1e-3


def test_parameters_are_those_counted_by_hand() -> None:
    stages = 9 * (4 * 6 + 6 * 6 + 6 * 8 + 8 * 8) + 2 * (4 + 6 + 6 + 8 + 8)  # weights, then scales and shifts
    encoders = sum(9 * channels * 4 + stages for channels in (2, 1))
    head = 2 * 2 * (4 + 6 + 8) * 3 + 3  # mean and largest value of three stages of two encoders
    assert sum(p.numel() for p in network(((0, 2), (1,))).parameters()) == encoders + head


def test_peaks_of_the_first_convolution_reach_the_first_stage_at_half_the_size() -> None:
    model = network(((0,),))
    seen: list[torch.Tensor] = []
    model.encoders[0].stages[1][1].register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))  # type: ignore[index, union-attr]
    images = torch.randn(1, 1, 9, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        model(images)
        whole = model.encoders[0].stages[0](model.encoders[0].first(images))  # type: ignore[index, union-attr]
    assert seen[0].shape[2:] == (5, 6)
    assert torch.equal(seen[0].amax((2, 3)), whole.amax((2, 3)))


class Seen(nn.Module):
    """Hands on the slice it was shown."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


@pytest.mark.parametrize(("depth", "middle"), [(1, 0), (4, 2), (5, 2)])
def test_the_central_slice_is_the_middle_one(depth: int, middle: int) -> None:
    volumes = torch.randn(2, 3, depth, 4, 5)
    assert torch.equal(SliceNetwork(Seen(), "central-slice", 0)(volumes), volumes[:, :, middle])


def test_the_largest_slice_is_where_most_of_the_guide_is_bright() -> None:
    volumes = torch.zeros(2, 2, 4, 6, 6)
    volumes[:, 0, 2] = 9  # the other channel says nothing
    volumes[0, 1, 1, 1:3, 1:3], volumes[0, 1, 3, 0, 0] = 1.0, 2.0  # brightest in slice 3, larger in slice 1
    volumes[1, 1, 3, :4] = 1.0
    shown = SliceNetwork(Seen(), "largest-slice", 1)(volumes)
    assert torch.equal(shown, torch.stack([volumes[0, :, 1], volumes[1, :, 3]]))


def test_of_equally_large_slices_the_first() -> None:
    region = torch.zeros(2, 3, 2, 2, dtype=torch.bool)
    region[0, 1, 0, 0] = region[0, 2, 1, 1] = True
    assert largest_slices(region).tolist() == [1, 0]
