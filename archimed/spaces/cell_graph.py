"""Cells whose nodes sum edges from earlier states are directed acyclic graphs; their normal form.

States count from 0: first the inputs of a cell, two unless said otherwise, then its nodes. A node is the edges that it
sums, each (operation name, state that it reads).
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, permutations, product

Edge = tuple[str, int]
SumNode = tuple[Edge, ...]


def normal_form(nodes: Sequence[SumNode], inputs: int = 2) -> tuple[SumNode, ...]:
    """The same graph, its nodes and their edges ordered so that any two isomorphic graphs read alike.

    Nodes are sorted by what they compute, written out down to the inputs; among nodes that compute the same from
    weights of their own, the order that reads first wins.
    """
    numberings = (_renumbered(nodes, order, inputs) for order in _orders(nodes, inputs))
    return min(numberings)


def _orders(nodes: Sequence[SumNode], inputs: int) -> Iterator[tuple[int, ...]]:
    """Orders of the nodes (by position) in which equal expressions take every order."""
    expressions = _expressions(nodes, inputs)
    positions = sorted(range(len(nodes)), key=lambda k: (_depth(nodes, k + inputs, inputs), expressions[k]))
    ties = [tuple(group) for _, group in groupby(positions, key=lambda k: expressions[k])]
    for choice in product(*(permutations(tie) for tie in ties)):
        yield tuple(k for tie in choice for k in tie)


def _expressions(nodes: Sequence[SumNode], inputs: int) -> list[str]:
    """What each node computes, e.g. `(identity 0 + zero (max_pool_3 0 + max_pool_3 1))`."""
    written = [str(state) for state in range(inputs)]
    for node in nodes:
        written.append("(" + " + ".join(sorted(f"{name} {written[source]}" for name, source in node)) + ")")
    return written[inputs:]


def _depth(nodes: Sequence[SumNode], state: int, inputs: int) -> int:
    if state < inputs:
        return 0
    return 1 + max((_depth(nodes, source, inputs) for _, source in nodes[state - inputs]), default=0)


def _renumbered(nodes: Sequence[SumNode], order: Sequence[int], inputs: int) -> tuple[SumNode, ...]:
    state = {k: k for k in range(inputs)} | {k + inputs: new for new, k in enumerate(order, start=inputs)}
    return tuple(tuple(sorted((name, state[source]) for name, source in nodes[k])) for k in order)
