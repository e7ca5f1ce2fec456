"""The space of MM-NAS (Peng et al., 2020): cells that decide where and how modalities such as PET and CT fuse."""

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.fusion import FusionLayout, FusionNetwork, HeadReads, MixedFusionNetwork
from archimed.networks.layers import Normalisation, check_spatial_dims
from archimed.networks.mixed_cell import CELLS, refuse_shared_channels
from archimed.networks.operations import (
    AVERAGE_POOL_3,
    CONV_3,
    CONV_5,
    DILATED_CONV_3,
    DILATED_CONV_5,
    IDENTITY,
    MAX_POOL_3,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    ZERO,
)
from archimed.networks.stem import StemForm, StemStride
from archimed.spaces.edge_pairs import EdgePairs
from archimed.spaces.modalities import modalities
from archimed.spaces.protocol import Mixture, refuse_masks
from archimed.task import ImagingTask

OPERATIONS = (
    CONV_3,
    CONV_5,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    DILATED_CONV_3,
    DILATED_CONV_5,
    MAX_POOL_3,
    AVERAGE_POOL_3,
    IDENTITY,
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FusionCellSpace:
    """A stem per modality, one of their sum, one normal and one reduction cell, repeated; in 2D and 3D.

    The first normal cell reads the modalities' stems (one modality stands for both inputs), further normal cells the
    outputs before them. The first reduction cell reads the last normal cell and the stem of the sum (of the
    concatenation, where modalities have different numbers of channels), further ones the two outputs before them.
    Nodes sum operations on two different earlier states, as in DARTS, from which the paper takes what it leaves open.
    In a reduction cell edges from its inputs have stride 2, though the paper says one. A region that the images have is
    read by every stem beside its modality.
    """

    modalities: tuple[int, ...] | None = Field(
        default=None,
        min_length=1,
        description="channels of each modality; none: as the data name their channels, else one each, of at most two",
    )
    num_nodes: int = Field(default=3, ge=1, le=6, description="nodes of a cell (unstated in MM-NAS)")
    num_normal: int = Field(default=1, ge=1, description="normal cells, the first of which fuses (MM-NAS, Fig. 1)")
    num_reduction: int = Field(default=3, ge=1, description="reduction cells (unstated in MM-NAS)")
    width: int = Field(default=8, ge=2, description="channels of a stem and of a node in the normal cells (unstated)")
    head: int = Field(default=32, ge=1, description="channels of the two last convolutions (unstated)")
    stem_stride: StemStride = Field(default=2, description="pixels per step of the stems")
    stem_form: StemForm = Field(
        default="pooled",
        description="how stems take that step: pooled, the largest of the pixels of a convolution at full resolution "
        "(ours; sees findings of a few voxels); or strided, a convolution of that stride (unstated in MM-NAS)",
    )
    normalisation: Normalisation = Field(
        default="instance", description="instance, or batch where batches hold several images (MM-NAS: batches of one)"
    )
    head_reads: HeadReads = Field(
        default="stages",
        description="last: the last convolution (MM-NAS); stages: also mean and largest value of each modality's first "
        "convolution, as normalising each image takes away how bright it is, and of the normal cells; and of a region "
        "its volume and the mean, deviation and maximum of each modality in it (ours)",
    )

    @property
    def _pairs(self) -> EdgePairs:
        inputs = max(2, len(self.modalities or ())), 2
        return EdgePairs(self.num_nodes, OPERATIONS, dict(zip(CELLS, inputs, strict=True)))

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per cell and node: the two states it reads, then the operation on each."""
        return self._pairs.choices

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        """Per cell and edge: the ten operations of MM-NAS, zero first."""
        return self._pairs.mixed_choices

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks, or has other channels than the modalities.
        """
        check_genotype(genotype, self.choices)
        normal, reduction = self._pairs.plans(genotype)
        return FusionNetwork(self._layout(task), normal, reduction)

    def canonical(self, genotype: Genotype) -> Genotype:
        """The representative of all genotypes whose cells are the same graph up to the numbering of nodes."""
        return self._pairs.canonical(genotype)

    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> MixedFusionNetwork:
        """All networks of the space in one (see `RelaxableSpace.supernet`)."""
        return MixedFusionNetwork(
            self._layout(task), (ZERO, *OPERATIONS), recompute=recompute, channel_share=channel_share
        )

    def derive(self, mixture: Mixture) -> Genotype:
        """Per node the two edges whose strongest operation but zero weighs most, each with that operation (DARTS)."""
        return self._pairs.derive(mixture)

    def one_hot(self, genotype: Genotype) -> Mixture:
        """All weight on the genotype's operations, and on zero where it has no edge."""
        return self._pairs.one_hot(genotype)

    def inherit(self, supernet: nn.Module, genotype: Genotype, network: nn.Module) -> None:
        """Copy the supernet's weights along a path (see `RelaxableSpace.inherit`)."""
        check_genotype(genotype, self.choices)
        refuse_shared_channels(supernet)
        supernet.give_weights(network)  # type: ignore[operator]

    def named_modalities(self, task: ImagingTask) -> tuple[int, ...] | None:
        """Channels of each modality by the names of the channels; None where two or fewer need not be told.

        None too where the channels of one modality do not lie side by side.
        """
        groups = tuple(modalities(task).values())
        in_order = [channel for group in groups for channel in group] == list(range(task.image_channels))
        if not task.channel_names or not in_order or (len(groups) <= 2 and max(map(len, groups)) == 1):
            return None
        return tuple(map(len, groups))

    def _layout(self, task: ImagingTask) -> FusionLayout:
        refuse_masks(task, "fusion-cell")
        check_spatial_dims(task.spatial_dims)
        sizes = self.modalities or (1,) * task.image_channels
        if sum(sizes) != task.image_channels or (self.modalities is None and task.image_channels > 2):
            told = "two modalities of one channel" if self.modalities is None else f"modalities of {sizes} channels"
            raise SettingsError(
                f"The space's modalities are the image's channels; the space has {told}, the images "
                f"{task.image_channels} channels. Set space.modalities to the channels of each, e.g. "
                f"{','.join('1' * task.image_channels)}."
            )
        return FusionLayout(
            modalities=sizes,
            num_nodes=self.num_nodes,
            num_normal=self.num_normal,
            num_reduction=self.num_reduction,
            width=self.width,
            head=self.head,
            stem_stride=self.stem_stride,
            stem_form=self.stem_form,
            num_outputs=task.num_outputs,
            spatial_dims=task.spatial_dims,
            normalisation=self.normalisation,
            head_reads=self.head_reads,
            region=task.has_region,
        )
