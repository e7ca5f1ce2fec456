"""The weave of a U-shaped network: where its cells stand, what they read, and how much each weighs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archimed.report.figures.canvas import Figure, Point, circle, line, rectangle, text

Spot = tuple[int, int]  # (row, column), counted from 0: the image's own size is row 0

STEP = (92.0, 92.0)  # pixels from column to column, from row to row
CORNER = (128.0, 34.0)  # pixels of row 0, column 0
RADIUS = 15.0
THICK = (1.4, 8.0)  # pixels of a path that weighs nothing, of one that weighs all
KINDS: Mapping[str, tuple[str, str]] = {  # words and class of a cell's path
    "down": ("down cell: halves the size", "s1"),
    "normal": ("normal cell: keeps it", "s3"),
    "up": ("up cell: doubles it", "s2"),
}


@dataclass(frozen=True)
class Cell:
    """One cell of the weave.

    Attributes:
        spot: where its map stands.
        kind: `down`, `normal` or `up`.
        source: the map that its kind resamples, or keeps.
        level: the map of its own size that it reads beside, if there is one.
        weight: its share of the map, 0 to 1; None for a cell that the network left out.
    """

    spot: Spot
    kind: str
    source: Spot
    level: Spot | None = None
    weight: float | None = None


@dataclass(frozen=True)
class Weave:
    """The cells of a network, those it left out, its outputs, and the channels of the map in each row."""

    cells: tuple[Cell, ...]
    exits: tuple[Spot, ...]
    stem: Spot
    channels: Mapping[int, int]


def weave_figure(weave: Weave, *, weighed: bool) -> Figure:
    """Rows of sizes and columns of layers; paths as wide as they weigh, or all alike where weights are not known."""
    kept = [cell for cell in weave.cells if cell.weight is not None]
    left_out = [cell for cell in weave.cells if cell.weight is None]
    rows = range(max(cell.spot[0] for cell in weave.cells) + 1)
    columns = range(max(cell.spot[1] for cell in weave.cells) + 1)
    width, height = place((0, columns[-1]))[0] + 74, place((rows[-1], 0))[1] + RADIUS + 16
    parts = [row_label(row, weave.channels) for row in rows]
    parts += [line(place((row, 0)), (width - 20, place((row, 0))[1]), "grid") for row in rows]
    parts += [path(cell, "faint-path", "grid") for cell in left_out]
    parts += [beside(cell) for cell in kept if cell.level is not None]
    parts += [path(cell, KINDS[cell.kind][1], "weight") for cell in kept]
    parts += [share(cell) for cell in kept if weighed and cell.weight is not None and cell.weight < 1]
    parts += ends(weave)
    built = dict.fromkeys(cell.spot for cell in kept)
    missing = [spot for spot in dict.fromkeys(cell.spot for cell in left_out) if spot not in built]
    parts += [circle(place(spot), RADIUS - 4, "disc hollow missing", "left out") for spot in missing]
    parts += [node(spot, kept, spot in weave.exits) for spot in built]
    rows_of_keys, tall = keys(kept, bool(left_out), height + 8)
    told = (
        "The wider a path, the more its cell weighed in the search; the number is its share in per cent. "
        if weighed
        else "All paths of a map count alike. "
    )
    reading = (
        "Columns are layers, rows are sizes: each row below halves the image. A circle is a map of features, made by "
        f"the cells whose paths end in it. {told}Thin grey: the second map that a cell reads, of its own size."
    )
    body = "".join([*parts, rows_of_keys])
    return Figure("weave", "The weave", reading, body, width, height + 8 + tall, wide=True, scrolls=True)


def place(spot: Spot) -> Point:
    """The pixel of a spot."""
    return CORNER[0] + STEP[0] * spot[1], CORNER[1] + STEP[1] * spot[0]


def row_label(row: int, channels: Mapping[int, int]) -> str:
    """How large the maps of a row are, and how many channels they have."""
    y = place((row, 0))[1]
    words = "image size" if row == 0 else f"1/{2**row} size"
    known = text(8, y + 16, f"{channels[row]} channels", "small") if row in channels else ""
    return text(8, y + 1, words, "tick") + known


def ends(weave: Weave) -> list[str]:
    """The image with the stem, and an output above each exit."""
    image, stem = place((0, 0)), place(weave.stem)
    parts = [line((image[0] + 8, image[1] + 8), (stem[0] - 11, stem[1] - 11), "entry")]
    parts += [circle(stem, RADIUS, "disc stem", "the stem"), text(stem[0], stem[1] + 4, "stem", "small middle")]
    parts += [boxed(image, "image")]
    for number, spot in enumerate(weave.exits, start=1):
        x, y = place((0, spot[1]))
        last = number == len(weave.exits)
        parts.append(line((x, place(spot)[1] - RADIUS), (x, y + 12), "entry"))
        parts.append(boxed((x, y), "answer" if last else f"output {number}", "sum" if last else ""))
    return parts


def boxed(middle: Point, words: str, kind: str = "") -> str:
    """Words in a small box."""
    width = 6.6 * len(words) + 16
    box = rectangle(middle[0] - width / 2, middle[1] - 13, width, 26, f"box {kind}", radius=5)
    return box + text(middle[0], middle[1] + 4, words, "node middle")


def path(cell: Cell, style: str, kind: str) -> str:
    """The path of a cell from the map it resamples, as wide as it weighs."""
    start, stop = shortened(place(cell.source), place(cell.spot), RADIUS)
    wide = THICK[0] if cell.weight is None else THICK[0] + (THICK[1] - THICK[0]) * cell.weight
    straight = f"M{start[0]:.1f} {start[1]:.1f}L{stop[0]:.1f} {stop[1]:.1f}"
    return f'<path d="{straight}" class="path {kind} {style}" style="stroke-width:{wide:.1f}"/>'


def beside(cell: Cell) -> str:
    """A thin line from the map of its own size that a cell reads, bent below its row."""
    if cell.level is None:
        return ""
    (x, y), (end, _) = place(cell.level), place(cell.spot)
    depth = 25 if end - x < 2.5 * STEP[0] else 44
    curve = f"M{x + 6:.1f} {y + RADIUS - 1:.1f}C{x + 22:.1f} {y + depth:.1f} {end - 22:.1f} {y + depth:.1f} "
    return f'<path d="{curve}{end - 6:.1f} {y + RADIUS - 1:.1f}" class="path thread"/>'


def shortened(start: Point, stop: Point, by: float) -> tuple[Point, Point]:
    """A line without its ends, which lie under circles."""
    across, down = stop[0] - start[0], stop[1] - start[1]
    length = (across**2 + down**2) ** 0.5
    step = by / length
    first = start[0] + across * step, start[1] + down * step
    return first, (stop[0] - across * step, stop[1] - down * step)


def share(cell: Cell) -> str:
    """The weight of a cell in per cent, near the end of its path."""
    (x, y), (end_x, end_y) = place(cell.source), place(cell.spot)
    along = 0.72 if cell.kind == "normal" else 0.6
    words = f"{100 * (cell.weight or 0):.0f}"
    return text(x + along * (end_x - x), y + along * (end_y - y) + 4, words, "small middle halo")


def node(spot: Spot, kept: Sequence[Cell], is_exit: bool) -> str:
    """A map, with the kinds of its cells under the mouse."""
    kinds = " + ".join(cell.kind for cell in kept if cell.spot == spot)
    x, y = place(spot)
    hint = f"row {spot[0]}, layer {spot[1]}: {kinds}"
    ring = circle((x, y), RADIUS, f"disc map{' exit' if is_exit else ''}", hint)
    return ring + text(x, y + 4, f"{spot[0]},{spot[1]}", "small middle")


def keys(kept: Sequence[Cell], any_left_out: bool, top: float) -> tuple[str, float]:
    """What the paths are; the SVG and its height."""
    entries = [KINDS[kind] for kind in KINDS if any(cell.kind == kind for cell in kept)]
    entries += [("left out", "grid faint-path")] if any_left_out else []
    parts, x = [], 8.0
    for words, style in entries:
        sample = f'<path d="M{x:.1f} {top + 10:.1f}h26" class="path weight {style}" style="stroke-width:4"/>'
        parts += [sample, text(x + 33, top + 14, words, "tick")]
        x += 62 + 6.4 * len(words)
    return "".join(parts), 26
