"""The micro search space of NSGA-Net (Lu et al., 2019), for Table X of MSTF-NAS."""

from collections.abc import Iterator

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
from archimed.networks.operations import (
    AVERAGE_POOL_3,
    DILATED_CONV_3,
    DILATED_CONV_5,
    FACTORISED_CONV_7,
    IDENTITY,
    MAX_POOL_3,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    SEPARABLE_CONV_7,
)
from archimed.networks.stem import StemStride
from archimed.networks.summing_cell import CellPlan, SummingCellNetwork, unread_states
from archimed.spaces.cell_graph import SumNode, normal_form
from archimed.spaces.protocol import refuse_masks
from archimed.task import ImagingTask

OPERATIONS = (
    MAX_POOL_3,
    AVERAGE_POOL_3,
    IDENTITY,
    SEPARABLE_CONV_3,
    SEPARABLE_CONV_5,
    DILATED_CONV_3,
    DILATED_CONV_5,
    SEPARABLE_CONV_7,
    FACTORISED_CONV_7,
)
OPERATION_NAMES = tuple(operation.name for operation in OPERATIONS)
CELLS = ("normal", "reduction")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class NsganetCellSpace:
    """One normal and one reduction cell, repeated; each block sums two operations on any two earlier states.

    The blocks that no block reads are concatenated. Stem and depth are as in `DartsCellSpace`.
    """

    num_cells: int = Field(default=8, ge=3, description="cells of the network (NSGA-Net, search phase)")
    num_nodes: int = Field(default=5, ge=1, le=6, description="blocks of a cell (NSGA-Net)")
    width: int = Field(
        default=48, ge=2, description="channels of a block in the first cells (ours: near the multi-scale space's cost)"
    )
    stem_stride: StemStride = Field(default=4, description="pixels per step of the stem, as in the multi-scale space")

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per cell and block: two pairs of operation and input."""
        return tuple(choice for cell in CELLS for choice in self._cell_choices(cell))

    def _cell_choices(self, cell: str) -> Iterator[Choice]:
        states = ("input1", "input2", *(f"block{k}" for k in range(1, self.num_nodes)))
        for node in range(1, self.num_nodes + 1):
            for edge in (1, 2):
                yield Choice(f"{cell}.block{node}.operation{edge}", OPERATION_NAMES)
                yield Choice(f"{cell}.block{node}.input{edge}", states[: node + 1])

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks.
        """
        check_genotype(genotype, self.choices)
        refuse_masks(task, "NSGA-Net-cell")
        check_spatial_dims(task.spatial_dims)
        normal, reduction = (_plan(nodes) for nodes in self._cells(genotype))
        return SummingCellNetwork(
            normal,
            reduction,
            num_cells=self.num_cells,
            width=self.width,
            stem_stride=self.stem_stride,
            channels=task.channels,
            num_outputs=task.num_outputs,
            spatial_dims=task.spatial_dims,
        )

    def canonical(self, genotype: Genotype) -> Genotype:
        """The representative of all genotypes whose cells are the same graph up to the numbering of blocks."""
        check_genotype(genotype, self.choices)
        cells = [normal_form(nodes) for nodes in self._cells(genotype)]
        edges = (edge for cell in cells for node in cell for edge in node)
        return tuple(gene for name, source in edges for gene in (OPERATION_NAMES.index(name), source))

    def _cells(self, genotype: Genotype) -> Iterator[tuple[SumNode, ...]]:
        """The two edges of each block of each cell."""
        pairs = zip(genotype[::2], genotype[1::2], strict=True)
        edges = [(OPERATION_NAMES[operation], source) for operation, source in pairs]
        nodes: list[SumNode] = list(zip(edges[::2], edges[1::2], strict=True))
        yield tuple(nodes[: self.num_nodes])
        yield tuple(nodes[self.num_nodes :])


def _plan(nodes: tuple[SumNode, ...]) -> CellPlan:
    """What to build: all blocks, of which those that nothing reads leave the cell."""
    edges = tuple(tuple((OPERATIONS[OPERATION_NAMES.index(name)], source) for name, source in node) for node in nodes)
    return CellPlan(edges, outputs=unread_states([[source for _, source in node] for node in nodes]))
