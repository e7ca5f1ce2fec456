"""The space of EMARS: its sizes, strides, paths and what may go wrong."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from archimed.errors import SettingsError
from archimed.genotype import random_genotype
from archimed.networks.mixed_cell import channels_innermost
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.mbconv_stages import OPTIONS, MbconvStagesSpace
from archimed.task import ImagingTask

CT = ImagingTask("multi-class", ("a", "b", "c"), channels=1, image_size=(32, 64, 64))
SMALL = ImagingTask("binary", ("a", "b"), channels=1, image_size=(6, 9, 8))
SPACE = MbconvStagesSpace(blocks=(2, 1), widths=(4, 6), stem_width=4, first_width=3, head_width=7)
IDENTITY, LARGEST = OPTIONS.index("identity"), OPTIONS.index("mbconv_7_e4")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(("option", "megabytes"), [(IDENTITY, 2.6), (LARGEST, 23.0)])
def test_sizes_run_from_2_6_to_23_megabytes(option: int, megabytes: float) -> None:
    """Those of the paper's smallest and largest network: parameters times 4 bytes over 2^20."""
    network = MbconvStagesSpace().build((option,) * 21, CT)
    assert parameters(network) * 4 / 2**20 == pytest.approx(megabytes, rel=0.015)


def test_parameters_are_those_of_the_released_code_but_for_the_biases_of_calibrations() -> None:
    identities, largest = (MbconvStagesSpace().build((option,) * 21, CT) for option in (IDENTITY, LARGEST))
    biases = 4 * (24 + 40 + 80 + 96 + 192) + 320
    assert parameters(identities) == 676_515 - biases
    assert parameters(largest) == 6_091_427 - biases


