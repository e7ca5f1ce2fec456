"""The multi-scale search space of MSTF-NAS (Sec. III-A and III-C)."""

from collections.abc import Iterator
from typing import get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.heads import PooledLinear
from archimed.networks.layers import check_spatial_dims
from archimed.networks.multiscale_cell import NormalCell, ReductionCell
from archimed.networks.operations import (
    DILATED_CONV_3,
    DILATED_CONV_5,
    FACTORISED_CONV_7,
    IDENTITY,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    SEPARABLE_CONV_7,
    ZERO,
)
from archimed.networks.pooling import PoolingKind
from archimed.networks.stem import StemStride, stem
from archimed.spaces.cell_tree import Node, essential_nodes, normal_form
from archimed.spaces.protocol import refuse_masks
from archimed.task import ImagingTask

OPERATIONS = (  # Sec. III-A: o_N = 8
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    SEPARABLE_CONV_7,
    DILATED_CONV_3,
    DILATED_CONV_5,
    FACTORISED_CONV_7,
    IDENTITY,
    ZERO,
)
OPERATION_NAMES = tuple(operation.name for operation in OPERATIONS)
POOLINGS: tuple[tuple[PoolingKind, int], ...] = tuple(  # Sec. III-A: o_R = 6
    (kind, side) for side in (2, 3, 4) for kind in get_args(PoolingKind)
)
POOLING_NAMES = tuple(f"{kind}_pool_{side}" for kind, side in POOLINGS)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MultiscaleCellSpace:
    """Blocks, all different, of one normal cell and one multi-scale reduction cell (MSTF-NAS, Sec. III-A).

    A block is encoded by an operation and an input for each node, and a pooling for each scale: 14 genes with the
    paper's numbers. Width doubles from block to block. What the paper leaves open is settled so: a zero node reads
    nothing and is not concatenated; a cell of zeros alone gives zeros; 7x1 and 1x7 convolutions are dense, as in
    NSGA-Net; each pooling is followed by ReLU, 1x1 convolution and batch normalisation.
    """

    num_blocks: int = Field(default=3, ge=1, description="blocks; 4 for images of 224 pixels (MSTF-NAS, Sec. IV-B)")
    num_nodes: int = Field(default=5, ge=1, description="nodes of a normal cell (MSTF-NAS, Sec. III-A)")
    num_pools: int = Field(default=4, ge=1, description="poolings of a reduction cell (MSTF-NAS, Sec. III-A)")
    width: int = Field(default=128, ge=1, description="channels of the first block (MSTF-NAS, Sec. IV-B)")
    stem_stride: StemStride = Field(
        default=4, description="pixels per step of the stem: 4 reproduces the cost of MSTF-NAS, 1 and 2 spend more"
    )

    def __post_init__(self) -> None:
        """Refuse widths that do not divide among the poolings."""
        if self.width % self.num_pools:
            wider = (self.width // self.num_pools + 1) * self.num_pools
            raise SettingsError(
                "space.width divides by space.num_pools, so that every pooling gets its share of channels; got width "
                f"{self.width} and {self.num_pools} pools. Try width {wider}."
            )

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per block: operation and input of each node, then the poolings."""
        return tuple(choice for block in range(1, self.num_blocks + 1) for choice in self._block_choices(block))

    def _block_choices(self, block: int) -> Iterator[Choice]:
        sources = ("input", *(f"node{k}" for k in range(1, self.num_nodes)))
        for node in range(1, self.num_nodes + 1):
            yield Choice(f"block{block}.node{node}.operation", OPERATION_NAMES)
            yield Choice(f"block{block}.node{node}.input", sources[:node])
        for pool in range(1, self.num_pools + 1):
            yield Choice(f"block{block}.pool{pool}", POOLING_NAMES)

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network of a genotype: stem, blocks, global average pooling, linear layer.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks.
        """
        check_genotype(genotype, self.choices)
        refuse_masks(task, "multiscale-cell")
        check_spatial_dims(task.spatial_dims)
        layers: list[nn.Module] = [stem(task.channels, self.width, task.spatial_dims, self.stem_stride)]
        channels = self.width
        for block, (nodes, pools) in enumerate(self._blocks(genotype)):
            width = self.width * 2**block
            chosen = [(OPERATIONS[OPERATION_NAMES.index(name)], source) for name, source in essential_nodes(nodes)]
            layers.append(NormalCell(channels, width, task.spatial_dims, chosen))
            layers.append(ReductionCell(width, task.spatial_dims, [POOLINGS[pool] for pool in pools]))
            channels = width
        return nn.Sequential(*layers, PooledLinear(channels, task.num_outputs))

    def canonical(self, genotype: Genotype) -> Genotype:
        """The representative of all genotypes whose cells are the same graph up to the numbering of nodes and pools.

        Renumbering permutes the channels of concatenations, hence only the weights that read them. What
        `essential_nodes` leaves out is filled up with zero nodes.
        """
        check_genotype(genotype, self.choices)
        genes: list[int] = []
        for nodes, pools in self._blocks(genotype):
            tree = normal_form(essential_nodes(nodes), OPERATION_NAMES)
            filler = ((ZERO.name, 0),) * (self.num_nodes - len(tree))
            for name, source in (*tree, *filler):
                genes += [OPERATION_NAMES.index(name), source]
            genes += sorted(pools)
        return tuple(genes)

    def _blocks(self, genotype: Genotype) -> Iterator[tuple[list[Node], Genotype]]:
        """The nodes and the poolings of each block."""
        nodes_end = 2 * self.num_nodes
        length = nodes_end + self.num_pools
        for start in range(0, len(genotype), length):
            block = genotype[start : start + length]
            pairs = zip(block[:nodes_end:2], block[1:nodes_end:2], strict=True)
            yield [(OPERATION_NAMES[operation], source) for operation, source in pairs], block[nodes_end:]
