"""The chosen architecture as graphs, drawn from its choices; a space that is not known here is told as a table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from archimed.report.figures.canvas import Figure
from archimed.report.figures.graph import Edge, Graph, Node, draw
from archimed.report.reading import Record, number
from archimed.task import ImagingTask

Spelt = Mapping[str, str]  # {choice: option}

KINDS: Mapping[str, str] = {  # how an operation's name begins: the class of its box
    "separable": "separable",
    "dilated": "dilated",
    "factorised": "asymmetric",
    "max": "max",
    "average": "average",
    "zero": "zero",
}
SHORT: Mapping[str, str] = {
    "separable_conv": "sep",
    "dilated_conv": "dil",
    "max_pool": "max",
    "average_pool": "avg",
    "conv": "conv",
}
LEGEND: Mapping[str, str] = {
    "sep k×k": "separable convolution",
    "dil k×k": "dilated separable convolution",
    "7×1, 1×7": "two thin convolutions in turn",
    "max, avg k×k": "max and average pooling over k×k pixels",
    "1×1": "convolution that only mixes channels",
    "concat": "features laid side by side",
    "zero": "nothing; it and what reads it are drawn dashed and left out of the network",
}
SUMMING_CHOICE = re.compile(r"(normal|reduction)\.(?:node|block)\d+\.(?:inputs|input[12]|operation[12])")
WIDE = 480  # pixels from which a graph gets a row of its own
READING = "Read from the top down: each box takes what its arrow brings. Unread outputs are concatenated."


@dataclass(frozen=True)
class Step:
    """One stage of the whole network, with the form of the features that leave it."""

    words: str
    form: str


def operation_words(name: str) -> str:
    """An operation in a box's few letters: separable_conv_3 is "sep 3×3"."""
    stem, _, side = name.rpartition("_")
    if not side.isdecimal():
        return name.replace("_", " ")
    if stem == "factorised_conv":
        return f"{side}×1, 1×{side}"
    return f"{SHORT.get(stem, stem.replace('_', ' '))} {side}×{side}"


def operation_kind(name: str) -> str:
    """The class of an operation's box."""
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), "")


def architecture_figures(genotype: Spelt) -> list[Figure]:
    """One graph for every block of a multi-scale genotype, or for both cells of DARTS's and NSGA-Net's spaces.

    None for another space's.
    """
    blocks = {block: block_graph(part_choices(genotype, block)) for block in block_names(genotype)}
    cells = {cell: summing_graph(part_choices(genotype, cell)) for cell in summing_cells(genotype)}
    drawings = {name: draw(graph) for name, graph in (blocks or cells).items()}
    width = max((drawing[1] for drawing in drawings.values()), default=0.0)
    return [architecture_figure(name, *drawing, width) for name, drawing in drawings.items()]


def architecture_figure(name: str, body: str, own_width: float, height: float, width: float) -> Figure:
    """The figure of one block or cell, in the middle of a width that all of them share, so that boxes are alike."""
    title = name.replace("block", "Block ") if name.startswith("block") else f"{name.capitalize()} cell"
    moved = f'<g transform="translate({(width - own_width) / 2:.1f} 0)">{body}</g>'
    return Figure(f"architecture_{name}", title, READING, moved, width, height, wide=width > WIDE)


def block_names(genotype: Spelt) -> list[str]:
    """The blocks of a multi-scale genotype in their order; empty if it is of another space."""
    forms = (r"(block\d+)\.node\d+\.(?:operation|input)", r"(block\d+)\.pool\d+")
    found = [next((m[1] for form in forms if (m := re.fullmatch(form, name))), None) for name in genotype]
    return [] if None in found else sorted({name for name in found if name}, key=lambda name: int(name[5:]))


def part_choices(genotype: Spelt, part: str) -> dict[str, str]:
    """The choices of one block or cell without its name."""
    return {name.removeprefix(f"{part}."): option for name, option in genotype.items() if name.startswith(f"{part}.")}


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


def summing_cells(genotype: Spelt) -> list[str]:
    """The cells of a genotype of DARTS's or NSGA-Net's space; empty if it is of another."""
    found = [SUMMING_CHOICE.fullmatch(name) for name in genotype]
    return list(dict.fromkeys(match[1] for match in found if match)) if all(found) else []


def summing_graph(choices: Spelt) -> Graph:
    """A cell whose nodes each sum two operations on earlier states; unread nodes, in DARTS all, are concatenated."""
    names = sorted({name.partition(".")[0] for name in choices}, key=digits)
    nodes = [Node("input1", "input 1", "none"), Node("input2", "input 2", "none")]
    edges: list[Edge] = []
    read: set[str] = set()
    for name in names:
        pair = choices.get(f"{name}.inputs", "").split("+")
        sources = pair if len(pair) == 2 else [choices.get(f"{name}.input{k}", "input1") for k in (1, 2)]
        nodes.append(Node(name, "+"))
        for k, source in enumerate(sources, start=1):
            operation = choices.get(f"{name}.operation{k}", "")
            nodes.append(Node(f"{name}.{k}", operation_words(operation), operation_kind(operation)))
            edges += [(source, f"{name}.{k}"), (f"{name}.{k}", name)]
        read.update(sources)
    everything = any(name.endswith(".inputs") for name in choices)
    nodes.append(Node("join", "concat"))
    edges += [(name, "join") for name in names if everything or name not in read]
    return Graph(tuple(nodes), tuple(edges))


def digits(name: str) -> tuple[int, ...]:
    """The numbers in a name, to sort node10 behind node2."""
    return tuple(int(part) for part in re.findall(r"\d+", name))


def steps(space: Record, genotype: Spelt, task: ImagingTask) -> list[Step]:
    """The whole network from image to classes, with channels and sizes; [] if the space does not tell them."""
    blocks, width, stride = block_names(genotype), number(space.get("width")), number(space.get("stem_stride"))
    if not blocks or not width or not stride or not task.image_size:
        return []
    side = [ceil(pixels / stride) for pixels in task.image_size]
    found = [Step("image", form(task.channels, task.image_size)), Step("stem", form(int(width), side))]
    for k, block in enumerate(blocks):
        side = [ceil(pixels / 2) for pixels in side]
        found.append(Step(block.replace("block", "block "), form(int(width) * 2**k, side)))
    found.append(Step("average over the image", f"{int(width) * 2 ** (len(blocks) - 1)}"))
    return [*found, Step("linear layer", f"{task.num_outputs} outputs")]


def form(channels: int, side: Sequence[int]) -> str:
    """Channels and pixels: "128 × 7 × 7"."""
    return " × ".join(str(length) for length in (channels, *side))
