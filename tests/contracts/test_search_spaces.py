"""Every search space under one law, in 2D and 3D, for every kind of label."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from archimed.errors import GenotypeError, SettingsError
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces import SPACES, SearchSpace, space_from_settings, space_settings
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fixed import DenseNet, Mc3, ResNet
from archimed.spaces.fusion_baselines import Radiomics, ReferenceCnn
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.spaces.nsganet_cell import NsganetCellSpace
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.spaces.segmenters import AttentionUnet, DynUnet, Unet, UnetPlusPlus
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.task import ImagingTask
from archimed.testing import ContractError, check_search_space

GREY = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(27, 33))
COLOUR = ImagingTask("multi-class", ("a", "b", "c"), channels=3, image_size=(28, 28))
LABELS = ImagingTask("multi-label", ("mass", "fluid", "fracture"), channels=1, image_size=(33, 27))
VOLUMES = ImagingTask("binary", ("healthy", "ill"), channels=2, image_size=(9, 12, 17))
TINY = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(5, 5))  # final maps of one pixel
MASKS = ImagingTask("segmentation", ("background", "organ", "lesion"), channels=2, image_size=(19, 26))
VOLUME_MASKS = ImagingTask("segmentation", ("background", "organ"), channels=1, image_size=(9, 12, 7))
TINY_MASKS = ImagingTask("segmentation", ("background", "organ"), channels=1, image_size=(3, 5))

SMALL = (
    MultiscaleCellSpace(width=8),
    MultiscaleCellSpace(width=8, num_blocks=4, stem_stride=1),
    MultiscaleCellSpace(width=6, num_nodes=2, num_pools=3, stem_stride=2),
    DartsCellSpace(num_cells=4, width=4),
    DartsCellSpace(num_cells=3, width=4, with_zero=True, stem_stride=2),
    NsganetCellSpace(num_cells=3, width=4),
    MbconvStagesSpace(blocks=(2, 1, 1), widths=(4, 6, 8), stem_width=4, first_width=3, head_width=9),
    MbconvStagesSpace(blocks=(1, 2), widths=(4, 6), stem_width=2, first_width=2, head_width=5, least_map=1),
    ResidualStagesSpace(stages=2, most_width=16, most_layers=2),
    ResidualStagesSpace(stages=3, parts=1, most_width=8, most_layers=2, kernels=(5,), least_map=1),
)
FUSING = (
    FusionCellSpace(num_nodes=2, width=4, head=6),
    FusionCellSpace(num_nodes=2, num_normal=2, num_reduction=2, width=4, head=6, stem_stride=1, normalisation="batch"),
)
HAND_MADE = (
    ReferenceCnn(widths=(4, 6, 8)),
    ReferenceCnn(encoders=((0,), (0,)), widths=(4, 6), normalisation="batch"),
)
EVERY = (*SMALL, *FUSING, *HAND_MADE, ResNet(), DenseNet(), Radiomics(trees=5))
WOVEN = (
    WeavedUnetSpace(depth=3, layers=7, width=4),
    WeavedUnetSpace(width=2, num_nodes=2, exit=5),
    WeavedUnetSpace(depth=4, layout="plain", width=6, num_nodes=1, up_options=("transposed_conv",)),
)
FIXED_FOR_MASKS = (Unet(width=2), UnetPlusPlus(width=2), AttentionUnet(width=4), DynUnet(width=4))
FOR_MASKS = (*WOVEN, *FIXED_FOR_MASKS)
TASKS = (GREY, COLOUR, LABELS, VOLUMES, TINY)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{'x'.join(map(str, task.image_size))}")
@pytest.mark.parametrize("space", SMALL, ids=repr)
def test_space_keeps_the_contract(space: SearchSpace, task: ImagingTask) -> None:
    check_search_space(space, task)


@pytest.mark.parametrize("task", [GREY, VOLUMES, TINY], ids=["2D", "3D", "one pixel"])
@pytest.mark.parametrize("space", [*FUSING, *HAND_MADE, Radiomics(trees=5)], ids=repr)
def test_spaces_for_modalities_keep_the_contract(space: SearchSpace, task: ImagingTask) -> None:
    check_search_space(space, task)


@pytest.mark.parametrize("task", [MASKS, VOLUME_MASKS, TINY_MASKS], ids=["2D", "3D", "tiny"])
@pytest.mark.parametrize("space", WOVEN, ids=repr)
def test_spaces_for_masks_keep_the_contract(space: SearchSpace, task: ImagingTask) -> None:
    check_search_space(space, task)


@pytest.mark.parametrize("space", FIXED_FOR_MASKS, ids=repr)
def test_fixed_networks_for_masks_keep_the_contract(space: SearchSpace) -> None:
    check_search_space(space, MASKS)


@pytest.mark.parametrize("task", [GREY, VOLUMES], ids=["2D", "3D"])
@pytest.mark.parametrize("space", [ResNet(depth=18), DenseNet()], ids=repr)
def test_fixed_networks_keep_the_contract(space: SearchSpace, task: ImagingTask) -> None:
    check_search_space(space, task)


def test_mc3_keeps_the_contract() -> None:
    check_search_space(Mc3(), VOLUMES)
    assert not any(m.inplace for m in Mc3().build((), VOLUMES).modules() if isinstance(m, nn.ReLU))
    for broken in (replace(VOLUMES, kind="segmentation"), GREY):
        with pytest.raises(SettingsError):
            Mc3().build((), broken)


@pytest.mark.parametrize("space", [*SMALL, *FUSING, *HAND_MADE, *WOVEN], ids=repr)
@pytest.mark.parametrize(
    ("task", "layout"), [(GREY, torch.channels_last), (VOLUMES, torch.channels_last_3d)], ids=["2D", "3D"]
)
def test_memory_layout_does_not_change_logits(
    space: SearchSpace, task: ImagingTask, layout: torch.memory_format
) -> None:
    genotype = random_genotype(space.choices, numpy_generator(1))
    task = replace(task, kind="segmentation") if space in WOVEN else task
    with torch_seed(0):
        network = space.build(genotype, task).eval()
        images = torch.randn(2, task.channels, *task.image_size)
    with torch.no_grad():
        plain = network(images)
        laid_out = network.to(memory_format=layout)(images.to(memory_format=layout))
    assert torch.allclose(plain, laid_out, atol=1e-5)


@pytest.mark.parametrize("space", [*EVERY, *WOVEN], ids=repr)
def test_relus_never_work_in_place(space: SearchSpace) -> None:
    task = MASKS if space in WOVEN else GREY
    network = space.build(random_genotype(space.choices, numpy_generator(2)), task)
    assert not any(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))


@pytest.mark.parametrize("space", EVERY, ids=repr)
def test_masks_are_refused_with_the_method_that_takes_them(space: SearchSpace) -> None:
    with pytest.raises(SettingsError, match="mixsearch"):
        space.build((0,) * len(space.choices), replace(GREY, kind="segmentation"))


@pytest.mark.parametrize("space", FOR_MASKS, ids=repr)
def test_labels_are_refused_by_networks_that_give_masks(space: SearchSpace) -> None:
    with pytest.raises(SettingsError, match="Give masks"):
        space.build((0,) * len(space.choices), GREY)


@pytest.mark.parametrize("space", [*EVERY, *FOR_MASKS], ids=repr)
def test_a_genotype_of_another_space_is_refused(space: SearchSpace) -> None:
    with pytest.raises(GenotypeError, match="different search space"):
        space.build((0,) * (len(space.choices) + 1), GREY)


@pytest.mark.parametrize(
    "space", [*EVERY, *FOR_MASKS, FusionCellSpace(modalities=(1, 2)), ResNet(depth=50), Mc3()], ids=repr
)
def test_settings_round_trip(space: SearchSpace) -> None:
    settings = space_settings(space)
    assert space_from_settings(str(settings.pop("name")), settings) == space


def test_every_named_space_is_under_this_contract() -> None:
    assert set(SPACES.values()) == {type(space) for space in (*EVERY, *FOR_MASKS, Mc3())}


# The contract itself: each broken space must be told apart, or the checks above prove nothing.


class Broken:
    """A space of one choice, to break in one way at a time."""

    choices: tuple[Choice, ...] = (Choice("layer", ("one", "two")),)

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        check = (task.channels, genotype)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(check[0], task.num_outputs))


class SameNameTwice(Broken):
    choices = (Choice("layer", ("one",)), Choice("layer", ("two",)))


class NoOptions(Broken):
    choices = (Choice("layer", ()),)


class WrongOutputs(Broken):
    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(task.channels, 7 + genotype[0]))


class Restless(Broken):
    def canonical(self, genotype: Genotype) -> Genotype:
        return (1 - genotype[0],)


class Stray(Broken):
    def canonical(self, genotype: Genotype) -> Genotype:
        return (genotype[0] + 2,)


class Detached(Broken):
    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        network = super().build(genotype, task)
        network.register_forward_hook(lambda _module, _inputs, logits: logits.detach().requires_grad_())
        return network


class OwnRandomness(Broken):
    generator = torch.Generator().manual_seed(0)

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        network = super().build(genotype, task)
        for weight in network.parameters():
            nn.init.uniform_(weight, generator=self.generator)
        return network


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (SameNameTwice(), "name of its own"),
        (NoOptions(), "one or more options"),
        (WrongOutputs(), "task.num_outputs"),
        (Restless(), "leaves its own result alone"),
        (Stray(), "genotype of its space"),
        (Detached(), "has a gradient"),
        (OwnRandomness(), "global generator"),
        (object(), "`choices` and `build"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_space_is_told_what_is_wrong(space: SearchSpace, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_search_space(space, GREY)


def test_a_whole_space_passes() -> None:
    check_search_space(Broken(), GREY)
