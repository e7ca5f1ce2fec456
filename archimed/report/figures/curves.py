"""Figures of the chosen network's answers: ROC curves, confusion matrix, calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archimed.evaluation.calibration import reliability_bins, stated_probabilities
from archimed.evaluation.curves import MOST_POINTS, Curve, class_curves, confusion_matrix, roc_curve, thinned
from archimed.report.figures.canvas import Axes, Figure, Point, Scale, circle, legend, line, polyline, rectangle, text
from archimed.report.figures.results import clip, series
from archimed.report.reading import Predictions
from archimed.report.words import count, network_name
from archimed.task import ImagingTask

GRID = np.linspace(0.0, 1.0, 201)  # false-positive rates at which curves of repeats are averaged
MOST_CLASSES = 20  # more do not fit a confusion matrix


def curves_of(task: ImagingTask, repeats: Sequence[Predictions]) -> dict[str, list[Curve]]:
    """The ROC curves of each class, one per repeat in which it is defined; of two classes, the positive one."""
    found: dict[str, list[Curve]] = {}
    for repeat in repeats:
        for name, curve in class_curves(task, repeat.target, repeat.probabilities, roc_curve).items():
            found.setdefault(name, []).extend([curve] if curve is not None else [])
    return {name: curves for name, curves in found.items() if curves}


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean sensitivity at each false-positive rate; a single curve as it is."""
    if len(curves) == 1:
        return curves[0]
    heights = [np.interp(GRID, curve.x, curve.y) for curve in curves]
    return Curve(np.append(0.0, GRID), np.append(0.0, np.mean(heights, axis=0)))


def roc_figures(task: ImagingTask, answers: Mapping[str, Sequence[Predictions]]) -> list[Figure]:
    """ROC curves of all networks, the chosen (first) one bold; and of its classes where there are several."""
    found = {name: curves_of(task, repeats) for name, repeats in answers.items()}
    chosen = next(iter(answers), "")
    if not found.get(chosen):
        return []
    lines = []
    for position, (name, classes) in enumerate(found.items()):
        if classes:
            everything = [curve for curves in classes.values() for curve in curves]
            style = f"{series(position)} {'bold' if position == 0 else 'soft'}"
            lines.append((network_name(name), mean_curve(everything), style))
    several = task.kind != "binary"
    repeats = [] if several else next(iter(found[chosen].values()))
    thin = repeats if len(repeats) > 1 else []
    reading = "The nearer to the top left corner, the better; the dotted diagonal is guessing." + (
        " Mean over the classes." if several else " Thin lines: the single repeats." if thin else ""
    )
    figures = [curve_figure("roc", "ROC curves on the test cases", lines, thin, reading)]
    if several and len(task.class_names) <= MOST_CLASSES:
        figures.append(classes_figure(chosen, found[chosen]))
    return figures


def classes_figure(chosen: str, classes: Mapping[str, Sequence[Curve]]) -> Figure:
    """The chosen network's ROC curve of every class."""
    lines = [
        (clip(name, 24), mean_curve(curves), f"{series(position % 6)}{' other' if position > 5 else ''}")
        for position, (name, curves) in enumerate(classes.items())
    ]
    reading = "Each class against all others; a low curve is a class that the network confuses."
    return curve_figure("roc_classes", f"ROC curves of the classes, {network_name(chosen)}", lines, [], reading)


def curve_figure(
    name: str, title: str, lines: Sequence[tuple[str, Curve, str]], thin: Sequence[Curve], reading: str
) -> Figure:
    """Curves over the unit square with a legend below."""
    axes = Axes(Scale(0, 1, 58, 390), Scale(0, 1, 344, 12))
    parts = [axes.frame("1 − specificity (false-positive rate)", "Sensitivity (true-positive rate)")]
    parts.append(line(axes.at(0, 0), axes.at(1, 1), "diagonal"))
    parts += [polyline(trace(axes, curve), "s1 thin") for curve in thin]
    parts += [polyline(trace(axes, curve), classes) for _, curve, classes in reversed(lines)]
    rows, height = legend([(words, classes) for words, _, classes in lines], 58, 404, 340)
    return Figure(name, title, reading, "".join([*parts, rows]), 410, 400 + height)


def trace(axes: Axes, curve: Curve) -> list[Point]:
    """The pixels of a curve."""
    thin = thinned(curve, MOST_POINTS)
    return [axes.at(x, y) for x, y in zip(thin.x.tolist(), thin.y.tolist(), strict=True)]


