"""Figures of the search: Pareto fronts by generation, indicators against cost, seconds per candidate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archimed.candidate import Candidate
from archimed.objectives import SignedSums
from archimed.report.figures.canvas import Axes, Figure, Scale, circle, dots, legend, polyline, span, star, text
from archimed.report.words import network_name
from archimed.strategies.dominance import non_dominated_fronts

SHADES = 6  # classes g0 (early) to g5 (late)


@dataclass(frozen=True)
class SearchLog:
    """The measured candidates of one search of one fold and seed, and what it chose.

    Attributes:
        name: the search.
        candidates: those that were measured, in order of evaluation.
        place: its fold and seed, in words.
        dropped: why candidates had no part in it, and how many.
        selected: position of the chosen candidate, if it is among them.
        rivals: measured candidates of another search on the same fold and seed, for comparison.
        rivals_name: that search.
    """

    name: str
    place: str
    candidates: tuple[Candidate, ...]
    dropped: tuple[tuple[str, int], ...] = ()
    selected: int | None = None
    rivals: tuple[Candidate, ...] = ()
    rivals_name: str = "random-search"


def shade(generation: int, last: int) -> str:
    """The class of a generation, from early to late."""
    return f"g{round((SHADES - 1) * generation / last)}" if last > 0 else f"g{SHADES - 1}"


def shown_generations(last: int) -> list[int]:
    """Every tenth generation and the last (MSTF-NAS, Fig. 5), every second of them and so on where that is many."""
    step = 10
    while last // step > 5:
        step *= 2
    kept = [g for g in range(0, last, step) if last - g >= step // 2 or g == 0]
    return [*kept, last] if last else [0]


def front_figures(log: SearchLog, objectives: SignedSums, suffix: str) -> list[Figure]:
    """Fronts of the search in the plane of each pair of objectives, at most three pairs."""
    everyone = (*log.candidates, *log.rivals)
    if not log.candidates or len(objectives.expressions) < 2:
        return []
    scores = -objectives(everyone)
    pairs = [(i, j) for j in range(scores.shape[1]) for i in range(j)][:3]
    return [front_figure(log, scores, pair, objectives.expressions, suffix) for pair in pairs]


def front_figure(
    log: SearchLog, scores: NDArray[np.float64], pair: tuple[int, int], names: Sequence[str], suffix: str
) -> Figure:
    """One plane of objectives with the front of every tenth generation; the rivals' front in grey."""
    x, y = scores[:, pair[0]], scores[:, pair[1]]
    axes = Axes(Scale(*span(x.tolist()), 58, 470), Scale(*span(y.tolist()), 360, 12))
    generations = np.array([candidate.generation for candidate in log.candidates])
    last = int(generations.max())
    own, rivals = scores[: len(generations)], scores[len(generations) :]
    parts = [axes.frame(objective_label(names[pair[0]]), objective_label(names[pair[1]]))]
    parts += generation_dots(axes, own[:, pair[0]], own[:, pair[1]], generations, last)
    entries = []
    if len(rivals):
        parts.append(front_line(axes, rivals, pair, "s6 bold"))
        entries.append((f"front of {network_name(log.rivals_name).lower()}", "s6 bold"))
    for generation in shown_generations(last):
        classes = f"bold {shade(generation, last)}"
        parts.append(front_line(axes, own[generations <= generation], pair, classes))
        entries.append((f"generation {generation}", classes))
    if log.selected is not None:
        point = axes.at(own[log.selected, pair[0]], own[log.selected, pair[1]])
        parts += [
            star(point, 10, "star", "the chosen network"),
            text(point[0] - 13, point[1] + 5, "chosen", "halo end"),
        ]
    rows, height = legend(entries, 58, 420, 420)
    reading = (
        "Both objectives are better the higher, each measurement rescaled to 0–1 over all candidates shown. A dot is "
        "a candidate, a line joins the best trade-offs found up to that generation; lines that move up and right are "
        "progress."
    )
    which = "" if pair == (0, 1) else f"_{pair[0] + 1}_{pair[1] + 1}"
    title = f"Pareto fronts by generation, {network_name(log.name)} ({log.place})"
    return Figure(f"fronts{suffix}{which}", title, reading, "".join([*parts, rows]), 480, 416 + height, wide=True)


