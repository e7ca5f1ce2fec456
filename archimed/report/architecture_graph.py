"""The chosen architecture as graphs, drawn from its choices; a space that is not known here is told as a table."""

import re
from collections.abc import Mapping

from archimed.report.figures.canvas import Figure
from archimed.report.figures.graph import Edge, Graph, Node, draw
from archimed.report.operation_words import legend, operation_kind, operation_words
from archimed.report.reading import Record
from archimed.report.summing_cells import (
    CellInputs,
    Spelt,
    cell_inputs,
    digits,
    fusion_words,
    keeps_all,
    part_choices,
    summing_cells,
    summing_graph,
)
from archimed.task import ImagingTask

WIDE = 480  # pixels from which a graph gets a row of its own
READING = "Read from the top down: each box takes what its arrow brings. Unread outputs are concatenated."
ADDING = "Read from the top down: a node adds what its arrows bring; {leave} leave the cell side by side (concat)."
STACKED = "Input 1 is the output of the cell before the last, input 2 that of the last cell, at first both the stem's."


def architecture_figures(genotype: Spelt, space: Record, task: ImagingTask) -> list[Figure]:
    """One graph for every block of a multi-scale genotype, or for both cells of a space whose nodes add.

    None for another space's.
    """
    graphs = {block: block_graph(part_choices(genotype, block)) for block in block_names(genotype)}
    readings = dict.fromkeys(graphs, READING)
    inputs = cell_inputs(space, task.channel_names)
    for cell in [] if graphs else summing_cells(genotype):
        choices = part_choices(genotype, cell)
        graphs[cell] = summing_graph(choices, inputs[cell].boxes if cell in inputs else (), task.spatial_dims)
        readings[cell] = summing_reading(choices, inputs.get(cell))
    drawings = {name: draw(graph) for name, graph in graphs.items()}
    width = max((drawing[1] for drawing in drawings.values()), default=0.0)
    return [architecture_figure(name, readings[name], *drawing, width) for name, drawing in drawings.items()]


def summing_reading(choices: Spelt, inputs: CellInputs | None) -> str:
    """How to read the graph of a cell whose nodes add."""
    adding = ADDING.format(leave="all nodes" if keeps_all(choices) else "nodes that none reads")
    return f"{adding} {STACKED if inputs is None else inputs.reading}".rstrip()


def architecture_figure(name: str, reading: str, body: str, own_width: float, height: float, width: float) -> Figure:
    """The figure of one block or cell, in the middle of a width that all of them share, so that boxes are alike."""
    title = name.replace("block", "Block ") if name.startswith("block") else f"{name.capitalize()} cell"
    moved = f'<g transform="translate({(width - own_width) / 2:.1f} 0)">{body}</g>'
    return Figure(f"architecture_{name}", title, reading, moved, width, height, wide=width > WIDE, scrolls=True)


def architecture_legend(genotype: Spelt, task: ImagingTask) -> dict[str, str]:
    """What the letters in the boxes mean; empty where nothing is drawn."""
    if not block_names(genotype) and not summing_cells(genotype):
        return {}
    mixing = {"1×1": "convolution that only mixes channels"} if block_names(genotype) else {}
    return {**legend(genotype.values(), task.spatial_dims), **mixing, "concat": "features laid side by side"}


def fusion_in_words(genotype: Spelt, space: Record, task: ImagingTask) -> list[tuple[str, list[str]]]:
    """For each cell that fuses modalities, what its nodes do; empty for another space's."""
    inputs = cell_inputs(space, task.channel_names)
    told = [
        (f"{cell.capitalize()} cell", fusion_words(part_choices(genotype, cell), inputs[cell], task.spatial_dims))
        for cell in summing_cells(genotype)
        if cell in inputs
    ]
    return [(title, sentences) for title, sentences in told if sentences]


def block_names(genotype: Spelt) -> list[str]:
    """The blocks of a multi-scale genotype in their order; empty if it is of another space."""
    forms = (r"(block\d+)\.node\d+\.(?:operation|input)", r"(block\d+)\.pool\d+")
    found = [next((m[1] for form in forms if (m := re.fullmatch(form, name))), None) for name in genotype]
    return [] if None in found else sorted({name for name in found if name}, key=lambda name: int(name[5:]))


def block_graph(choices: Spelt) -> Graph:
    """A normal cell and the reduction cell that reads it (MSTF-NAS, Fig. 4)."""
    cell = {
        name.removesuffix(".operation"): (option, choices.get(name.replace("operation", "input"), "input"))
        for name, option in sorted(choices.items(), key=lambda item: digits(item[0]))
        if name.endswith(".operation")
    }
    pools = [choices[name] for name in sorted(choices, key=digits) if name.startswith("pool")]
    nodes = [Node("input", "input", "none"), Node("before", "1×1")]
    edges: list[Edge] = [("input", "before")]
    nodes += [
        Node(name, operation_words(operation), operation_kind(operation)) for name, (operation, _) in cell.items()
    ]
    edges += [("before" if source == "input" else source, name) for name, (_, source) in cell.items()]
    nodes += [Node("join", "concat"), Node("after", "1×1")]
    edges += [*((name, "join") for name in unread(cell)), ("join", "after")]
    normal = ("before", *cell, "join", "after")
    if not pools:
        return Graph(tuple(nodes), tuple(edges), (("normal cell", normal),))
    share = f"1×1, C/{len(pools)}"
    for k, pool in enumerate(pools, start=1):
        nodes += [Node(f"pool{k}", operation_words(pool), operation_kind(pool)), Node(f"mix{k}", share)]
        edges += [("after", f"pool{k}"), (f"pool{k}", f"mix{k}"), (f"mix{k}", "pooled")]
    nodes += [Node("pooled", "concat"), Node("output", "output", "none")]
    edges.append(("pooled", "output"))
    reduction = (*(f"{kind}{k}" for k in range(1, len(pools) + 1) for kind in ("pool", "mix")), "pooled")
    return Graph(tuple(nodes), tuple(edges), (("normal cell", normal), ("reduction cell", reduction)))


def dead_nodes(cell: Mapping[str, tuple[str, str]]) -> set[str]:
    """The nodes that give zeros: they, or what they read, are zero operations."""
    dead: set[str] = set()
    for name, (operation, source) in cell.items():
        if operation == "zero" or source in dead:
            dead.add(name)
    return dead


def unread(cell: Mapping[str, tuple[str, str]]) -> list[str]:
    """The nodes whose outputs leave a cell: not zeros, and read by no node that is not zeros.

    A cell of zeros alone has none; its drawing joins all of them.
    """
    dead = dead_nodes(cell)
    read = {source for name, (_, source) in cell.items() if name not in dead}
    return [name for name in cell if name not in dead and name not in read] or list(cell)