def confusion_figure(task: ImagingTask, chosen: str, repeats: Sequence[Predictions]) -> Figure | None:
    """The confusion matrix, shaded by the share of each true class; None for multi-label tasks and many classes."""
    size = len(task.class_names)
    if not repeats or task.kind == "multi-label" or not 2 <= size <= MOST_CLASSES:
        return None
    matrix = np.sum([confusion_matrix(task, repeat.target, repeat.probabilities) for repeat in repeats], axis=0)
    roomy = size < 5
    side, left, top = 268 / size, 134.0, 44.0 if roomy else 92.0
    parts = [text(left + 134, 14, "Answered", "label middle"), text(13, top + 134, "True class", "label middle", -90)]
    for row, name in enumerate(task.class_names):
        total = max(int(matrix[row].sum()), 1)
        middle = side * (row + 0.5)
        parts.append(text(left - 8, top + middle + 4, clip(name, 14), "tick end"))
        if roomy:
            parts.append(text(left + middle, top - 8, clip(name, int(side / 7)), "tick middle"))
        else:
            parts.append(text(left + middle + 3, top - 6, clip(name, 15), "tick", turn=-40))
        for column in range(size):
            share = matrix[row, column] / total
            parts.append(matrix_cell(left + side * column, top + side * row, side, int(matrix[row, column]), share))
    several = f" Counts are summed over {len(repeats)} repeats." if len(repeats) > 1 else ""
    rule = " Threshold: 0.5." if task.kind == "binary" else ""
    reading = f"Rows are the truth; the darker the diagonal, the better. Shade: share of the row.{rule}{several}"
    title = f"Confusion matrix, {network_name(chosen)}"
    return Figure("confusion", title, reading, "".join(parts), 410, top + 276)


def matrix_cell(x: float, y: float, side: float, cases: int, share: float) -> str:
    """One shaded cell with its count, and its share where there is room."""
    gap = 1.5
    shade = rectangle(
        x + gap,
        y + gap,
        side - 2 * gap,
        side - 2 * gap,
        "cell",
        radius=3,
        style=f"fill-opacity:{0.04 + 0.5 * share:.2f}",
    )
    if side >= 60:
        middle = x + side / 2
        number = text(middle, y + side / 2, count(cases), "middle strong")
        return shade + number + text(middle, y + side / 2 + 17, f"{share:.0%}", "middle tick")
    return shade + (text(x + side / 2, y + side / 2 + 4, count(cases), "middle small") if side >= 22 and cases else "")


def calibration_figure(task: ImagingTask, chosen: str, repeats: Sequence[Predictions], error: float | None) -> Figure:
    """The reliability diagram in bins of about equal counts, with the distribution of the probabilities below."""
    stated = [stated_probabilities(task, repeat.target, repeat.probabilities) for repeat in repeats]
    held, probability = (np.concatenate(values) for values in zip(*stated, strict=True))
    bins = reliability_bins(held, probability)
    axes = Axes(Scale(0, 1, 58, 390), Scale(0, 1, 274, 12))
    parts = [axes.frame("", "Share for which it held"), line(axes.at(0, 0), axes.at(1, 1), "diagonal")]
    points = [axes.at(one.predicted, one.observed) for one in bins]
    parts.append(polyline(points, "s1 bold"))
    parts += [circle(point, 4, "disc s1", f"{one.count} answers") for point, one in zip(points, bins, strict=True)]
    parts.append(histogram(axes, probability))
    what = "the answer" if task.kind != "binary" else clip(task.class_names[-1], 22)
    parts.append(text(224, 386, f"Stated probability of {what}", "label middle"))
    told = "" if error is None else f" Expected calibration error: {error:.3f}."
    reading = (
        "On the diagonal a stated probability holds; below it the stated one is too high. "
        f"Each dot stands for about as many answers; grey: how often each probability was stated.{told}"
    )
    return Figure("calibration", f"Calibration, {network_name(chosen)}", reading, "".join(parts), 410, 396)


def histogram(axes: Axes, probability: NDArray[np.float64], bins: int = 25) -> str:
    """Grey bars below the plot: how often probabilities were stated."""
    counts, edges = np.histogram(probability, bins=bins, range=(0.0, 1.0))
    width = (axes.x.stop - axes.x.start) / bins
    scale = 52 / max(int(counts.max()), 1)
    bars = [
        rectangle(axes.x(float(edge)) + 0.75, 362 - scale * n, width - 1.5, scale * n, "bar s6")
        for edge, n in zip(edges[:-1], counts.tolist(), strict=True)
        if n
    ]
    base = line((axes.x.start, 362), (axes.x.stop, 362), "axis")
    return "".join([*bars, base, text(52, 318, count(int(counts.max())), "tick end"), text(52, 366, "0", "tick end")])
