"""Figures of a search by weight sharing: accuracy against size, accuracies by generation, histories of single paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archimed.report.figures.canvas import (
    Axes,
    Figure,
    Scale,
    dots,
    legend,
    polyline,
    rectangle,
    span,
    star,
)
from archimed.report.figures.search import generation_dots, shade, shown_generations
from archimed.report.words import network_name

BAND = (30, 70)  # percentiles (EMARS, Figure 5)
MOST_HISTORIES = 5


@dataclass(frozen=True)
class Individual:
    """One path as one generation measured it."""

    path: str
    generation: int
    accuracy: float
    potential: float
    size: float


@dataclass(frozen=True)
class PathLog:
    """One search by weight sharing.

    Attributes:
        name: of the search.
        place: its fold and seed, in words.
        individuals: every measurement, in order.
        finalists: paths trained on their own, the first the best by the search.
        chosen: the path that was chosen.
        rivals: measurements of random search beside it.
    """

    name: str
    place: str
    individuals: tuple[Individual, ...]
    finalists: tuple[str, ...]
    chosen: str
    rivals: tuple[Individual, ...] = ()

    @property
    def generations(self) -> Mapping[int, list[Individual]]:
        """The individuals of each generation."""
        found: dict[int, list[Individual]] = {}
        for individual in self.individuals:
            found.setdefault(individual.generation, []).append(individual)
        return found

    def history(self, path: str) -> list[Individual]:
        """Every measurement of one path."""
        return [individual for individual in self.individuals if individual.path == path]

    @property
    def band_height(self) -> float:
        """Mean distance between the 30 and 70 percentile of the accuracies of a generation, the first left out."""
        later = [members for number, members in self.generations.items() if number > 0]
        heights = [np.subtract(*np.percentile([one.accuracy for one in members], BAND[::-1])) for members in later]
        return float(np.mean(heights)) if heights else 0.0


def evolution_figures(log: PathLog, suffix: str) -> list[Figure]:
    """All figures of one search; none of a search of a single generation."""
    if len(log.generations) < 2:
        return []
    figures = [size_figure(log, suffix), band_figure(log, suffix)]
    return [*figures, history_figure(log, suffix)] if log.finalists else figures


def size_figure(log: PathLog, suffix: str) -> Figure:
    """Accuracy against size of every individual, from early to late (EMARS, Figure 4)."""
    everyone = (*log.individuals, *log.rivals)
    axes = Axes(
        Scale(*span([one.size for one in everyone]), 58, 470),
        Scale(*span([one.accuracy for one in everyone]), 300, 12),
    )
    last = max(log.generations)
    parts = [axes.frame("Size (MB)", "Accuracy with shared weights")]
    parts.append(dots([axes.at(one.size, one.accuracy) for one in log.rivals], "s6 faint"))
    parts += generation_dots(
        axes,
        np.array([one.size for one in log.individuals]),
        np.array([one.accuracy for one in log.individuals]),
        np.array([one.generation for one in log.individuals]),
        last,
    )
    if found := log.history(log.chosen):
        parts.append(star(axes.at(found[-1].size, found[-1].accuracy), 10, "star", "the chosen network"))
    entries = [(f"generation {number}", f"bold {shade(number, last)}") for number in shown_generations(last)]
    entries += [("random search", "bold s6 solid")] if log.rivals else []
    rows, height = legend(entries, 58, 360, 420)
    reading = (
        "A dot is a path in one generation, measured on training cases held out; a survivor has several, at one size. "
        "The star is the chosen network at its last measurement. In early generations the shared weights have learnt "
        "little, so accuracies are low."
    )
    title = f"Accuracy against size by generation, {network_name(log.name)} ({log.place})"
    return Figure(f"paths_size{suffix}", title, reading, "".join([*parts, rows]), 480, 352 + height, wide=True)


def band_figure(log: PathLog, suffix: str) -> Figure:
    """The accuracies of each generation, their median and their band (EMARS, Figure 5)."""
    generations = log.generations
    last = max(generations)
    axes = Axes(
        Scale(-0.5, last + 0.5, 58, 398, whole=True),
        Scale(*span([one.accuracy for one in log.individuals]), 250, 12),
    )
    parts = [axes.frame("Generation", "Accuracy with shared weights")]
    middles = []
    for number, members in generations.items():
        low, middle, high = np.percentile([one.accuracy for one in members], (BAND[0], 50, BAND[1])).tolist()
        left, top = axes.at(number - 0.4, high)
        right, bottom = axes.at(number + 0.4, low)
        parts.append(rectangle(left, top, right - left, max(bottom - top, 1), "bar s1"))
        middles.append(axes.at(number, middle))
    parts.append(dots([axes.at(one.generation, one.accuracy) for one in log.individuals], "s6 faint"))
    parts.append(polyline(middles, "s1 bold"))
    reading = (
        "A dot is an individual, the line the median; the band reaches from the 30 to the 70 percentile and is "
        f"{log.band_height:.3f} high on average after the first generation. A narrow band is a steady search."
    )
    return Figure(f"paths_band{suffix}", "Accuracies by generation", reading, "".join(parts), 410, 294)


def history_figure(log: PathLog, suffix: str) -> Figure:
    """The accuracies of the finalists over the generations, each with the line whose slope is its potential."""
    shown = [path for path in log.finalists if len(log.history(path)) > 0][:MOST_HISTORIES]
    histories = {path: log.history(path) for path in shown}
    values = [one.accuracy for members in histories.values() for one in members]
    last = max(log.generations)
    axes = Axes(Scale(-0.5, last + 0.5, 58, 398, whole=True), Scale(*span(values, 0.1), 250, 12))
    parts, entries = [axes.frame("Generation", "Accuracy with shared weights")], []
    for position, (path, members) in enumerate(histories.items(), start=1):
        colour = f"s{position}"
        parts.append(polyline([axes.at(one.generation, one.accuracy) for one in members], f"{colour} thin solid"))
        parts.append(dots([axes.at(one.generation, one.accuracy) for one in members], f"{colour} solid-dots"))
        parts.append(polyline([axes.at(*point) for point in potential_line(members)], f"{colour} bold"))
        entries.append((f"path {position}{', chosen' if path == log.chosen else ''}", f"{colour} bold"))
    rows, height = legend(entries, 58, 312, 345)
    reading = (
        "Dots are the measurements of a finalist, numbered as in the table; the bold line is fitted to them, and its "
        "slope is the potential at the last one."
    )
    title = "Histories of the finalists, and their potential"
    return Figure(f"paths_history{suffix}", title, reading, "".join([*parts, rows]), 410, 306 + height)


def potential_line(members: Sequence[Individual]) -> list[tuple[float, float]]:
    """Both ends of the least-squares line through a history; nothing of fewer than two generations."""
    x = np.array([one.generation for one in members], dtype=float)
    if len(set(x.tolist())) < 2:
        return []
    slope, height = np.polyfit(x, [one.accuracy for one in members], deg=1).tolist()
    return [(end, height + slope * end) for end in (float(x.min()), float(x.max()))]
