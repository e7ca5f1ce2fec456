"""A small layered layout (Sugiyama et al., 1981) and its drawing: boxes in rows, edges from the top down."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from archimed.report.figures.canvas import Point, rectangle, text

ROW = 46.0  # pixels from row to row
BOX_HEIGHT = 27.0
GAP = 9.0  # pixels between neighbours in a row
LANE = 10.0  # pixels kept free for an edge that passes a row
LETTER = 6.4  # pixels per letter

Edge = tuple[str, str]


@dataclass(frozen=True)
class Node:
    """One box: a unique name, the words in it, and a class that colours its outline."""

    name: str
    words: str
    kind: str = ""

    @property
    def width(self) -> float:
        """Pixels that the box needs."""
        return max(38.0, LETTER * len(self.words) + 14)


@dataclass(frozen=True)
class Graph:
    """A directed graph without cycles; a group is a titled panel behind its nodes, which fill whole rows."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()


def rows_of(graph: Graph) -> dict[str, int]:
    """The row of every node: the length of the longest path that leads to it."""
    sources: dict[str, list[str]] = defaultdict(list)
    for start, stop in graph.edges:
        sources[stop].append(start)
    rows: dict[str, int] = {}

    def row(name: str) -> int:
        if name not in rows:
            rows[name] = max((row(source) + 1 for source in sources[name]), default=0)
        return rows[name]

    for node in graph.nodes:
        row(node.name)
    return rows


@dataclass(frozen=True)
class Layout:
    """Where everything is: the middle of every box, the points that every edge passes, and the size."""

    middles: Mapping[str, Point]
    routes: Mapping[Edge, tuple[Point, ...]]
    width: float
    height: float


def lay_out(graph: Graph, margin: float = 16.0) -> Layout:
    """Place nodes in rows, order rows so that few edges cross, and move nodes towards their neighbours."""
    rows = rows_of(graph)
    widths = {node.name: node.width for node in graph.nodes}
    chains: dict[Edge, list[str]] = {}
    for start, stop in dict.fromkeys(graph.edges):
        passed = [f"{start}\0{stop}\0{row}" for row in range(rows[start] + 1, rows[stop])]
        rows |= {name: row for row, name in enumerate(passed, start=rows[start] + 1)}
        widths |= dict.fromkeys(passed, LANE)
        chains[start, stop] = [start, *passed, stop]
    links = [link for chain in chains.values() for link in pairwise(chain)]
    order = ordered_rows(rows, links)
    x = positions(order, links, widths)
    left = min(x[name] - widths[name] / 2 for name in x)
    right = max(x[name] + widths[name] / 2 for name in x)
    places = {name: (x[name] - left + margin, margin + BOX_HEIGHT / 2 + ROW * rows[name]) for name in x}
    routes = {edge: tuple(places[name] for name in chain) for edge, chain in chains.items()}
    height = 2 * margin + BOX_HEIGHT + ROW * (len(order) - 1)
    return Layout({node.name: places[node.name] for node in graph.nodes}, routes, right - left + 2 * margin, height)


def ordered_rows(rows: Mapping[str, int], links: Sequence[Edge], sweeps: int = 8) -> list[list[str]]:
    """Names row by row, each row sorted by the mean place of its neighbours, alternately downwards and upwards."""
    order: list[list[str]] = [[] for _ in range(max(rows.values(), default=0) + 1)]
    for name, number in rows.items():
        order[number].append(name)
    above, below = neighbours(links)
    for sweep in range(sweeps):
        down = sweep % 2 == 0
        near = above if down else below
        for row in order if down else order[::-1]:
            place = {name: k / max(len(each) - 1, 1) for each in order for k, name in enumerate(each)}
            keys = {name: mean([place[other] for other in near[name]], place[name]) for name in row}
            row.sort(key=keys.__getitem__)
    return order


