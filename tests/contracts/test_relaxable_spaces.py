"""Every space that a gradient method can search under one law, in 2D and 3D, and the law itself under test."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from archimed.genotype import Genotype
from archimed.spaces import SPACES
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.spaces.protocol import Mixture, RelaxableSpace
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.task import ImagingTask
from archimed.testing import ContractError, check_relaxable_space

PLANES = ImagingTask("binary", ("healthy", "ill"), channels=2, image_size=(9, 14))
VOLUMES = ImagingTask("multi-class", ("a", "b", "c"), channels=2, image_size=(5, 8, 7))
TINY = ImagingTask("multi-label", ("a", "b"), channels=2, image_size=(3, 3, 3))
MASKS = ImagingTask("segmentation", ("background", "organ", "lesion"), channels=2, image_size=(9, 14))
VOLUME_MASKS = ImagingTask("segmentation", ("background", "organ"), channels=2, image_size=(5, 8, 7))
TINY_MASKS = ImagingTask("segmentation", ("background", "organ"), channels=1, image_size=(3, 3, 3))
WOVEN = (
    WeavedUnetSpace(depth=3, layers=6, width=4, num_nodes=2),
    WeavedUnetSpace(depth=3, layers=8, width=2, num_nodes=1, details=False, group_size=16),
    WeavedUnetSpace(depth=3, layers=4, layout="plain", width=2, normal_options=("conv", "shuffle_conv")),
)
SMALL = (
    DartsCellSpace(num_cells=3, num_nodes=2, width=4, stem_stride=1),
    DartsCellSpace(num_cells=3, num_nodes=3, width=2, stem_stride=2, with_zero=True, normalisation="instance"),
    FusionCellSpace(num_nodes=2, num_reduction=2, width=2, head=3, stem_stride=1),
    FusionCellSpace(num_nodes=2, num_normal=2, num_reduction=1, width=2, head=3, normalisation="batch"),
    FusionCellSpace(modalities=(2,), num_nodes=1, num_reduction=2, width=2, head=3),
    FusionCellSpace(num_nodes=1, num_reduction=1, width=2, head=3, head_reads="last", stem_form="strided"),
    MbconvStagesSpace(blocks=(1, 2), widths=(4, 6), stem_width=3, first_width=2, head_width=5, least_map=1),
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("task", [PLANES, VOLUMES, TINY], ids=["2D", "3D", "one pixel"])
@pytest.mark.parametrize("space", SMALL, ids=repr)
def test_space_keeps_the_contract(space: RelaxableSpace, task: ImagingTask) -> None:
    check_relaxable_space(space, task)


@pytest.mark.parametrize("task", [MASKS, VOLUME_MASKS, TINY_MASKS], ids=["2D", "3D", "tiny"])
@pytest.mark.parametrize("space", WOVEN, ids=repr)
def test_space_for_masks_keeps_the_contract(space: RelaxableSpace, task: ImagingTask) -> None:
    check_relaxable_space(space, task)


def test_three_modalities_keep_the_contract() -> None:
    space = FusionCellSpace(modalities=(1, 2, 1), num_nodes=2, num_reduction=1, width=2, head=3, stem_stride=1)
    check_relaxable_space(space, ImagingTask("binary", ("a", "b"), channels=4, image_size=(6, 7)))


@pytest.mark.parametrize("size", [(6, 7), (6, 5, 7)])
def test_a_region_beside_the_modalities_keeps_the_contract(size: tuple[int, ...]) -> None:
    space = FusionCellSpace(num_nodes=2, num_reduction=1, width=2, head=3, stem_stride=1)
    check_relaxable_space(space, ImagingTask("binary", ("a", "b"), 3, size, ("PET", "CT", "region")))


def test_every_named_relaxable_space_is_under_this_contract() -> None:
    assert {c for c in SPACES.values() if hasattr(c, "supernet")} == {type(space) for space in (*SMALL, *WOVEN)}


# The contract itself: each broken space must be told apart.


class Broken(DartsCellSpace):
    def __init__(self) -> None:
        super().__init__(num_cells=3, num_nodes=1, width=2, stem_stride=1, with_zero=True)


class Forgetful(Broken):
    def inherit(self, supernet: nn.Module, genotype: Genotype, network: nn.Module) -> None:
        pass


class Stubborn(Broken):
    def derive(self, mixture: Mixture) -> Genotype:  # noqa: ARG002
        return (0,) * len(self.choices)


class Wrapped(nn.Module):
    """A supernet with one thing wrong."""

    def __init__(self, supernet: nn.Module) -> None:
        super().__init__()
        self.supernet = supernet

    def mixture(self, mixture: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return mixture

    def forward(self, images: Tensor, mixture: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.supernet(images, self.mixture(mixture))
        return logits

    def give_weights(self, network: nn.Module) -> None:
        self.supernet.give_weights(network)  # type: ignore[operator]


class _Detaching(Wrapped):
    def mixture(self, mixture: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        last = list(mixture)[-1]
        return {**mixture, last: mixture[last].detach() + 0 * mixture[last]}


class _Multiplying(Wrapped):
    def mixture(self, mixture: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {name: weights + 1e-30 for name, weights in mixture.items()}


class Detached(Broken):
    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> nn.Module:  # type: ignore[override]
        return _Detaching(super().supernet(task, recompute=recompute, channel_share=channel_share))


class Wasteful(Broken):
    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> nn.Module:  # type: ignore[override]
        return _Multiplying(super().supernet(task, recompute=recompute, channel_share=channel_share))


class Unrepeatable(Broken):
    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> nn.Module:  # type: ignore[override]
        supernet = super().supernet(task, channel_share=channel_share)
        supernet.register_forward_hook(lambda _module, _inputs, logits: logits * (2 if recompute else 1))
        return supernet


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Forgetful(), "one path"),
        (Stubborn(), "is the genotype again"),
        (Detached(), "has the gradient of the loss"),
        (Wasteful(), "not computed"),
        (Unrepeatable(), "same gradients"),
        (object(), "mixed_choices"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_space_is_told_what_is_wrong(space: RelaxableSpace, message: str) -> None:
    with pytest.raises(ContractError, match=f"(?i){message}"):
        check_relaxable_space(space, PLANES)


def test_a_whole_space_passes() -> None:
    check_relaxable_space(Broken(), PLANES)
