"""The cell space of DARTS (Liu et al., 2019) as a discrete space, for Table X of MSTF-NAS."""

from collections.abc import Iterator
from itertools import combinations

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
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
from archimed.networks.summing_cell import CellPlan, SummingCellNetwork
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
)
CELLS = ("normal", "reduction")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DartsCellSpace:
    """One normal and one reduction cell, repeated; each node sums operations on two different earlier states.

    All nodes are concatenated. As in MSTF-NAS ("in the same way as our method", Sec. IV-E) the stem brings the image
    to the first width; cells at one and two thirds of the depth reduce. Poolings are followed by normalisation.
    """

    num_cells: int = Field(default=8, ge=3, description="cells of the network (DARTS, search phase)")
    num_nodes: int = Field(default=4, ge=1, le=6, description="nodes of a cell (DARTS)")
    width: int = Field(
        default=72, ge=2, description="channels of a node in the first cells (ours: near the multi-scale space's cost)"
    )
    stem_stride: StemStride = Field(default=4, description="pixels per step of the stem, as in the multi-scale space")
    with_zero: bool = Field(default=False, description="offer the zero operation too, as the mixture of DARTS does")

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What an edge may do."""
        return (ZERO, *OPERATIONS) if self.with_zero else OPERATIONS

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per cell and node: the two states it reads, then the operation on each."""
        return tuple(choice for cell in CELLS for choice in self._cell_choices(cell))

    def _cell_choices(self, cell: str) -> Iterator[Choice]:
        states = ("input1", "input2", *(f"node{k}" for k in range(1, self.num_nodes)))
        names = tuple(operation.name for operation in self.operations)
        for node in range(1, self.num_nodes + 1):
            pairs = tuple(f"{states[a]}+{states[b]}" for a, b in _pairs(node))
            yield Choice(f"{cell}.node{node}.inputs", pairs)
            yield Choice(f"{cell}.node{node}.operation1", names)
            yield Choice(f"{cell}.node{node}.operation2", names)

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network of a genotype.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks.
        """
        check_genotype(genotype, self.choices)
        refuse_masks(task, "DARTS-cell")
        check_spatial_dims(task.spatial_dims)
        normal, reduction = (self._plan(nodes) for nodes in self._cells(genotype))
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
        """The representative of all genotypes whose cells are the same graph up to the numbering of nodes."""
        check_genotype(genotype, self.choices)
        cells = [normal_form(nodes) for nodes in self._cells(genotype)]
        return tuple(gene for cell in cells for gene in self._encode(cell))

    def _plan(self, nodes: tuple[SumNode, ...]) -> CellPlan:
        """What to build: a node without edges gives zeros in the form of the cell's first input."""
        named = {operation.name: operation for operation in self.operations}
        edges = tuple(tuple((named[name], source) for name, source in node) or ((ZERO, 0),) for node in nodes)
        return CellPlan(edges, outputs=tuple(range(2, len(nodes) + 2)))

    def _cells(self, genotype: Genotype) -> Iterator[tuple[SumNode, ...]]:
        """The edges of each cell's nodes, without zeros."""
        genes = iter(genotype)
        for _ in CELLS:
            nodes: list[SumNode] = []
            for node in range(1, self.num_nodes + 1):
                sources = _pairs(node)[next(genes)]
                edges = ((self.operations[next(genes)].name, source) for source in sources)
                nodes.append(tuple(edge for edge in edges if edge[0] != ZERO.name))
            yield tuple(nodes)

    def _encode(self, nodes: tuple[SumNode, ...]) -> Iterator[int]:
        """The genes of a cell; edges that are missing become zeros on the first states that are free."""
        names = [operation.name for operation in self.operations]
        for node, edges in enumerate(nodes, start=1):
            on = {source: name for name, source in edges}
            pair = next(pair for pair in _pairs(node) if on.keys() <= set(pair))
            yield _pairs(node).index(pair)
            yield from (names.index(on.get(source, ZERO.name)) for source in pair)


def _pairs(node: int) -> tuple[tuple[int, int], ...]:
    """The pairs of states that the given node (from 1) may read."""
    return tuple(combinations(range(node + 1), 2))
