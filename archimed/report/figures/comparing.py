"""Figures of a comparison: differences from the reference with intervals, and every seed of every network."""

from collections.abc import Mapping, Sequence

from archimed.report.figures.canvas import Axes, Figure, Scale, dots, line, span, text
from archimed.report.figures.results import clip, limits, whisker
from archimed.report.reading import Record, number
from archimed.report.words import decimal, metric_name, network_name
from archimed.task import LOWER_IS_BETTER

ROW = 26  # pixels
LETTER = 7.2  # pixels of a letter of a name, at most
LONGEST = 34  # letters of a name that are shown
PLOT = 200  # pixels from the lowest value to the highest


def lower_words(metric: str) -> str:
    """A sentence for metrics that are errors."""
    return " The lower, the better." if metric in LOWER_IS_BETTER else ""


def room_for(names: Sequence[str]) -> float:
    """Pixels that the names need at the left."""
    return 14 + LETTER * min(LONGEST, max(14, *map(len, names)))


def difference_figure(metric: str, rows: Sequence[Record], against: str) -> Figure | None:
    """Each network minus the reference, with its interval; what is beyond the noise has the strong colour."""
    known = [(row, limits(row)) for row in rows]
    numbers = [v for _, found in known if found for v in found if v is not None]
    if not numbers:
        return None
    low, high = span([*numbers, 0.0], margin=0.08)
    bottom = 14 + ROW * len(rows)
    left = room_for([network_name(str(row["network"])) for row in rows])
    axes = Axes(Scale(low, high, left, left + PLOT), Scale(0, 1, bottom, 8))
    parts = [axes.frame(f"Difference in {metric_name(metric)}", "", x_ticks=4, y_ticks=0)]
    parts.append(line((axes.x(0), 8), (axes.x(0), bottom), "marker"))
    for position, (row, found) in enumerate(known):
        y = 14 + ROW * (position + 0.5)
        beyond = bool(row.get("beyond_noise"))
        parts.append(
            text(left - 8, y + 4, clip(network_name(str(row["network"])), LONGEST), f"end {'strong' if beyond else ''}")
        )
        value = number(row.get("value"))
        shown = decimal(value) if value is None else f"{value:+.3f}".replace("-", "\u2212")
        parts.append(text(left + PLOT + 70, y + 4, shown, f"end {'strong' if beyond else ''}"))
        parts.append(whisker(axes, y, found, "s1" if beyond else "s6"))
    reading = (
        f"Dot: the network minus {network_name(against)}; bar: the interval; dashed line: no difference. Blue ones "
        f"differ beyond the noise.{lower_words(metric)}"
    )
    title = f"{metric_name(metric)} against {network_name(against)}"
    return Figure(f"difference_{metric}", title, reading, "".join(parts), left + PLOT + 78, bottom + 44)


def seed_figure(metric: str, networks: Mapping[str, Record], reference: str) -> Figure | None:
    """Every seed of every network as a dot, above the mean with its interval."""
    rows = [(name, part, limits(part["test"].get(metric))) for name, part in networks.items()]
    values = [value for _, part, _ in rows for value in part["by_seed"].get(metric, [])]
    numbers = [*values, *(v for *_, found in rows if found for v in found if v is not None)]
    if not values:
        return None
    bottom = 14 + ROW * len(rows)
    left = room_for([network_name(name) for name in networks])
    axes = Axes(Scale(*span(numbers, margin=0.06), left, left + PLOT), Scale(0, 1, bottom, 8))
    parts = [axes.frame(metric_name(metric), "", x_ticks=4, y_ticks=0)]
    for position, (name, part, found) in enumerate(rows):
        y = 14 + ROW * (position + 0.5)
        kind = "s2" if name == reference else "s1" if part["is_own"] else "s6"
        parts.append(
            text(left - 8, y + 4, clip(network_name(name), LONGEST), f"end {'strong' if part['is_own'] else ''}")
        )
        parts.append(text(left + PLOT + 70, y + 4, decimal(None if found is None else found[0]), "end"))
        parts.append(whisker(axes, y + 4, found, kind))
        parts.append(dots([(axes.x(value), y - 5) for value in part["by_seed"].get(metric, [])], kind))
    reading = (
        "Small dots: each seed; large dot: their mean; bar: its interval. Blue: the methods' own networks; orange: "
        f"{network_name(reference)}, the reference.{lower_words(metric)}"
    )
    return Figure(
        f"seeds_{metric}",
        f"{metric_name(metric)}, seed by seed",
        reading,
        "".join(parts),
        left + PLOT + 78,
        bottom + 44,
    )
