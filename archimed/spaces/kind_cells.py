"""Cells of several kinds whose second input is resampled: their genotypes, and mixtures that relax them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from archimed.genotype import Choice, Genotype
from archimed.networks.mixed_cell import edge_choices
from archimed.networks.operations import ZERO, Operation
from archimed.networks.summing_cell import Edge
from archimed.networks.weave_cell import INPUTS
from archimed.networks.weave_network import Tables, table
from archimed.networks.weave_operations import Resampling
from archimed.spaces.cell_graph import SumNode, normal_form
from archimed.spaces.edge_pairs import pairs
from archimed.spaces.protocol import Mixture


@dataclass(frozen=True)
class KindCells:
    """Cells whose nodes each sum operations on two different earlier states.

    A genotype has, for each node, the two states that it reads, then an operation for each state that it could read;
    those on the others are not used.

    Attributes:
        num_nodes: nodes of a cell.
        kinds: the kinds of cell.
        tables: the operations on edges, with zero in the tables that weigh it.
    """

    num_nodes: int
    kinds: tuple[Resampling, ...]
    tables: Tables

    def _edges(self, kind: Resampling, node: int) -> list[tuple[str, tuple[Operation, ...]]]:
        """Names of the edges to a node (from 1), and what each may do in a genotype."""
        choices = edge_choices(kind, INPUTS, self.num_nodes, ())
        names = [choice.name for choice in choices if choice.name.startswith(f"{kind}.node{node}.")]
        return [(name, tuple(o for o in table(self.tables, kind, name) if o.name != ZERO.name)) for name in names]

    def _nodes(self) -> Iterator[tuple[Resampling, int]]:
        return ((kind, node) for kind in self.kinds for node in range(1, self.num_nodes + 1))

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Per kind and node: the two states it reads, then the operation on each state before it."""
        found = []
        for kind, node in self._nodes():
            edges = self._edges(kind, node)
            states = [name.rsplit(".", 1)[1] for name, _ in edges]
            options = tuple(f"{states[a]}+{states[b]}" for a, b in pairs(node, INPUTS))
            found.append(Choice(f"{kind}.node{node}.inputs", options))
            found += [Choice(name, tuple(o.name for o in operations)) for name, operations in edges]
        return tuple(found)

    def plans(self, genes: Genotype) -> dict[Resampling, tuple[tuple[Edge, ...], ...]]:
        """For each kind of cell and node the operations that it sums, each with the state that it reads."""
        left = iter(genes)
        plans: dict[Resampling, tuple[tuple[Edge, ...], ...]] = {}
        for kind, node in self._nodes():
            read = pairs(node, INPUTS)[next(left)]
            edges = [(operations[next(left)], state) for state, (_, operations) in enumerate(self._edges(kind, node))]
            plans[kind] = (*plans.get(kind, ()), tuple(edge for edge in edges if edge[1] in read))
        return plans

    def canonical(self, genes: Genotype, used: Sequence[Resampling]) -> Genotype:
        """The representative of all genes whose cells are the same graph up to the numbering of nodes.

        Cells of kinds that are not used, and operations on edges that are not, are the first ones.
        """
        plans = self.plans(genes)
        found: list[int] = []
        for kind in self.kinds:
            nodes = [tuple((operation.name, source) for operation, source in node) for node in plans[kind]]
            found += self._encode(kind, normal_form(nodes, INPUTS) if kind in used else None)
        return tuple(found)

    def _encode(self, kind: Resampling, nodes: Sequence[SumNode] | None) -> Iterator[int]:
        for node in range(1, self.num_nodes + 1):
            edges = self._edges(kind, node)
            if nodes is None:
                yield from (0,) * (1 + len(edges))
                continue
            chosen = {source: name for name, source in nodes[node - 1]}
            first, second = sorted(chosen)
            yield pairs(node, INPUTS).index((first, second))
            for state, (_, operations) in enumerate(edges):
                names = [operation.name for operation in operations]
                yield names.index(chosen[state]) if state in chosen else 0

    def derive(self, mixture: Mixture) -> Genotype:
        """Per edge the strongest operation but zero, per node the two edges whose weigh most (as DARTS).

        The first wins among equals. Weights are compared as they are, as in the released code: an edge with fewer
        options to share its weight, such as those that double the size, wins more easily.
        """
        genes: list[int] = []
        for kind, node in self._nodes():
            edges = self._edges(kind, node)
            weights = [self._without_zero(kind, name, mixture) for name, _ in edges]
            order = sorted(range(len(edges)), key=lambda state: -max(weights[state]))
            first, second = sorted(order[:2])
            genes.append(pairs(node, INPUTS).index((first, second)))
            genes += [values.index(max(values)) for values in weights]
        return tuple(genes)

    def _without_zero(self, kind: Resampling, edge: str, mixture: Mixture) -> list[float]:
        names = [operation.name for operation in table(self.tables, kind, edge)]
        return [value for name, value in zip(names, mixture[edge].tolist(), strict=True) if name != ZERO.name]

    def one_hot(self, genes: Genotype) -> Mixture:
        """All weight on the operations of the edges that are read; zero on the others, or no weight at all."""
        mixture = {}
        plans = self.plans(genes)
        for kind, node in self._nodes():
            chosen = {source: operation.name for operation, source in plans[kind][node - 1]}
            for state, (name, _) in enumerate(self._edges(kind, node)):
                names = [operation.name for operation in table(self.tables, kind, name)]
                option = chosen.get(state, ZERO.name)
                mixture[name] = torch.tensor([float(option == other) for other in names])
        return mixture

    def strengths(self, mixture: Mixture) -> Mapping[Resampling, dict[str, float]]:
        """The mean weight of each option of each table over the edges that it serves."""
        found: dict[Resampling, dict[str, list[float]]] = {}
        for kind, node in self._nodes():
            for name, _ in self._edges(kind, node):
                key: Resampling = kind if table(self.tables, kind, name) is self.tables[kind] else "normal"
                for operation, weight in zip(self.tables[key], mixture[name].tolist(), strict=True):
                    found.setdefault(key, {}).setdefault(operation.name, []).append(weight)
        return {
            key: {name: sum(values) / len(values) for name, values in options.items()} for key, options in found.items()
        }