def generation_dots(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], generations: NDArray[np.int64], last: int
) -> list[str]:
    """Candidates as dots, one path per shade."""
    shades = [shade(int(generation), last) for generation in generations]
    parts = []
    for kind in sorted(set(shades)):
        at = [k for k, name in enumerate(shades) if name == kind]
        parts.append(dots([axes.at(float(x[k]), float(y[k])) for k in at], kind))
    return parts


def front_line(axes: Axes, scores: NDArray[np.float64], pair: tuple[int, int], classes: str) -> str:
    """The non-dominated candidates, joined from left to right with a small disc each."""
    front = scores[non_dominated_fronts(-scores)[0]]
    points = [axes.at(float(row[pair[0]]), float(row[pair[1]])) for row in front]
    points = sorted(dict.fromkeys(points))
    return polyline(points, classes) + dots(points, f"solid-dots {classes.rsplit(maxsplit=1)[-1]}")


def objective_label(expression: str) -> str:
    """An objective in words: "naswot + MACs (rescaled)"."""
    words = expression.replace("+", " + ").replace("-", " − ").strip()
    return f"{words.replace('macs', 'MACs')} (rescaled)"


def indicator_figures(log: SearchLog, indicators: Sequence[str], suffix: str) -> list[Figure]:
    """One scatter for each indicator against multiply-accumulates."""
    figures = []
    for name in indicators:
        points = [c for c in log.candidates if name in c.measurements and c.measurements.get("macs", 0) > 0]
        if len(points) > 1 and name != "macs":
            figures.append(indicator_figure(log, points, name, suffix))
    return figures


def indicator_figure(log: SearchLog, points: Sequence[Candidate], name: str, suffix: str) -> Figure:
    """One indicator against multiply-accumulates, coloured by generation."""
    macs = np.array([c.measurements["macs"] for c in points])
    values = np.array([c.measurements[name] for c in points])
    low, high = float(values.min()), float(values.max())
    power = low > 0 and high / low > 1e3
    height = Scale(*span([low, high], log=power), 250, 12, log=power)
    axes = Axes(Scale(*span([float(macs.min()), float(macs.max())], log=True), 66, 398, log=True), height)
    last = max(c.generation for c in points)
    parts = [axes.frame("Multiply-accumulates per image (log scale)", f"{name}{' (log scale)' if power else ''}", 4)]
    parts += generation_dots(axes, macs, values, np.array([c.generation for c in points]), last)
    chosen = None if log.selected is None else log.candidates[log.selected]
    if chosen is not None and name in chosen.measurements:
        point = axes.at(chosen.measurements["macs"], chosen.measurements[name])
        parts.append(star(point, 9, "star", "the chosen network"))
    reading = "Each dot is a candidate, the darker the later its generation; the star is the chosen network."
    title = f"{name} against cost"
    return Figure(f"indicator_{name}{suffix}", title, reading, "".join(parts), 410, 294)


def seconds_figure(log: SearchLog, suffix: str) -> Figure | None:
    """Seconds per candidate in order of evaluation."""
    seconds = [candidate.seconds for candidate in log.candidates]
    if len(seconds) < 2 or not any(seconds):
        return None
    axes = Axes(Scale(1, len(seconds), 58, 398, whole=True), Scale(0, span(seconds)[1], 250, 12))
    middle = float(np.median(seconds))
    parts = [axes.frame("Candidate, in order of evaluation", "Seconds")]
    parts.append(dots([axes.at(k, s) for k, s in enumerate(seconds, start=1)], "s1"))
    parts.append(polyline([axes.at(1, middle), axes.at(len(seconds), middle)], "s2"))
    parts.append(circle(axes.at(len(seconds), middle), 3, "disc s2"))
    reading = f"Time to score each candidate; the dashed line is the median, {middle:.3g} s."
    return Figure(f"seconds{suffix}", "Seconds per candidate", reading, "".join(parts), 410, 294)