def positions(
    order: Sequence[Sequence[str]], links: Sequence[Edge], widths: Mapping[str, float], sweeps: int = 80
) -> dict[str, float]:
    """Horizontal middles: every node near the mean of its neighbours, in the order of its row, without overlap."""
    above, below = neighbours(links)
    x: dict[str, float] = {}
    for row in order:
        x |= spread(row, dict.fromkeys(row, 0.0), widths)
    for sweep in range(sweeps):
        for row in order if sweep % 2 == 0 else order[::-1]:
            wanted = {name: mean([x[other] for other in (*above[name], *below[name])], x[name]) for name in row}
            x |= spread(row, wanted, widths)
    return x


def spread(row: Sequence[str], wanted: Mapping[str, float], widths: Mapping[str, float]) -> dict[str, float]:
    """Places of a row nearest to the wanted ones that keep the order and the gaps (pooled adjacent violators)."""
    offsets, total = {}, 0.0
    for before, name in zip([None, *row], row, strict=False):
        total += (widths[before] + widths[name]) / 2 + GAP if before is not None else 0.0
        offsets[name] = total
    blocks: list[list[float]] = []  # [sum of (wanted - offset), members]
    for name in row:
        blocks.append([wanted[name] - offsets[name], 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    shifts = [block[0] / block[1] for block in blocks for _ in range(int(block[1]))]
    return {name: offsets[name] + shift for name, shift in zip(row, shifts, strict=True)}


def neighbours(links: Sequence[Edge]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """For every name those linked above and below it."""
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for start, stop in links:
        above[stop].append(start)
        below[start].append(stop)
    return above, below


def mean(values: Sequence[float], otherwise: float) -> float:
    """The mean, or another value where there are none."""
    return sum(values) / len(values) if values else otherwise


def draw(graph: Graph) -> tuple[str, float, float]:
    """SVG of a graph with its width and height."""
    layout = lay_out(graph)
    parts = [panel(title, names, layout) for title, names in graph.groups]
    parts += [edge_path(route) for route in layout.routes.values()]
    for node in graph.nodes:
        x, y = layout.middles[node.name]
        parts.append(
            rectangle(x - node.width / 2, y - BOX_HEIGHT / 2, node.width, BOX_HEIGHT, f"box {node.kind}", radius=5)
        )
        parts.append(text(x, y + 4, node.words, "node middle"))
    return "".join(parts), layout.width, layout.height


def panel(title: str, names: Sequence[str], layout: Layout) -> str:
    """A titled frame around the rows of some nodes."""
    heights = [layout.middles[name][1] for name in names]
    top, bottom = min(heights) - ROW / 2 + 1, max(heights) + ROW / 2 - 1
    frame = rectangle(2, top, layout.width - 4, bottom - top, "outline", radius=8)
    return frame + text(10, bottom - 8, title, "small")


def edge_path(route: Sequence[Point]) -> str:
    """A smooth line from the foot of one box to the head of another, through the lanes between, with an arrowhead."""
    (x, y), *lanes, (end_x, end_y) = route
    y, end_y = y + BOX_HEIGHT / 2, end_y - BOX_HEIGHT / 2 - 5
    path = [f"M{x:.1f} {y:.1f}"]
    for lane_x, lane_y in lanes:
        head, foot = lane_y - BOX_HEIGHT / 2, lane_y + BOX_HEIGHT / 2
        path.append(bend((x, y), (lane_x, head)) + f"V{foot:.1f}")
        x, y = lane_x, foot
    path.append(bend((x, y), (end_x, end_y)))
    arrow = f"M{end_x - 3.5:.1f} {end_y:.1f}h7l-3.5 5.5Z"
    return f'<path d="{"".join(path)}" class="edge"/><path d="{arrow}" class="head"/>'


def bend(start: Point, stop: Point) -> str:
    """An S-curve between two points."""
    middle = (start[1] + stop[1]) / 2
    return f"C{start[0]:.1f} {middle:.1f} {stop[0]:.1f} {middle:.1f} {stop[0]:.1f} {stop[1]:.1f}"
