"""Figures of a correlation: tau of every indicator with its interval, and each indicator against what training gave."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archimed.report.figures.canvas import Axes, Figure, Scale, dots, line, span, text
from archimed.report.figures.results import clip, limits, whisker
from archimed.report.reading import Record
from archimed.report.words import indicator_name, metric_name

ROW = 26  # pixels
WIDE_RANGE = 1e3  # from the smallest to the largest value, above which an axis is by powers of ten
COUNTED = ("macs", "parameters")


def tau_figure(indicators: Mapping[str, Record], metric: str) -> Figure | None:
    """Tau of every indicator, the best first, with its interval."""
    known = [(name, limits(row["tau"])) for name, row in indicators.items()]
    rows = sorted(((name, found) for name, found in known if found), key=lambda row: -row[1][0])
    if not rows:
        return None
    bottom = 14 + ROW * len(rows)
    axes = Axes(Scale(-1, 1, 132, 330), Scale(0, 1, bottom, 8))
    parts = [axes.frame("Kendall's tau", "", x_ticks=4, y_ticks=0)]
    parts.append(line((axes.x(0), 8), (axes.x(0), bottom), "marker"))
    for position, (name, found) in enumerate(rows):
        y = 14 + ROW * (position + 0.5)
        parts.append(text(124, y + 4, clip(indicator_name(name), 17), "end"))
        parts.append(text(400, y + 4, f"{found[0]:+.2f}".replace("-", "\u2212"), "end"))
        parts.append(whisker(axes, y, found, "s6" if name in COUNTED else "s1"))
    reading = (
        f"1: the indicator orders networks as {metric_name(metric)} after training does; 0: no better than chance; "
        "\u22121: the other way round. Bar: the interval over networks. Grey: what is counted alone."
    )
    return Figure("tau", "How well each indicator ranks networks", reading, "".join(parts), 410, bottom + 44)


def scatter_figure(name: str, values: NDArray[np.float64], quality: NDArray[np.float64], metric: str) -> Figure | None:
    """Each network by an indicator and by the metric of validation; None for fewer than two that have both."""
    known = np.isfinite(values) & np.isfinite(quality)
    if known.sum() < 2:
        return None
    x, y = values[known], quality[known]
    log = bool(x.min() > 0 and x.max() / x.min() > WIDE_RANGE)
    across = Scale(*span(x.tolist(), log=log), 58, 398, log=log)
    axes = Axes(across, Scale(*span(y.tolist()), 250, 12))
    label = f"{indicator_name(name)}{' (log scale)' if log else ''}"
    parts = [axes.frame(label, f"{metric_name(metric)}, validation", x_ticks=4)]
    parts.append(dots([axes.at(float(a), float(b)) for a, b in zip(x, y, strict=True)], "s1 solid-dots"))
    left = len(values) - int(known.sum())
    without = f" {left} without a value are left out." if left else ""
    title = f"{metric_name(metric)} by {indicator_name(name)}"
    return Figure(f"scatter_{name}", title, f"Each dot is a network.{without}", "".join(parts), 410, 294)


def scatter_figures(names: Sequence[str], records: Sequence[Record], metric: str) -> list[Figure]:
    """One scatter for each indicator."""
    quality = column([record["validation"].get(metric) for record in records])
    found = [
        scatter_figure(name, column([record["indicators"][name] for record in records]), quality, metric)
        for name in names
    ]
    return [figure for figure in found if figure is not None]


def column(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Values as an array, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
