"""Cells whose nodes sum operations on two different earlier states: their genotypes, and mixtures that relax them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.mixed_cell import edge_choices
from archimed.networks.operations import ZERO, Operation
from archimed.networks.summing_cell import CellPlan
from archimed.spaces.cell_graph import SumNode, normal_form
from archimed.spaces.protocol import Mixture


@dataclass(frozen=True)
class EdgePairs:
    """The two-edge cells of DARTS.

    Attributes:
        num_nodes: nodes of a cell.
        searched: operations but zero.
        inputs: the cell types and how many inputs each has.
        with_zero: whether a genotype may choose zero; a mixture always weighs it, as its first option.
    """

    num_nodes: int
    searched: tuple[Operation, ...]
    inputs: Mapping[str, int]
    with_zero: bool = False

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What an edge of a genotype may do."""
        return (ZERO, *self.searched) if self.with_zero else self.searched

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per cell and node: the two states it reads, then the operation on each."""
        return tuple(choice for cell, inputs in self.inputs.items() for choice in self._cell_choices(cell, inputs))

    def _cell_choices(self, cell: str, inputs: int) -> Iterator[Choice]:
        states = (*(f"input{k}" for k in range(1, inputs + 1)), *(f"node{k}" for k in range(1, self.num_nodes)))
        names = tuple(operation.name for operation in self.operations)
        for node in range(1, self.num_nodes + 1):
            inputs_of = tuple(f"{states[a]}+{states[b]}" for a, b in pairs(node, inputs))
            yield Choice(f"{cell}.node{node}.inputs", inputs_of)
            yield Choice(f"{cell}.node{node}.operation1", names)
            yield Choice(f"{cell}.node{node}.operation2", names)

    @property
    def mixed_choices(self) -> tuple[Choice, ...]:
        """Per cell and edge: all operations, zero first."""
        names = (ZERO.name, *(operation.name for operation in self.searched))
        cells = (edge_choices(cell, inputs, self.num_nodes, names) for cell, inputs in self.inputs.items())
        return tuple(choice for cell in cells for choice in cell)

    def plans(self, genotype: Genotype) -> tuple[CellPlan, ...]:
        """What to build of each cell; a node without edges gives zeros in the form of the cell's first input."""
        named = {operation.name: operation for operation in self.operations}
        plans = []
        for inputs, nodes in zip(self.inputs.values(), self._cells(genotype), strict=True):
            edges = tuple(tuple((named[name], source) for name, source in node) or ((ZERO, 0),) for node in nodes)
            plans.append(CellPlan(edges, outputs=tuple(range(inputs, inputs + len(nodes)))))
        return tuple(plans)

    def canonical(self, genotype: Genotype) -> Genotype:
        """The representative of all genotypes whose cells are the same graph up to the numbering of nodes."""
        check_genotype(genotype, self.choices)
        cells = zip(self.inputs.values(), self._cells(genotype), strict=True)
        return tuple(gene for inputs, nodes in cells for gene in self._encode(normal_form(nodes, inputs), inputs))

    def derive(self, mixture: Mixture) -> Genotype:
        """Per node the two edges whose strongest operation but zero weighs most, each with that operation (DARTS).

        The first wins among equals. Where a genotype may choose zero, an edge on which all else weighs nothing is zero.
        """
        weights = iter(mixture[choice.name].tolist()[1:] for choice in self.mixed_choices)
        return tuple(
            gene
            for inputs in self.inputs.values()
            for node in range(1, self.num_nodes + 1)
            for gene in self._strongest([next(weights) for _ in range(inputs + node - 1)], node, inputs)
        )

    def _strongest(self, edges: Sequence[Sequence[float]], node: int, inputs: int) -> Iterator[int]:
        order = sorted(range(len(edges)), key=lambda source: -max(edges[source]))
        pair = tuple(sorted(order[:2]))
        yield pairs(node, inputs).index((pair[0], pair[1]))
        for source in pair:
            best = edges[source].index(max(edges[source]))
            yield best if not self.with_zero else best + 1 if edges[source][best] else 0

    def one_hot(self, genotype: Genotype) -> Mixture:
        """All weight on the genotype's operations, and on zero where it has no edge."""
        check_genotype(genotype, self.choices)
        names = [ZERO.name, *(operation.name for operation in self.searched)]
        mixture = {}
        choices = iter(self.mixed_choices)
        for inputs, nodes in zip(self.inputs.values(), self._cells(genotype), strict=True):
            for position, node in enumerate(nodes):
                chosen = {source: name for name, source in node}
                for source in range(inputs + position):
                    option = names.index(chosen.get(source, ZERO.name))
                    mixture[next(choices).name] = torch.eye(len(names))[option]
        return mixture

    def _cells(self, genotype: Genotype) -> Iterator[tuple[SumNode, ...]]:
        """The edges of each cell's nodes, without zeros."""
        genes = iter(genotype)
        for inputs in self.inputs.values():
            nodes: list[SumNode] = []
            for node in range(1, self.num_nodes + 1):
                sources = pairs(node, inputs)[next(genes)]
                edges = ((self.operations[next(genes)].name, source) for source in sources)
                nodes.append(tuple(edge for edge in edges if edge[0] != ZERO.name))
            yield tuple(nodes)

    def _encode(self, nodes: Sequence[SumNode], inputs: int) -> Iterator[int]:
        """The genes of a cell; edges that are missing become zeros on the first states that are free."""
        names = [operation.name for operation in self.operations]
        for node, edges in enumerate(nodes, start=1):
            on = {source: name for name, source in edges}
            every = pairs(node, inputs)
            pair = next(pair for pair in every if on.keys() <= set(pair))
            yield every.index(pair)
            yield from (names.index(on.get(source, ZERO.name)) for source in pair)


def pairs(node: int, inputs: int) -> tuple[tuple[int, int], ...]:
    """The pairs of states that the given node (from 1) may read."""
    return tuple(combinations(range(inputs + node - 1), 2))
