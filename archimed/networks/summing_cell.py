"""Cells whose nodes sum operations on two earlier outputs, as in DARTS and NSGA-Net, and networks of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.heads import PooledLinear
from archimed.networks.layers import relu_conv_norm
from archimed.networks.operations import FactorisedReduction, Operation
from archimed.networks.stem import StemStride, stem

Edge = tuple[Operation, int]  # an operation and the state it reads: 0 and 1 are the cell's inputs, 2 the first node


@dataclass(frozen=True)
class CellPlan:
    """The edges that each node sums, and the states that leave the cell."""

    nodes: tuple[tuple[Edge, ...], ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class CellShape:
    """Where a cell stands: the channels of its inputs, its own width, whether it halves the size.

    `bridges` tells that its first input is twice the size of the second.
    """

    in_channels: tuple[int, ...]
    width: int
    reduces: bool
    bridges: bool


def stacked_cells(num_cells: int, width: int, outputs: tuple[int, int]) -> list[CellShape]:
    """Cells in a row, each reading the two outputs before it; those at one and two thirds of the depth reduce.

    Args:
        num_cells: cells of the network.
        width: channels of the stem and of a node in the first cells; a reduction doubles it.
        outputs: nodes that leave a normal and a reduction cell.
    """
    shapes: list[CellShape] = []
    in_channels = (width, width)
    bridges = False
    for position in range(num_cells):
        reduces = position in (num_cells // 3, 2 * num_cells // 3)
        width = 2 * width if reduces else width
        shapes.append(CellShape(in_channels, width, reduces, bridges))
        in_channels = (in_channels[1], outputs[reduces] * width)
        bridges = reduces
    return shapes


class NodeSum(nn.Module):
    """One node: the sum of its operations, each on the state it reads."""

    def __init__(self, edges: Sequence[Edge], width: int, spatial_dims: int, reduces: bool, inputs: int = 2) -> None:
        """`reduces` gives stride 2 to edges from the first `inputs` states."""
        super().__init__()
        self.sources = tuple(source for _, source in edges)
        self.names = tuple(operation.name for operation, _ in edges)
        self.operations = nn.ModuleList(
            operation.build(width, spatial_dims, stride=2 if reduces and source < inputs else 1)
            for operation, source in edges
        )

    def edges(self) -> Iterator[tuple[str, int, nn.Module]]:
        """Name, source and module of each operation."""
        return zip(self.names, self.sources, self.operations, strict=True)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """The sum."""
        terms = [operation(states[source]) for operation, source in zip(self.operations, self.sources, strict=True)]
        total: Tensor = reduce(add, terms)
        return total


class SummingCell(nn.Module):
    """One cell: the outputs of the two cells before it, brought to one width and size, then its nodes.

    In a reduction cell every edge from a cell input has stride 2: an axis of n pixels leaves with ceil(n / 2).
    """

    def __init__(
        self,
        plan: CellPlan,
        *,
        in_channels: tuple[int, int],
        width: int,
        spatial_dims: int,
        reduces: bool,
        bridges: bool,
    ) -> None:
        """`reduces` halves the size; `bridges` tells that the first input is twice the size of the second."""
        super().__init__()
        self.outputs = plan.outputs
        bring = FactorisedReduction if bridges else relu_conv_norm
        self.bring_before = bring(in_channels[0], width, spatial_dims)
        self.bring_last = relu_conv_norm(in_channels[1], width, spatial_dims)
        self.nodes = nn.ModuleList(NodeSum(node, width, spatial_dims, reduces) for node in plan.nodes)

    def forward(
        self, before: Float[Tensor, "batch channel *space"], last: Float[Tensor, "batch channel2 *space2"]
    ) -> Float[Tensor, "batch out *space3"]:
        """The concatenated outputs."""
        states = [self.bring_before(before), self.bring_last(last)]
        for node in self.nodes:
            states.append(node(states))
        return torch.cat([states[k] for k in self.outputs], dim=1)


class SummingCellNetwork(nn.Module):
    """Stem, cells and global average pooling; the cells at one and two thirds of the depth halve size, double width."""

    def __init__(
        self,
        normal: CellPlan,
        reduction: CellPlan,
        *,
        num_cells: int,
        width: int,
        stem_stride: StemStride,
        channels: int,
        num_outputs: int,
        spatial_dims: int,
        positive: bool = False,
    ) -> None:
        """`positive`: the head pools what passes a ReLU, as it must where each image is normalised by itself."""
        super().__init__()
        self.stem = stem(channels, width, spatial_dims, stem_stride)
        shapes = stacked_cells(num_cells, width, (len(normal.outputs), len(reduction.outputs)))
        cells = [
            SummingCell(
                plan,
                in_channels=(shape.in_channels[0], shape.in_channels[1]),
                width=shape.width,
                spatial_dims=spatial_dims,
                reduces=shape.reduces,
                bridges=shape.bridges,
            )
            for shape, plan in ((shape, reduction if shape.reduces else normal) for shape in shapes)
        ]
        self.cells = nn.ModuleList(cells)
        self.head = PooledLinear(len(cells[-1].outputs) * shapes[-1].width, num_outputs, positive=positive)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        before = last = self.stem(images)
        for cell in self.cells:
            before, last = last, cell(before, last)
        logits: Tensor = self.head(last)
        return logits


def unread_states(sources: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The nodes (by state number, from 2) that no node reads."""
    read = {source for node in sources for source in node}
    return tuple(state for state in range(2, len(sources) + 2) if state not in read)
