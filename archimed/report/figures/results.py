"""Figures of results: metrics with intervals, results by lesion size, quality against cost."""

from collections.abc import Mapping, Sequence

from archimed.report.figures.canvas import Axes, Figure, Point, Scale, circle, line, span, text
from archimed.report.reading import Record, number
from archimed.report.words import amount, cell_of, decimal, metric_name, network_name
from archimed.task import LOWER_IS_BETTER

ROW = 24  # pixels per row of a forest plot
Limits = tuple[float, float | None, float | None]  # value, low, high


def series(position: int) -> str:
    """The class of the n-th network: the chosen one has the first."""
    return f"s{1 + position % 6}" if position < 6 else "s6"


def limits(cell: object) -> Limits | None:
    """A metric's value and interval; None where it is undefined."""
    value = number(cell)
    if value is None:
        return None
    low, high = (number(cell.get(key)) if isinstance(cell, Mapping) else None for key in ("low", "high"))
    return value, low, high


def forest(name: str, title: str, label: str, rows: Sequence[tuple[str, object]], reading: str) -> Figure | None:
    """Rows of (name, cell) as dots with intervals; the first is the chosen one and its value a guide for the eye."""
    found = [(words, cell, limits(cell)) for words, cell in rows]
    numbers = [v for *_, known in found if known for v in known if v is not None]
    if not numbers:
        return None
    low, high = span(numbers, margin=0.06)
    bottom = 14 + ROW * len(rows)
    axes = Axes(Scale(max(low, 0) if min(numbers) >= 0 else low, high, 132, 318), Scale(0, 1, bottom, 8))
    parts = [axes.frame(label, "", x_ticks=5, y_ticks=0)]
    if found[0][2]:
        guide = axes.x(found[0][2][0])
        parts.append(line((guide, 8), (guide, bottom), "diagonal"))
    for position, (words, cell, known) in enumerate(found):
        y = 14 + ROW * (position + 0.5)
        style = "strong" if position == 0 else ""
        parts.append(text(124, y + 4, clip(words, 17), f"end {style}"))
        parts.append(text(400, y + 4, f"{decimal(cell)}", f"end {style}"))
        parts.append(whisker(axes, y, known, "s1" if position == 0 else "s6"))
    return Figure(name, title, reading, "".join(parts), 410, bottom + 44)


def whisker(axes: Axes, y: float, known: Limits | None, classes: str) -> str:
    """One dot with its interval."""
    if known is None:
        return ""
    value, low, high = known
    parts = []
    if low is not None and high is not None:
        parts.append(line((axes.x(low), y), (axes.x(high), y), f"curve solid {classes}"))
    return "".join([*parts, circle((axes.x(value), y), 4.5, f"disc {classes}")])


def metric_forests(networks: Mapping[str, Record], metrics: Sequence[str]) -> list[Figure]:
    """One forest plot for each metric of the test split."""
    figures = []
    for metric in metrics:
        rows = [(network_name(name), cell_of(results, "test", metric)) for name, results in networks.items()]
        label = metric_name(metric)
        lower = " The lower, the better." if metric in LOWER_IS_BETTER else ""
        figure = forest(
            f"forest_{metric}",
            f"{label} on the test cases",
            label,
            rows,
            f"Dot: the result; bar: its 95 % interval; dotted line: the chosen network.{lower}",
        )
        if figure:
            figures.append(figure)
    return figures


def cost_figure(networks: Mapping[str, Record], metric: str) -> Figure | None:
    """A metric of the test split against multiply-accumulates."""
    known = []
    for name, results in networks.items():
        quality, macs = limits(cell_of(results, "test", metric)), number(results.get("macs"))
        if quality and macs and macs > 0:
            known.append((name, quality, macs))
    if len(known) < 2:
        return None
    width = Scale(*span([macs for *_, macs in known], 0.12, log=True), 58, 400, log=True)
    height = Scale(*span([v for _, quality, _ in known for v in quality if v is not None], 0.08), 250, 12)
    axes = Axes(width, height)
    parts = [axes.frame("Multiply-accumulates per image (log scale)", metric_name(metric))]
    taken: list[Point] = [axes.at(macs, quality[0]) for _, quality, macs in known]
    for position, (name, (value, low, high), macs) in enumerate(known):
        x, y = axes.at(macs, value)
        kind = "s1" if position == 0 else "s6"
        if low is not None and high is not None:
            parts.append(line((x, axes.y(low)), (x, axes.y(high)), f"curve solid soft {kind}"))
        parts.append(circle((x, y), 5, f"disc {kind}", f"{network_name(name)}: {decimal(value)}, {amount(macs)}"))
        parts.append(free_label((x, y), clip(network_name(name), 20), taken))
    reading = "Up is better, left is cheaper; bars are 95 % intervals."
    return Figure("cost", f"{metric_name(metric)} against cost", reading, "".join(parts), 410, 294)


def free_label(point: Point, words: str, taken: list[Point]) -> str:
    """Words beside a point where no other words or points are; `taken` gains the middles of what they cover."""
    room = 6.8 * len(words)
    places = [(side, shift) for shift in (-7, 14, -22, 29, -37, 44) for side in (1, -1)]
    for side, shift in places:
        start = point[0] + 9 * side if side > 0 else point[0] - 9 - room
        y = point[1] + shift
        covered = [(start + k, y - 4) for k in range(0, int(room) + 1, 8)]
        clear = all(abs(x - other[0]) > 7 or abs(at - other[1]) > 12 for x, at in covered for other in taken)
        if clear and start > 60 and start + room < 408:
            taken += covered
            return text(point[0] + 9 * side, y, words, "halo" if side > 0 else "halo end")
    return ""


def lesion_figures(groups: Sequence[str], rows: Sequence[tuple[str, Sequence[object]]], metric: str) -> list[Figure]:
    """One forest plot for each group of lesion size."""
    figures = []
    for position, group in enumerate(groups):
        cells = [(network_name(name), values[position]) for name, values in rows]
        name, _, about = group.partition("\n")
        reading = f"{metric_name(metric)} on this group only, with 95 % intervals{f' ({about})' if about else ''}."
        title = f"{name.capitalize()} lesions"
        figure = forest(f"lesion_size_{position + 1}", title, metric_name(metric), cells, reading)
        if figure:
            figures.append(figure)
    return figures


def clip(words: str, length: int) -> str:
    """Words cut to a length, with an ellipsis."""
    return words if len(words) <= length else words[: length - 1] + "…"
