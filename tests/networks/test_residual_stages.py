"""Structures of residual stages: published sizes, strides that fit small images, shortcuts that can be left out."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from archimed.networks.residual_stages import (
    ResidualBlock,
    ResidualStages,
    StageSpec,
    Structure,
    fitted,
    map_sizes,
    resnet18_structure,
    resnet34_structure,
    resnet50_structure,
)

HALVING = Structure(8, 2, tuple(StageSpec("basic", 3, 8, 8, 2, 1) for _ in range(4)))


@pytest.mark.parametrize(
    ("structure", "parameters", "depth"),
    [  # as torchvision counts them, at 3 channels and 1000 classes
        (resnet18_structure, 11_689_512, 18),
        (resnet34_structure, 21_797_672, 34),
        (resnet50_structure, 25_557_032, 50),
    ],
)
def test_published_networks_have_their_published_sizes(
    structure: Callable[[], Structure], parameters: int, depth: int
) -> None:
    with torch.device("meta"):
        network = ResidualStages(structure(), in_channels=3, num_outputs=1000, spatial_dims=2)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert structure().depth == depth
    assert map_sizes(structure(), (224, 224)) == [(56, 56), (56, 56), (28, 28), (14, 14), (7, 7)]


@pytest.mark.parametrize(
    ("image", "maps"),
    [
        ((128, 128), [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((64, 64), [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((28, 28), [(28, 28), (28, 28), (14, 14), (7, 7), (4, 4)]),
        ((3, 3), [(3, 3)] * 5),
        ((500, 40), [(250, 40), (125, 40), (63, 20), (32, 10), (16, 5)]),
        ((8, 64, 65), [(8, 64, 33), (8, 32, 17), (8, 16, 9), (8, 8, 5), (4, 4, 3)]),
    ],
)
def test_short_axes_are_halved_late_and_keep_a_least_map(image: tuple[int, ...], maps: list[tuple[int, ...]]) -> None:
    structure = fitted(HALVING, image, least_map=4)
    if image == (8, 64, 65):  # 65 pixels leave 5 after four halvings, and 3 would be too few
        maps = [(8, 64, 65), (8, 32, 33), (8, 16, 17), (8, 8, 9), (4, 4, 5)]
    assert map_sizes(structure, image) == maps


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_maps_have_the_sizes_that_are_told(spatial_dims: int) -> None:
    image = (13, 21, 34)[:spatial_dims]
    stages = (StageSpec("basic", 5, 8, 16, 2, 2), StageSpec("bottleneck", 7, 24, 8, 2, 1))
    structure = fitted(Structure(8, 2, stages), image, least_map=3)
    network = ResidualStages(structure, 2, 3, spatial_dims)
    features, told = torch.randn(2, 2, *image), map_sizes(structure, image)
    for part, size in zip((network.stem, *network.stages), told, strict=True):
        features = part(features)
        assert features.shape[2:] == size
    last, linear = network.cam_parts()
    images = torch.randn(2, 2, *image)
    network.eval()
    expected = linear(last(network.stem(images)).flatten(2).mean(2))
    assert torch.allclose(network(images), expected)


def test_a_block_adds_what_came_in_and_can_leave_it_out() -> None:
    torch.manual_seed(0)
    stage = StageSpec("bottleneck", 3, 8, 4, 1, 1)
    block, features = ResidualBlock(8, stage, 1, 2).eval(), torch.randn(2, 8, 6, 6)
    assert isinstance(block.shortcut, nn.Identity)
    inner = block.layers(features)
    assert torch.equal(block(features), (inner + features).relu())
    block.residual = False
    assert torch.equal(block(features), inner.relu())
    assert not isinstance(ResidualBlock(8, replace(stage, width=16), 1, 2).shortcut, nn.Identity)
    assert not isinstance(ResidualBlock(8, stage, (1, 2), 2).shortcut, nn.Identity)