def test_each_option_has_the_parameters_of_its_kernel_and_expansion() -> None:
    width = 40
    base = parameters(MbconvStagesSpace(blocks=(1,), widths=(width,)).build((IDENTITY,), CT))
    for gene, name in enumerate(OPTIONS[:-1]):
        kernel, expansion = int(name[7]), int(name[-1])
        wide = width * expansion
        expected = 2 * width * wide + kernel**3 * wide + 4 * wide + 2 * width
        network = MbconvStagesSpace(blocks=(1,), widths=(width,)).build((gene,), CT)
        assert parameters(network) - base == expected


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        ((32, 64, 64), [(32, 32, 32), (16, 16, 16), (8, 8, 8), (4, 4, 4), (4, 4, 4), (4, 4, 4), (4, 4, 4)]),
        ((24, 24, 24), [(12,) * 3, *[(6,) * 3] * 6]),
        ((28, 28, 28), [(14,) * 3, (7,) * 3, *[(4,) * 3] * 5]),
        ((12, 64, 64), [(12, 32, 32), (12, 16, 16), (12, 8, 8), *[(6, 4, 4)] * 4]),
        ((4, 33, 5), [(4, 17, 5), (4, 9, 5), *[(4, 5, 5)] * 5]),
        ((224, 224), [(112,) * 2, (56,) * 2, (28,) * 2, (14,) * 2, (14,) * 2, (7,) * 2, (7,) * 2]),
    ],
    ids=str,
)
def test_long_axes_are_halved_first_and_the_last_map_keeps_four_pixels(
    size: tuple[int, ...], maps: list[tuple[int, ...]]
) -> None:
    strides = MbconvStagesSpace().layout(replace(CT, image_size=size)).strides
    found, now = [], size
    for step in strides:
        now = tuple(-(-pixels // stride) for pixels, stride in zip(now, step, strict=True))
        found.append(now)
    assert found == maps


def test_the_paper_s_strides_are_one_setting() -> None:
    strides = MbconvStagesSpace(strides="paper").layout(CT).strides
    assert [set(step) for step in strides] == [{2}, {2}, {2}, {2}, {1}, {2}, {1}]
    with pytest.raises(ValidationError, match="six cells"):
        MbconvStagesSpace(strides="paper", blocks=(1,), widths=(8,))


@pytest.mark.parametrize("size", [(3, 64, 64), (1, 64, 64), (3, 3)])
def test_too_small_images_are_refused_with_the_least_size(size: tuple[int, ...]) -> None:
    least = "x".join("4" * len(size))
    with pytest.raises(SettingsError, match=rf"at least {least}; these have .* space.least_map") as told:
        MbconvStagesSpace().build((0,) * 21, replace(CT, image_size=size))
    assert "\n" not in str(told.value)
    MbconvStagesSpace(least_map=1).build((0,) * 21, replace(CT, image_size=size))


def test_every_cell_has_a_width() -> None:
    with pytest.raises(ValidationError, match="as many blocks as widths"):
        MbconvStagesSpace(blocks=(1, 2))


@pytest.mark.parametrize("size", [(6, 9, 8), (11, 14)])
def test_one_path_gives_gradients_and_statistics_to_its_weights_alone(size: tuple[int, ...]) -> None:
    task = replace(SMALL, image_size=size)
    genotype = (0, IDENTITY, 5)
    with torch_seed(0):
        supernet, images = SPACE.supernet(task), torch.randn(2, 1, *size)
    supernet(images, SPACE.one_hot(genotype)).square().sum().backward()
    chosen = {f"blocks.{block}.options.{OPTIONS[gene]}." for block, gene in enumerate(genotype)}
    for name, weight in supernet.named_parameters():
        on_path = not name.startswith("blocks") or any(name.startswith(prefix) for prefix in chosen)
        assert (weight.grad is not None) == on_path, name
    for name, counted in supernet.named_buffers():
        if name.endswith("num_batches_tracked"):
            on_path = not name.startswith("blocks") or any(name.startswith(prefix) for prefix in chosen)
            assert int(counted) == int(on_path), name


@pytest.mark.parametrize("size", [(6, 9, 8), (11, 14)])
def test_a_path_is_the_built_network_in_training_too(size: tuple[int, ...]) -> None:
    """Logits, gradients and running statistics, in float64."""
    task = replace(SMALL, image_size=size)
    genotype = random_genotype(SPACE.choices, numpy_generator(3))
    with torch_seed(0):
        supernet, network = SPACE.supernet(task).double(), SPACE.build(genotype, task).double()
        images = torch.randn(3, 1, *size, dtype=torch.float64)
    SPACE.inherit(supernet, genotype, network)
    logits = [supernet(images, SPACE.one_hot(genotype)), network(images)]
    torch.testing.assert_close(*logits)
    for result in logits:
        result.square().sum().backward()
    again = SPACE.build(genotype, task).double()
    SPACE.inherit(supernet, genotype, again)
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(again.get_buffer(name), buffer)
    torch.testing.assert_close(supernet.stem[0].weight.grad, network.stem[0].weight.grad)


def test_class_activation_maps_are_exact() -> None:
    """The mean of the weighted map, and the bias, are the logits."""
    with torch_seed(0):
        network = SPACE.build((0, 3, IDENTITY), SMALL).eval()
        images = torch.randn(2, 1, *SMALL.image_size)
    last, linear = network.cam_parts()
    seen = []
    last.register_forward_hook(lambda _module, _inputs, result: seen.append(result))
    logits = network(images)
    maps = torch.einsum("bcdhw,oc->bodhw", seen[0], linear.weight)
    assert maps.shape[2:] == (6, 5, 4)
    torch.testing.assert_close(maps.mean((2, 3, 4)) + linear.bias, logits)


def test_only_options_that_weigh_something_are_kept_for_the_backward_pass() -> None:
    """So the memory of a step of one path is that of its network, whatever else the supernet holds."""
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept.append(tensor.nbytes)
        return tensor

    genotype = (3, IDENTITY, 1)
    with torch_seed(0):
        supernet, network = SPACE.supernet(SMALL), SPACE.build(genotype, SMALL)
    from archimed.networks.layers import use_quick_forms

    use_quick_forms(network)
    images = channels_innermost(torch.randn(2, 1, *SMALL.image_size))
    totals = []
    for run in (lambda: supernet(images, SPACE.one_hot(genotype)), lambda: network(images)):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run()
        totals.append(sum(kept))
    assert totals[0] == totals[1] > 0


def test_a_share_of_the_channels_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"space\.widths"):
        SPACE.supernet(SMALL, channel_share=2)
