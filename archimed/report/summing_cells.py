"""Cells whose nodes add operations on earlier states (DARTS, NSGA-Net, MM-NAS): their graphs, and fusion in words."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archimed.report.figures.graph import Edge, Graph, Node
from archimed.report.operation_words import operation_kind, operation_of, operation_words
from archimed.report.reading import Record, number
from archimed.report.words import listing
from archimed.task import REGION

Spelt = Mapping[str, str]  # {choice: option}

SUMMING_CHOICE = re.compile(r"(normal|reduction)\.(?:node|block)\d+\.(?:inputs|input[12]|operation[12])")


@dataclass(frozen=True)
class CellInputs:
    """What the first cell of a type reads.

    Attributes:
        boxes: each input in a box: "PET stem".
        words: each input in a sentence: "PET".
        carried: the modalities in each.
        reading: what a drawing's caption adds.
    """

    boxes: tuple[str, ...]
    words: tuple[str, ...]
    carried: tuple[frozenset[str], ...]
    reading: str


def summing_cells(genotype: Spelt) -> list[str]:
    """The cells of a genotype of a space whose nodes add; empty if it is of another."""
    found = [SUMMING_CHOICE.fullmatch(name) for name in genotype]
    return list(dict.fromkeys(match[1] for match in found if match)) if all(found) else []


def part_choices(genotype: Spelt, part: str) -> dict[str, str]:
    """The choices of one block or cell without its name."""
    return {name.removeprefix(f"{part}."): option for name, option in genotype.items() if name.startswith(f"{part}.")}


def digits(name: str) -> tuple[int, ...]:
    """The numbers in a name, to sort node10 behind node2."""
    return tuple(int(part) for part in re.findall(r"\d+", name))


def spaced(name: str) -> str:
    """A state's name as words: node1 is "node 1"."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", name)


def node_edges(choices: Spelt) -> dict[str, list[tuple[str, str]]]:
    """For every node of a cell the (operation, state) pairs that it adds."""
    found = {}
    for name in sorted({name.partition(".")[0] for name in choices}, key=digits):
        pair = choices.get(f"{name}.inputs", "").split("+")
        sources = pair if len(pair) == 2 else [choices.get(f"{name}.input{k}", "input1") for k in (1, 2)]
        found[name] = [(choices.get(f"{name}.operation{k}", ""), source) for k, source in enumerate(sources, start=1)]
    return found


def keeps_all(choices: Spelt) -> bool:
    """Whether all nodes leave the cell, as in DARTS, and not only the unread ones."""
    return any(name.endswith(".inputs") for name in choices)


def summing_graph(choices: Spelt, inputs: Sequence[str] = (), spatial_dims: int = 2) -> Graph:
    """A cell's inputs (by their names, if given), operations, nodes that add them, and the nodes that leave."""
    cell = node_edges(choices)
    named = [f"input{k}" for k in range(1, len(inputs or (1, 2)) + 1)]
    read = [source for edges in cell.values() for _, source in edges]
    states = sorted({*named, *(source for source in read if source not in cell)}, key=digits)
    titles = dict(zip(named, inputs, strict=False))
    nodes = [Node(state, titles.get(state, spaced(state)), "none") for state in states]
    edges: list[Edge] = []
    for name, pair in cell.items():
        for k, (operation, source) in enumerate(pair, start=1):
            words = operation_words(operation, spatial_dims)
            nodes.append(Node(f"{name}.{k}", words, operation_kind(operation)))
            edges += [(source, f"{name}.{k}"), (f"{name}.{k}", name)]
        nodes.append(Node(name, f"{spaced(name)} +", "sum"))
    nodes.append(Node("join", "concat"))
    edges += [(name, "join") for name in cell if keeps_all(choices) or name not in read]
    nodes.append(Node("output", "output", "none"))
    return Graph(tuple(nodes), (*edges, ("join", "output")))


def modality_names(space: Record, channel_names: Sequence[str]) -> tuple[str, ...]:
    """The modalities of a fusion space by the names of their channels."""
    channel_names = [name for name in channel_names if name != REGION]
    sizes = [round(number(size) or 1) for size in space.get("modalities") or [1] * len(channel_names)]
    named = sum(sizes) == len(channel_names)
    found, start = [], 0
    for position, size in enumerate(sizes, start=1):
        names = dict.fromkeys(channel_names[start : start + size]) if named else {}
        found.append("+".join(names) or f"modality {position}")
        start += size
    return tuple(found)


def cell_inputs(space: Record, channel_names: Sequence[str]) -> dict[str, CellInputs]:
    """What the first cell of each type reads, of spaces that are known; else nothing."""
    if space.get("name") != "fusion_cell":
        return {}
    names = modality_names(space, channel_names) or ("image",)
    sizes = set(space.get("modalities") or [1])
    alike = len(sizes) == 1
    both = names if len(names) > 1 else names * 2
    normal_cells = round(number(space.get("num_normal")) or 1)
    whole = frozenset(names)
    first = CellInputs(
        tuple(f"{name} stem" for name in both),
        both,
        tuple(frozenset([name]) for name in both),
        f"Drawn is the first of {normal_cells} normal cells; a later one reads the outputs before it."
        if normal_cells > 1
        else "",
    )
    sign = " + " if alike else ", "
    total = f"the {'sum' if alike else 'channels'} of {listing(names)}" if len(names) > 1 else f"{names[0]} once more"
    second = CellInputs(
        ("normal cell", f"{sign.join(names)} stem" if len(names) > 1 else f"second {names[0]} stem"),
        ("the normal cell", total),
        (whole, whole),
        "Drawn is the first reduction cell; a later one reads the two outputs before it.",
    )
    return {"normal": first, "reduction": second}


def fusion_words(choices: Spelt, inputs: CellInputs, spatial_dims: int) -> list[str]:
    """What each node of a fusion cell adds, where modalities meet, and which input no node reads."""
    if len({name for carried in inputs.carried for name in carried}) < 2:
        return []
    words = {f"input{k}": name for k, name in enumerate(inputs.words, start=1)}
    carried = {f"input{k}": names for k, names in enumerate(inputs.carried, start=1)}
    found = []
    cell = node_edges(choices)
    for name, pair in cell.items():
        parts = [operation_of(operation, words.get(source, source), spatial_dims) for operation, source in pair]
        before = [carried.get(source, frozenset()) for _, source in pair]
        carried[name], words[name] = before[0] | before[1], spaced(name)
        fuses = all(carried[name] > one for one in before)
        ordered = [one for one in dict.fromkeys(inputs.words) if one in carried[name]]
        verb = f"fuses {listing(ordered)}: it adds" if fuses else "adds"
        found.append(f"{spaced(name).capitalize()} {verb} {listing(parts)}.")
    read = {source for pair in cell.values() for _, source in pair}
    found += [f"No node reads {words[one]}." for one in words if one.startswith("input") and one not in read]
    return found
