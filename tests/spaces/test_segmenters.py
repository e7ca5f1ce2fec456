"""The networks that MixSearch is compared with: their sizes, images of any size, and nnU-Net's configuration."""

import copy
import itertools
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch

from archimed.errors import SettingsError
from archimed.networks.segmenters import DynamicUnet
from archimed.seeding import torch_seed
from archimed.spaces import SPACES, space_from_settings, space_settings
from archimed.spaces.segmenters import AttentionUnet, DynUnet, Unet, UnetPlusPlus, pooling_plan, segmentation_baselines
from archimed.task import ImagingTask
from archimed.training.weights import save_tensors

GREY = ImagingTask("segmentation", ("background", "organ"), 1, (64, 64))
SMALL: dict[str, Any] = {
    "unet": Unet(width=2),
    "unet-plus-plus": UnetPlusPlus(width=2),
    "attention-unet": AttentionUnet(width=4),
    "dynunet": DynUnet(width=4),
}


def convolutions(*shapes: tuple[int, int, int]) -> int:
    """Weights and biases of 2D convolutions, each of (inputs, outputs, kernel)."""
    return sum(inputs * outputs * kernel**2 + outputs for inputs, outputs, kernel in shapes)


def parameters(space: Any, task: ImagingTask = GREY) -> int:
    return sum(weight.numel() for weight in space.build((), task).parameters())


def test_unet_has_the_parameters_of_the_paper() -> None:
    """31.03 million, counted from Fig. 1 of Ronneberger et al.; normalisation adds two per channel it acts on."""
    down = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 1024)]
    up = [(1024, 512), (512, 512), (512, 256), (256, 256), (256, 128), (128, 128), (128, 64), (64, 64)]
    threes = [*down, (1024, 1024), *up]
    raised = [(1024, 512), (512, 256), (256, 128), (128, 64)]
    published = convolutions(*((a, b, 3) for a, b in threes), *((a, b, 2) for a, b in raised), (64, 2, 1))
    assert published == 31_030_658
    assert parameters(Unet()) == published + 2 * sum(outputs for _, outputs in threes)


def test_the_others_have_the_parameters_that_are_told() -> None:
    assert parameters(UnetPlusPlus()) == 9_118_888
    assert parameters(UnetPlusPlus(width=64)) == 36_450_632
    assert parameters(AttentionUnet()) == 31_739_250


@pytest.mark.parametrize(
    ("size", "widths"),
    [((512, 512), (32, 64, 128, 256, 512, 512, 512, 512)), ((128, 128, 128), (32, 64, 128, 256, 320, 320))],
)
def test_dynunet_has_the_parameters_of_its_plan(size: tuple[int, ...], widths: tuple[int, ...]) -> None:
    """Two convolutions without bias a resolution on each side, each with a normalisation of two numbers a channel."""
    nine, four = 3 ** len(size), 2 ** len(size)
    expected = nine * (widths[0] + widths[0] ** 2) + 4 * widths[0]
    for fine, coarse in itertools.pairwise(widths):
        expected += nine * (fine * coarse + coarse**2) + 4 * coarse
        expected += four * coarse * fine + nine * (2 * fine * fine + fine**2) + 4 * fine
    expected += sum(2 * width + 2 for width in widths[:-2])  # the outputs
    assert parameters(DynUnet(), replace(GREY, image_size=size)) == expected


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("normalisation", ["instance", "batch"])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (16, 16), (48, 21), (19, 8, 21), (5, 5, 5)])
def test_logits_have_the_size_of_the_image(name: str, normalisation: str, size: tuple[int, ...]) -> None:
    space = SMALL[name]
    if name != "dynunet":
        space = replace(space, normalisation=normalisation)
    task = ImagingTask("segmentation", ("background", "one", "two"), 2, size)
    network = space.build((), task)
    images = torch.randn(2, 2, *size)
    outputs = network(images)
    assert isinstance(outputs, tuple) == (name in ("unet-plus-plus", "dynunet"))
    for logits in outputs if isinstance(outputs, tuple) else (outputs,):
        assert logits.shape == (2, 3, *size)
    network.eval()
    with torch.no_grad():
        exits = network.exits(images)
        assert torch.equal(network(images), exits[-1])
    assert {logits.shape for logits in exits} == {(2, 3, *size)}


@pytest.mark.parametrize("name", SMALL)
def test_the_same_network_answers_every_size_and_can_be_copied_after(name: str) -> None:
    network = SMALL[name].build((), GREY)
    for size in ((64, 64), (33, 70), (9, 130)):
        outputs = network(torch.randn(2, 1, *size))
        last = outputs[-1] if isinstance(outputs, tuple) else outputs
        assert last.shape == (2, 2, *size)
        last.mean().backward()
    twin = copy.deepcopy(network).eval()
    images = torch.randn(1, 1, 40, 40)
    assert torch.equal(twin(images), network.eval()(images))


