from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from archimed.errors import SettingsError
from archimed.genotype import random_genotype
from archimed.networks.fusion import HeadReads
from archimed.networks.layers import InstanceNorm
from archimed.networks.regions import region_statistics
from archimed.networks.stem import StemForm, StemStride
from archimed.networks.stem import stem as make_stem
from archimed.seeding import numpy_generator
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.task import ImagingTask


def task(channels: int) -> ImagingTask:
    return ImagingTask("binary", ("a", "b"), channels, (16, 16, 16))


def build(space: FusionCellSpace, channels: int) -> nn.Module:
    return space.build(random_genotype(space.choices, numpy_generator(0)), task(channels))


def test_ten_operations_are_mixed() -> None:
    space = FusionCellSpace(num_nodes=2)
    assert {len(choice.options) for choice in space.mixed_choices} == {10}
    assert len(space.mixed_choices) == 2 * (2 + 3)


def test_the_paper_s_wiring() -> None:
    """Normal cell: both stems; first reduction: that output and the stem of the sum; then the two outputs before."""
    space = FusionCellSpace(num_nodes=1, num_reduction=3, width=2, head=3, stem_stride=1)
    network = build(space, 2)
    seen: dict[str, tuple[int, ...]] = {}
    produced: dict[int, str] = {}

    def remember(name: str) -> object:
        def hook(_module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            seen[name] = tuple(output.shape[1:])
            produced[id(output)] = name
            kept.extend([*inputs, output])

        return hook

    kept: list[object] = []
    for position, one in enumerate(network.stems):  # type: ignore[arg-type]
        one[-1].register_forward_hook(remember(f"stem{position}"))
    network.stem_of_sum.register_forward_hook(remember("sum"))  # type: ignore[union-attr, operator]
    names: list[tuple[str, ...]] = []
    for position, cell in enumerate(network.cells):  # type: ignore[arg-type]
        cell.register_forward_pre_hook(lambda _c, inputs: names.append(tuple(produced[id(i)] for i in inputs[0])))
        cell.register_forward_hook(remember(f"cell{position}"))
    images = torch.randn(1, 2, 16, 16, 16)
    network(images)
    assert names == [("stem0", "stem1"), ("cell0", "sum"), ("cell0", "cell1"), ("cell1", "cell2")]
    assert [seen[f"cell{k}"] for k in range(4)] == [(2, 16, 16, 16), (4, 8, 8, 8), (8, 4, 4, 4), (16, 2, 2, 2)]
    assert torch.equal(kept[4], images.sum(1, keepdim=True))  # type: ignore[arg-type]


def test_one_modality_stands_for_both_inputs() -> None:
    network = build(FusionCellSpace(modalities=(3,), width=2), 3)
    assert len(network.stems) == 1  # type: ignore[arg-type]
    assert network(torch.randn(1, 3, 16, 16, 16)).shape == (1, 2)


def test_three_modalities_of_unlike_channels_are_concatenated_and_all_fused() -> None:
    space = FusionCellSpace(modalities=(1, 3, 1), width=2)
    network = build(space, 5)
    assert network.stem_of_sum[0].in_channels == 5  # type: ignore[index, union-attr]
    assert len(network.cells[0].bring) == 3  # type: ignore[index, union-attr, arg-type]
    assert "input1+input3" in space.choices[0].options


@pytest.mark.parametrize(("modalities", "channels"), [(None, 3), ((1, 1), 1), ((2, 2), 3)])
def test_channels_must_be_those_of_the_modalities(modalities: tuple[int, ...] | None, channels: int) -> None:
    with pytest.raises(SettingsError, match=r"space\.modalities"):
        build(FusionCellSpace(modalities=modalities, width=2), channels)


def test_single_volumes_need_no_batch_statistics() -> None:
    network = build(FusionCellSpace(width=2), 2)
    assert not any(isinstance(layer, nn.BatchNorm3d) for layer in network.modules())
    assert any(isinstance(layer, InstanceNorm) for layer in network.modules())


def test_logits_depend_on_the_image_although_every_image_is_normalised() -> None:
    network = build(FusionCellSpace(width=4), 2).eval()
    first, second = network(torch.randn(2, 2, 16, 16, 16))
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("modalities", [(2,), (1, 1)])
def test_how_bright_an_image_is_is_not_normalised_away(modalities: tuple[int, ...]) -> None:
    images = torch.rand(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    reads: tuple[HeadReads, ...] = ("stages", "last")
    for head_reads in reads:
        torch.manual_seed(0)
        network = build(FusionCellSpace(modalities=modalities, width=4, head_reads=head_reads), 2).eval()
        with torch.no_grad():
            change = (network(images) - network(4 * images)).abs().max()
        assert (change > 1e-2) == (head_reads == "stages")


@pytest.mark.parametrize("form", ["strided", "pooled"])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_head_reads_the_first_convolutions_and_the_cells_that_fuse(stride: StemStride, form: StemForm) -> None:
    space = FusionCellSpace(modalities=(1, 2), width=4, head=3, num_normal=2, stem_stride=stride, stem_form=form)
    network = build(space, 3).eval()
    images, seen, maps = torch.randn(2, 3, 16, 16, 16), [], []
    for layer in (*(one[0] for one in network.stems), *network.cells[:2]):  # type: ignore[union-attr, index]
        layer.register_forward_hook(lambda _layer, _inputs, output: maps.append(output))  # type: ignore[union-attr]
    network.head.linear.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        network(images)
    assert [features.shape[1] for features in maps] == ([2, 2] if stride == 4 else [4, 4]) + [12, 12]
    positive = [features.clamp(min=0).flatten(2) for features in maps]
    told = torch.cat([numbers for values in positive for numbers in (values.mean(2), values.amax(2))], dim=1)
    assert torch.allclose(seen[0][:, 3:], told, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_pooled_stems_end_at_the_size_of_strided_ones_and_lose_no_peak(stride: StemStride, size: int) -> None:
    images = torch.randn(2, 3, size, size, size, generator=torch.Generator().manual_seed(0))
    strided, pooled = (make_stem(3, 6, 3, stride, form).eval() for form in get_args(StemForm))
    assert pooled(images).shape == strided(images).shape
    if stride < 4:
        assert torch.equal(pooled(images).flatten(2).amax(2), pooled[:2](images).flatten(2).amax(2))


@pytest.mark.parametrize("sizes", [(16, 16), (12, 16, 16)])
def test_stems_and_head_read_the_region(sizes: tuple[int, ...]) -> None:
    space = FusionCellSpace(width=4, head=3)
    asked = ImagingTask("binary", ("a", "b"), 3, sizes, ("PET", "CT", "region"))
    network = space.build(random_genotype(space.choices, numpy_generator(0)), asked).eval()
    images, seen = torch.randn(2, 3, *sizes), []
    images[:, 2] = (images[:, 2] > 1).float()
    network.head.linear.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    with torch.no_grad():
        network(images)
    told = region_statistics(images[:, :2], images[:, 2:])
    torch.testing.assert_close(seen[0][:, -7:], told / (1 + 1e-5) ** 0.5)
    assert [stem[0].in_channels for stem in (*network.stems, network.stem_of_sum)] == [2, 2, 2]  # type: ignore[misc, index, union-attr]
