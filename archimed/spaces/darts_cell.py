"""The cell space of DARTS (Liu et al., 2019): discrete for Table X of MSTF-NAS, relaxed for differentiable search."""

from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import Normalisation, check_spatial_dims, with_normalisation
from archimed.networks.mixed_cell import CELLS, MixedCellNetwork, refuse_shared_channels
from archimed.networks.operations import (
    AVERAGE_POOL_3,
    DILATED_CONV_3,
    DILATED_CONV_5,
    IDENTITY,
    MAX_POOL_3,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    ZERO,
    Operation,
)
from archimed.networks.stem import StemStride
from archimed.networks.summing_cell import SummingCellNetwork
from archimed.spaces.edge_pairs import EdgePairs
from archimed.spaces.protocol import Mixture, refuse_masks
from archimed.task import ImagingTask

OPERATIONS = (
    MAX_POOL_3,
    AVERAGE_POOL_3,
    IDENTITY,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    DILATED_CONV_3,
    DILATED_CONV_5,
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DartsCellSpace:
    """One normal and one reduction cell, repeated; each node sums operations on two different earlier states.

    All nodes are concatenated. As in MSTF-NAS ("in the same way as our method", Sec. IV-E) the stem brings the image
    to the first width; cells at one and two thirds of the depth reduce. Poolings are followed by normalisation.
    A class of one's own that derives from this one may offer other `operations`.
    """

    operations: ClassVar[tuple[Operation, ...]] = OPERATIONS

    num_cells: int = Field(default=8, ge=3, description="cells of the network (DARTS, search phase)")
    num_nodes: int = Field(default=4, ge=1, le=6, description="nodes of a cell (DARTS)")
    width: int = Field(
        default=72, ge=2, description="channels of a node in the first cells (ours: near the multi-scale space's cost)"
    )
    stem_stride: StemStride = Field(default=4, description="pixels per step of the stem, as in the multi-scale space")
    with_zero: bool = Field(default=False, description="offer the zero operation too, as the mixture of DARTS does")
    normalisation: Normalisation = Field(
        default="batch", description="batch, or instance where batches may hold a single image"
    )

    @property
    def _pairs(self) -> EdgePairs:
        return EdgePairs(self.num_nodes, self.operations, dict.fromkeys(CELLS, 2), self.with_zero)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per cell and node: the two states it reads, then the operation on each."""
        return self._pairs.choices

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        """Per cell and edge: all operations, zero first."""
        return self._pairs.mixed_choices

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks.
        """
        check_genotype(genotype, self.choices)
        _check_task(task)
        normal, reduction = self._pairs.plans(genotype)
        network = SummingCellNetwork(
            normal,
            reduction,
            num_cells=self.num_cells,
            width=self.width,
            stem_stride=self.stem_stride,
            channels=task.channels,
            num_outputs=task.num_outputs,
            spatial_dims=task.spatial_dims,
            positive=self.normalisation != "batch",
        )
        return network if self.normalisation == "batch" else with_normalisation(network, self.normalisation, True)

    def canonical(self, genotype: Genotype) -> Genotype:
        """The representative of all genotypes whose cells are the same graph up to the numbering of nodes."""
        return self._pairs.canonical(genotype)

    def supernet(self, task: ImagingTask, *, recompute: bool = False, channel_share: int = 1) -> MixedCellNetwork:
        """All networks of the space in one (see `RelaxableSpace.supernet`)."""
        _check_task(task)
        return MixedCellNetwork(
            (ZERO, *self.operations),
            num_cells=self.num_cells,
            num_nodes=self.num_nodes,
            width=self.width,
            stem_stride=self.stem_stride,
            channels=task.channels,
            num_outputs=task.num_outputs,
            spatial_dims=task.spatial_dims,
            normalisation=self.normalisation,
            recompute=recompute,
            channel_share=channel_share,
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


def _check_task(task: ImagingTask) -> None:
    refuse_masks(task, "DARTS-cell")
    check_spatial_dims(task.spatial_dims)