@pytest.mark.parametrize("name", SMALL)
def test_weights_belong_to_the_seed(name: str) -> None:
    states = []
    for _ in range(2):
        with torch_seed(3, "network"):
            states.append(SMALL[name].build((), GREY).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_padding_changes_nothing_of_what_is_inside() -> None:
    """An image of a size that needs no padding gives what the network alone gives."""
    network = SMALL["unet"].build((), GREY).eval()
    images = torch.randn(1, 1, 32, 48)
    assert torch.equal(network(images), network.network(images))


@pytest.mark.parametrize(
    ("size", "spacing", "halvings", "flat"),
    [
        ((40, 56, 40), (1, 1, 1), (3, 3, 3), 0),  # hippocampus
        ((20, 320, 256), (3.6, 0.62, 0.62), (2, 6, 6), 2),  # prostate
        ((20, 256, 224), (5, 1.56, 1.56), (2, 5, 5), 1),  # ACDC
        ((32, 96, 96), (3.3, 0.78125, 0.78125), (2, 4, 4), 2),
        ((112, 128, 160), (1, 1, 1), (4, 5, 5), 0),
        ((128, 128, 128), (1, 1, 1), (5, 5, 5), 0),  # brain tumours
        ((512, 512), (1, 1), (7, 7), 0),
        ((4, 4), (1, 1), (2, 2), 0),  # the least
    ],
)
def test_halvings_are_those_that_nnunet_published(
    size: tuple[int, ...], spacing: tuple[float, ...], halvings: tuple[int, ...], flat: int
) -> None:
    """Its plans of these sets tell patch, spacing, halvings per axis, and how many kernels are 1 along the first."""
    kernels, strides = pooling_plan(size, spacing)
    assert tuple(sum(stride[axis] == 2 for stride in strides) for axis in range(len(size))) == halvings
    assert strides[0] == (1,) * len(size)
    assert [kernel[0] for kernel in kernels] == [1] * flat + [3] * (len(kernels) - flat)
    assert all(kernel[1:] == (3,) * (len(size) - 1) for kernel in kernels)


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (16, 32, 32)])
def test_dynunet_gives_what_monai_s_gives(size: tuple[int, ...]) -> None:
    from monai.networks.nets.dynunet import DynUNet

    kernels, strides = pooling_plan(size, (1.0,) * len(size))
    supervised = len(strides) - 3
    widths = [4 * 2**level for level in range(len(strides))]
    networks = []
    for make in (
        lambda: DynamicUnet(len(size), 1, 2, widths, kernels, strides),
        lambda: DynUNet(
            *(len(size), 1, 2, kernels, strides, strides[1:], widths),
            deep_supervision=supervised > 0,
            deep_supr_num=max(1, supervised),
        ),
    ):
        with torch_seed(0, "network"):
            networks.append(make())
    images = torch.randn(2, 1, *size)
    mine, monai = networks
    exits, found = mine.exits(images), monai(images)
    several = found.unbind(1) if supervised > 0 else (found,)
    assert len(exits) == len(several)
    torch.testing.assert_close(exits[-1], several[0])
    mode = "bilinear" if len(size) == 2 else "trilinear"
    for place, (own, other) in enumerate(zip(exits[:-1], several[:0:-1], strict=True)):
        steps = (prod(axis) for axis in zip(*strides[: len(exits) - place], strict=True))
        coarse = other[(..., *(slice(None, None, step) for step in steps))]  # MONAI resizes by repeating pixels
        torch.testing.assert_close(own, torch.nn.functional.interpolate(coarse, size, mode=mode))


@pytest.mark.parametrize("name", SMALL)
def test_weights_can_be_saved_and_have_one_name(name: str, tmp_path: Path) -> None:
    network = SMALL[name].build((), GREY)
    network(torch.randn(2, 1, 64, 64))
    state = network.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    save_tensors(tmp_path / "w.safetensors", state, {})


def test_nnunet_supervises_all_but_the_two_coarsest_resolutions() -> None:
    network = DynUnet(width=2).build((), GREY)
    _, strides = pooling_plan(GREY.image_size, (1, 1))
    assert len(network(torch.randn(2, 1, 64, 64))) == len(strides) - 2
    assert len(DynUnet(width=2).build((), replace(GREY, image_size=(8, 8)))(torch.randn(2, 1, 8, 8))) == 1


@pytest.mark.parametrize("fields", [{"spacing": (1.0,)}, {"spacing": (0.0, 1.0)}, {"patch_size": (8, 8, 8)}])
def test_a_configuration_of_other_axes_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"space\.{next(iter(fields))} is one number above 0 for each of 2 axes"):
        DynUnet(**fields).build((), GREY)


@pytest.mark.parametrize("name", segmentation_baselines())
def test_every_network_is_a_space_by_name_and_refuses_labels(name: str) -> None:
    space = segmentation_baselines()[name]
    settings = space_settings(space)
    kind = name.removesuffix("-narrow")
    assert settings["name"] == kind.replace("-", "_")
    assert settings["name"] in SPACES
    assert space_from_settings(kind, {key: value for key, value in settings.items() if key != "name"}) == space
    with pytest.raises(SettingsError, match="gives a class to every pixel; the task is binary"):
        space.build((), ImagingTask("binary", ("no", "yes"), 1, (32, 32)))


@pytest.mark.parametrize("name", ["unet", "unet-plus-plus", "attention-unet", "dynunet"])
def test_a_narrow_network_has_about_a_sixteenth_of_the_parameters(name: str) -> None:
    def parameters(called: str) -> int:
        return sum(weight.numel() for weight in segmentation_baselines()[called].build((), GREY).parameters())

    assert 15 < parameters(name) / parameters(f"{name}-narrow") < 16.5
