"""Cells whose nodes sum operations on two earlier outputs, as in DARTS and NSGA-Net, and networks of them."""

from collections.abc import Sequence
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


class _Sum(nn.Module):
    """One node: the sum of its operations, each on the state it reads."""

    def __init__(self, edges: Sequence[Edge], width: int, spatial_dims: int, reduces: bool) -> None:
        super().__init__()
        self.sources = tuple(source for _, source in edges)
        self.operations = nn.ModuleList(
            operation.build(width, spatial_dims, stride=2 if reduces and source < 2 else 1)
            for operation, source in edges
        )

    def forward(self, states: Sequence[Tensor]) -> Tensor:
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
        self.nodes = nn.ModuleList(_Sum(node, width, spatial_dims, reduces) for node in plan.nodes)

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
    ) -> None:
        super().__init__()
        self.stem = stem(channels, width, spatial_dims, stem_stride)
        in_channels = (width, width)
        cells: list[nn.Module] = []
        bridges = False
        for position in range(num_cells):
            reduces = position in (num_cells // 3, 2 * num_cells // 3)
            width = 2 * width if reduces else width
            plan = reduction if reduces else normal
            cells.append(
                SummingCell(
                    plan,
                    in_channels=in_channels,
                    width=width,
                    spatial_dims=spatial_dims,
                    reduces=reduces,
                    bridges=bridges,
                )
            )
            in_channels = (in_channels[1], len(plan.outputs) * width)
            bridges = reduces
        self.cells = nn.ModuleList(cells)
        self.head = PooledLinear(in_channels[1], num_outputs)

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
