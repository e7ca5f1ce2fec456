"""Strips of dots: one value of every test case, a row for each network, with median and quartiles."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from archimed.report.figures.canvas import Axes, Figure, Scale, dots, line, rectangle, text
from archimed.report.figures.results import clip
from archimed.report.words import network_name

ROW = 44  # pixels
SPREAD = 11  # pixels that dots of a row are scattered up and down, so that equal ones are seen
MOST_DOTS = 400  # of a row; of more, every k-th by value


def strip_figure(name: str, title: str, label: str, values: Mapping[str, Sequence[float]]) -> Figure | None:
    """Values between 0 and 1 of the test cases by network, the chosen (first) one in its colour."""
    rows = {network: np.sort(found) for network, found in values.items() if len(found)}
    if not rows:
        return None
    bottom = 10 + ROW * len(rows)
    low = max(0.0, min(float(found[0]) for found in rows.values()) - 0.03)
    axes = Axes(Scale(low, 1.0, 132, 396), Scale(0, 1, bottom, 8))
    parts = [axes.frame(label, "", x_ticks=5, y_ticks=0)]
    for position, (network, found) in enumerate(rows.items()):
        y = 10 + ROW * (position + 0.5)
        kind = "s1" if position == 0 else "s6"
        parts.append(text(124, y + 4, clip(network_name(network), 17), f"end {'strong' if position == 0 else ''}"))
        lower, middle, upper = (axes.x(float(value)) for value in np.quantile(found, [0.25, 0.5, 0.75]))
        parts.append(rectangle(lower, y - 15, max(upper - lower, 1), 30, f"bar {kind}", radius=2))
        shown = found[:: max(1, -(-len(found) // MOST_DOTS))]
        scattered = [(axes.x(float(value)), y + scatter(network, k)) for k, value in enumerate(shown)]
        parts.append(dots(scattered, f"dots {kind}"))
        parts.append(line((middle, y - 15), (middle, y + 15), f"curve bold solid {kind}"))
    reading = "Dots: test cases, scattered up and down to be seen; box: the middle half of them; bar: the median."
    return Figure(name, title, reading, "".join(parts), 410, bottom + 44)


def scatter(network: str, position: int) -> float:
    """Pixels up or down, the same ones every time."""
    return (zlib.crc32(f"{network} {position}".encode()) % 1000 / 500 - 1) * SPREAD
