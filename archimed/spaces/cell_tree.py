"""Cells whose nodes each read one earlier output are rooted trees; what of a tree matters, and its normal form.

A node is (operation name, input): input 0 is the cell's own input, k the output of the k-th node. The outputs that no
node reads leave the cell, so:

- a zero node, and every node that reads zeros (after batch normalisation they are constants, which the next
  normalisation removes), adds nothing and is left out, as is the reading itself: its input counts as not read;
- an identity that another node reads is a mere name for its own input, and its readers read that instead. An
  identity that leaves the cell is kept: it passes its input on.
"""

from collections.abc import Sequence

Node = tuple[str, int]


def essential_nodes(nodes: Sequence[Node], zero: str = "zero", identity: str = "identity") -> tuple[Node, ...]:
    """The nodes that a network needs to compute, renumbered, in the order given."""
    dead = {0: False}
    for k, (operation, source) in enumerate(nodes, start=1):
        dead[k] = operation == zero or dead[source]
    read = {source for k, (_, source) in enumerate(nodes, start=1) if not dead[k]}
    number = {0: 0}
    kept: list[Node] = []
    for k, (operation, source) in enumerate(nodes, start=1):
        if dead[k]:
            continue
        if operation == identity and k in read:
            number[k] = number[source]
        else:
            kept.append((operation, number[source]))
            number[k] = len(kept)
    return tuple(kept)


def normal_form(nodes: Sequence[Node], order: Sequence[str]) -> tuple[Node, ...]:
    """The same tree, numbered so that any two isomorphic trees are numbered alike.

    Siblings are sorted by the normal forms of the trees that hang on them (Aho, Hopcroft and Ullman, 1974), and
    nodes are numbered depth first.

    Args:
        nodes: the tree.
        order: the operation names in the order to sort by.
    """
    children = [[j for j, (_, source) in enumerate(nodes, start=1) if source == k] for k in range(len(nodes) + 1)]

    def hanging_on(k: int) -> list[tuple[Node, ...]]:
        """The trees below node k, sorted, each as its nodes numbered from its own root (1)."""
        trees = (((nodes[j - 1][0], 0), *joined(hanging_on(j), parent=1)) for j in children[k])
        return sorted(trees, key=lambda tree: [(order.index(name), source) for name, source in tree])

    return joined(hanging_on(0), parent=0)


def joined(trees: Sequence[Sequence[Node]], parent: int) -> tuple[Node, ...]:
    """Trees numbered one after the other, their roots reading the parent, whose number precedes theirs."""
    nodes: list[Node] = []
    for tree in trees:
        before = parent + len(nodes)
        nodes += [(name, before + source if source else parent) for name, source in tree]
    return tuple(nodes)
