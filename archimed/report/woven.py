"""The networks of MixSearch's space in a report: the weave of its cells, and the graph of each kind of cell."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from archimed.errors import ArchimedError
from archimed.genotype import parse
from archimed.report.architecture_graph import architecture_figure
from archimed.report.figures.canvas import Figure
from archimed.report.figures.graph import draw
from archimed.report.figures.weave import Cell, Spot, Weave, weave_figure
from archimed.report.operation_words import legend
from archimed.report.reading import Record
from archimed.report.summing_cells import Spelt, digits, part_choices, summing_graph
from archimed.spaces import space_from_settings

if TYPE_CHECKING:
    from archimed.networks.weave_lattice import Place

INPUTS: Mapping[str, tuple[str, str]] = {  # what the two inputs of a cell are, in boxes
    "down": ("same row", "row above"),
    "normal": ("same row, earlier", "same row"),
    "up": ("same row", "row below"),
}
READING = (
    "Read from the top down: a node adds what its arrows bring; all nodes leave side by side (concat). All {kind} "
    "cells are alike; where a map of the same row does not exist, its arrows are left out."
)


def is_woven(space: Record) -> bool:
    """Whether a space is that of MixSearch."""
    return str(space.get("name")).replace("-", "_") == "weaved_unet"


def is_woven_genotype(genotype: Spelt) -> bool:
    """Whether a genotype names what only that space has."""
    return any(name.startswith(("down.node", "up.node")) for name in genotype)


def woven_options(genotype: Spelt) -> dict[str, str]:
    """What a derived network has on each mixed choice: the operation on the edges it keeps, and the kinds of cell."""
    found = {name: option for name, option in genotype.items() if name.startswith("type.")}
    for kind in INPUTS:
        own = part_choices(genotype, kind)
        for node in node_names(own):
            states = own[f"{node}.inputs"].split("+")
            found |= {f"{kind}.{node}.{state}": own[f"{node}.{state}"] for state in states if f"{node}.{state}" in own}
    return found


def node_names(choices: Spelt) -> list[str]:
    """The nodes of a cell in their order."""
    named = {name.partition(".")[0] for name in choices if name.endswith(".inputs")}
    return sorted(named, key=digits)


def read_weave(genotype: Spelt, space: Record, weights: Mapping[str, Sequence[float]]) -> Weave | None:
    """The weave of a genotype; None where it is not of the space.

    Args:
        genotype: spelt out.
        space: name and fields.
        weights: of the choices `type.d<row>.l<column>`, the weight of each kind of cell there; {} where not known.
    """
    import torch

    from archimed.spaces.weaved_unet import WeavedUnetSpace

    fields = {name: value for name, value in space.items() if name != "name"}
    try:
        found = space_from_settings("weaved_unet", fields)
        if not isinstance(found, WeavedUnetSpace):
            return None
        genes = parse(genotype, found.choices)
        mixture = {name: torch.tensor(list(values)) for name, values in weights.items()}
        paths = found.paths(genes, mixture or None)
    except ArchimedError:
        return None
    kept = {(path.place, path.kind): path.weight for path in paths}
    cells = tuple(
        Cell(spot(place), kind, spot(inputs.resampled), inputs.level and spot(inputs.level), kept.get((place, kind)))
        for place, kinds in found.lattice.cells.items()
        for kind, inputs in kinds.items()
    )
    rows = {cell.spot[0] for cell in cells} | {1}
    channels = {row: found.num_nodes * found.width * 2 ** (row - 1) for row in sorted(rows)}
    return Weave(cells, tuple(map(spot, found.lattice.exits)), (1, 1), channels)


def spot(place: "Place") -> Spot:
    """Row and column of a place."""
    return place.depth, place.layer


def woven_figures(
    genotype: Spelt, space: Record, weights: Mapping[str, Sequence[float]], spatial_dims: int
) -> list[Figure]:
    """The weave, then each kind of cell that is built; nothing for another space."""
    weave = read_weave(genotype, space, weights) if is_woven(space) else None
    if weave is None:
        return []
    graphs = {
        kind: draw(summing_graph(woven_cell(genotype, kind), INPUTS[kind], spatial_dims))
        for kind in dict.fromkeys(cell.kind for cell in weave.cells if cell.weight is not None)
    }
    width = max(drawing[1] for drawing in graphs.values())
    cells = [architecture_figure(kind, READING.format(kind=kind), *drawing, width) for kind, drawing in graphs.items()]
    return [weave_figure(weave, weighed=bool(weights)), *cells]


def woven_cell(genotype: Spelt, kind: str) -> dict[str, str]:
    """A kind of cell in the form of DARTS's: per node two inputs, and the operation on each."""
    own = part_choices(genotype, kind)
    found: dict[str, str] = {}
    for node in node_names(own):
        pair = own[f"{node}.inputs"].split("+")
        found[f"{node}.inputs"] = own[f"{node}.inputs"]
        found |= {f"{node}.operation{k}": own[f"{node}.{state}"] for k, state in enumerate(pair, start=1)}
    return found


def woven_legend(genotype: Spelt) -> dict[str, str]:
    """What the words in the boxes of the cells mean."""
    cells = [woven_cell(genotype, kind) for kind in INPUTS]
    operations = [option for cell in cells for name, option in cell.items() if ".operation" in name]
    return {**legend(operations), "concat": "features laid side by side"}
