"""Cells whose nodes sum edges from earlier states are directed acyclic graphs; their normal form.

A state is 0 or 1 for the two inputs of a cell and 2, 3, ... for its nodes. A node is the edges that it sums, each
(operation name, state that it reads).
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, permutations, product

Edge = tuple[str, int]
SumNode = tuple[Edge, ...]


def normal_form(nodes: Sequence[SumNode]) -> tuple[SumNode, ...]:
    """The same graph, its nodes and their edges ordered so that any two isomorphic graphs read alike.

    Nodes are sorted by what they compute, written out down to the inputs; among nodes that compute the same from
    weights of their own, the order that reads first wins.
    """
    numberings = (_renumbered(nodes, order) for order in _orders(nodes))
    return min(numberings)


def _orders(nodes: Sequence[SumNode]) -> Iterator[tuple[int, ...]]:
    """Orders of the nodes (by position) in which equal expressions take every order."""
    expressions = _expressions(nodes)
    positions = sorted(range(len(nodes)), key=lambda k: (_depth(nodes, k + 2), expressions[k]))
    ties = [tuple(group) for _, group in groupby(positions, key=lambda k: expressions[k])]
    for choice in product(*(permutations(tie) for tie in ties)):
        yield tuple(k for tie in choice for k in tie)


def _expressions(nodes: Sequence[SumNode]) -> list[str]:
    """What each node computes, e.g. `(identity 0 + zero (max_pool_3 0 + max_pool_3 1))`."""
    written = ["0", "1"]
    for node in nodes:
        written.append("(" + " + ".join(sorted(f"{name} {written[source]}" for name, source in node)) + ")")
    return written[2:]


def _depth(nodes: Sequence[SumNode], state: int) -> int:
    return 0 if state < 2 else 1 + max((_depth(nodes, source) for _, source in nodes[state - 2]), default=0)


def _renumbered(nodes: Sequence[SumNode], order: Sequence[int]) -> tuple[SumNode, ...]:
    state = {0: 0, 1: 1} | {k + 2: new for new, k in enumerate(order, start=2)}
    return tuple(tuple(sorted((name, state[source]) for name, source in nodes[k])) for k in order)
