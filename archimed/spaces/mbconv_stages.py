"""The space of EMARS (He et al., 2021): cells of MBConv blocks, the operation of each block chosen, for 2D and 3D."""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.inverted_residual import BLOCK_OPTIONS
from archimed.networks.layers import check_spatial_dims
from archimed.networks.mbconv_stages import MbconvStages, MixedMbconvStages, StagesLayout, Steps, block_names
from archimed.spaces.protocol import Mixture, refuse_masks
from archimed.task import ImagingTask

OPTIONS = tuple(operation.name for operation in BLOCK_OPTIONS)
PAPER_STRIDES = (2, 2, 2, 2, 1, 2, 1)  # of the stem (released code) and of the six cells
HALVING = tuple(position for position, stride in enumerate(PAPER_STRIDES) if stride == 2)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MbconvStagesSpace:
    """A stem, cells of blocks, a pointwise convolution, global average pooling and a linear layer, so CAM is exact.

    Each block is one of eight operations: MBConv of kernel 3 (expansion 3, 4 or 6), 5 or 7 (3 or 4), or identity.
    Before each stands a pointwise convolution, the calibration; the first of a cell changes width and size. The paper
    has one a cell, but its sizes, from 2.6 MB for identities alone, are those of one a block, as in its released code.
    Unlike there, what a block makes is added to what came in in the first block of a cell too, an identity is not
    added to itself, and calibrations have no bias.

    With `strides=auto` an axis is halved as often as leaves the last map `least_map` pixels, at most as often as in the
    paper, the longest axes first: short axes wait until the others have come near them.
    """

    blocks: tuple[int, ...] = Field(
        default=(4, 4, 4, 4, 4, 1), min_length=1, description="blocks of each cell (EMARS, released code)"
    )
    widths: tuple[int, ...] = Field(
        default=(24, 40, 80, 96, 192, 320), min_length=1, description="channels of each cell (EMARS)"
    )
    strides: Literal["auto", "paper"] = Field(
        default="auto",
        description="auto: each axis is halved as often as leaves space.least_map pixels (ours); paper: by 2 in the "
        "stem and by 2, 2, 2, 1, 2, 1 in the cells (EMARS)",
    )
    least_map: int = Field(
        default=4, ge=1, description="pixels along each axis of the last map, at least, with strides=auto (ours)"
    )
    stem_width: int = Field(default=32, ge=1, description="channels of the first convolution (EMARS)")
    first_width: int = Field(
        default=16,
        ge=1,
        description="channels of the block after it, MBConv 3 without expansion (EMARS, released code)",
    )
    head_width: int = Field(
        default=1280, ge=1, description="channels that are averaged for the linear layer (EMARS, released code)"
    )

    @model_validator(mode="after")
    def _one_width_a_cell(self) -> "MbconvStagesSpace":
        if len(self.blocks) != len(self.widths) or min(*self.blocks, *self.widths) < 1:
            raise ValueError("every cell has a width and one or more blocks: give as many blocks as widths")
        if self.strides == "paper" and len(self.blocks) != len(PAPER_STRIDES) - 1:
            raise ValueError("the paper's strides are those of six cells; use strides=auto for another number")
        return self

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The operation of each block, cell after cell."""
        return tuple(Choice(name, OPTIONS) for cell in block_names(self.blocks) for name in cell)

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        """The same."""
        return self.choices

    def build(self, genotype: Genotype, task: ImagingTask) -> MbconvStages:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks, or its images are too small.
        """
        check_genotype(genotype, self.choices)
        return MbconvStages(self.layout(task), [BLOCK_OPTIONS[gene] for gene in genotype])

    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> MixedMbconvStages:
        """All networks of the space in one (see `RelaxableSpace.supernet`); its norms learn scale and shift.

        One-hot mixtures compute their path alone, so that the features of a step are those of one network.
        """
        if channel_share != 1:
            raise SettingsError(
                f"The MBConv space mixes all channels of a block; got a channel share of {channel_share}. Leave it "
                "at 1, or make space.widths smaller."
            )
        return MixedMbconvStages(self.layout(task), BLOCK_OPTIONS, self.choices, recompute=recompute)

    def derive(self, mixture: Mixture) -> Genotype:
        """The option of each block that weighs most, the first among equals."""
        return tuple(int(mixture[choice.name].detach().argmax()) for choice in self.choices)

    def one_hot(self, genotype: Genotype) -> Mixture:
        """All weight on the genotype's options."""
        check_genotype(genotype, self.choices)
        eye = torch.eye(len(OPTIONS))
        return {choice.name: eye[gene] for choice, gene in zip(self.choices, genotype, strict=True)}

    def inherit(self, supernet: nn.Module, genotype: Genotype, network: nn.Module) -> None:
        """Copy the supernet's weights along a path (see `RelaxableSpace.inherit`)."""
        check_genotype(genotype, self.choices)
        supernet.give_weights(network, [OPTIONS[gene] for gene in genotype])  # type: ignore[operator]

    def layout(self, task: ImagingTask) -> StagesLayout:
        """What all networks have in common for a task.

        Raises:
            SettingsError: the task asks for masks, or its images are too small.
        """
        refuse_masks(task, "MBConv")
        check_spatial_dims(task.spatial_dims)
        return StagesLayout(
            channels=task.channels,
            num_outputs=task.num_outputs,
            stem_width=self.stem_width,
            first_width=self.first_width,
            widths=self.widths,
            blocks=self.blocks,
            head_width=self.head_width,
            strides=self._strides(task.image_size),
        )

    def _strides(self, size: Sequence[int]) -> tuple[Steps, ...]:
        """Of the stem and of each cell, along each axis."""
        if self.strides == "paper":
            return tuple((stride,) * len(size) for stride in PAPER_STRIDES)
        if min(size) < self.least_map:
            need, got = ("x".join(map(str, sides)) for sides in ((self.least_map,) * len(size), size))
            raise SettingsError(
                f"The last map of an MBConv network has {self.least_map} pixels along every axis, so images have at "
                f"least {need}; these have {got}. Set a larger data.image_size, or a smaller space.least_map."
            )
        positions = [position for position in HALVING if position <= len(self.blocks)]
        counts = [min(_halvings(pixels, self.least_map), len(positions)) for pixels in size]
        halved = [set(positions[max(counts) - count : max(counts)]) for count in counts]
        return tuple(tuple(2 if position in axis else 1 for axis in halved) for position in range(len(self.blocks) + 1))


def _halvings(pixels: int, least: int) -> int:
    """How often an axis can be halved, rounding up, with the least number of pixels left."""
    count = 0
    while pixels > 1 and (pixels := -(-pixels // 2)) >= least:
        count += 1
    return count
