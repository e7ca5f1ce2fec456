"""Figures of a search by Shapley values: what the supernet lost without each operation, by edge, and the scores."""

from collections.abc import Mapping, Sequence

from archimed.report.figures.canvas import Axes, Figure, Scale, legend, rectangle, span, text
from archimed.report.figures.mixture import COLUMN, SHADE, options_of, part_words
from archimed.report.figures.mixture_log import MixtureLog, epoch_scale, marked, picked_line, placed
from archimed.report.figures.search_curves import trace_of
from archimed.report.figures.training import values
from archimed.report.operation_words import operation_words
from archimed.report.reading import Record, mapping, number


def shapley_figures(log: MixtureLog, suffix: str) -> list[Figure]:
    """The mean Shapley value of every operation on every edge, and how the supernet scored; nothing without any."""
    learning = [epoch for epoch in upto(log) if mapping(mapping(epoch, "architecture"), "shapley")]
    if not learning:
        return []
    means = mean_values(log, learning)
    tables = [
        value_figure(log, cell, choices, means, len(learning), suffix)
        for cell, choices in log.cells.items()
        if all(choice in means for choice in choices)
    ]
    return [score_figure(log, suffix), *tables]


def upto(log: MixtureLog) -> Sequence[Record]:
    """The epochs to the one picked."""
    return log.epochs[: log.shown + 1]


def mean_values(log: MixtureLog, epochs: Sequence[Record]) -> dict[str, list[float]]:
    """Of each choice the mean over epochs of its options' values; choices that are damaged are left out."""
    found = {}
    for choice, options in log.options.items():
        rows = [mapping(mapping(epoch, "architecture"), "shapley").get(choice) for epoch in epochs]
        told = [[number(value) for value in row] for row in rows if isinstance(row, list)]
        if told and all(len(row) == len(options) and None not in row for row in told):
            found[choice] = [sum(column) / len(told) for column in zip(*told, strict=True)]
    return found


def value_figure(
    log: MixtureLog,
    cell: str,
    choices: Sequence[str],
    means: Mapping[str, Sequence[float]],
    epochs: int,
    suffix: str,
) -> Figure:
    """The values of one cell, edge by option, shaded; the options of the derived network are framed."""
    options, names = options_of(log, choices), [log.edge_words(choice) for choice in choices]
    left, top = 16 + 6.5 * max(map(len, names)), 76.0
    width = left + COLUMN * len(options) + 30
    every = [value for choice in choices for value in means[choice]]
    low, reach = min(every), (max(every) - min(every)) or 1.0
    parts = [
        text(left + COLUMN * (k + 0.5) + 4, top - 8, operation_words(option, log.spatial_dims), "tick", turn=-50)
        for k, option in enumerate(options)
    ]
    for place, choice in enumerate(choices):
        y = top + SHADE * place
        parts.append(text(left - 8, y + 15, names[place], "tick end"))
        for option, value in zip(log.options[choice], means[choice], strict=True):
            x = left + COLUMN * options.index(option)
            shade = f"fill-opacity:{0.7 * (value - low) / reach:.2f}"
            parts.append(rectangle(x + 1, y + 1, COLUMN - 2, SHADE - 2, "cell", radius=3, style=shade))
            if option in log.kept(choice):
                parts.append(rectangle(x + 1, y + 1, COLUMN - 2, SHADE - 2, "picked", radius=3))
            parts.append(text(x + COLUMN / 2, y + 15, f"{100 * value:.1f}", "node middle"))
    reading = (
        "Hundredths of the score that the supernet loses when the operation leaves: the mean over random orders in "
        "which all leave, less the deviation over these orders, so that what helps in some orders only is below zero "
        f"and rank counts, not sign (the mean of {epochs} epochs, to the one picked; the higher, the darker). Zero "
        "loses nothing and is never derived. Framed: the derived network, which follows a running average."
    )
    title = f"Shapley values of the operations, {part_words(cell)}{placed(log)}"
    height = top + SHADE * len(choices) + 6
    return Figure(f"shapley_{cell}{suffix}", title, reading, "".join(parts), width, height, wide=True, scrolls=True)


def score_figure(log: MixtureLog, suffix: str) -> Figure:
    """What the supernet scored with all operations and with none, by epoch."""
    keys = {
        "architecture.start": ("with all operations", "s1"),
        "architecture.nobody": ("with none", "zero"),
    }
    traces = {key: found for key in keys if (found := values(log.epochs, key))}
    axes = Axes(epoch_scale(log.epochs, 52, 348), Scale(*span([y for t in traces.values() for _, y in t]), 248, 12))
    parts = [axes.frame("Epoch", "Score of the game")]
    parts += [trace_of(axes, points, keys[key][1]) for key, points in traces.items()]
    parts.append(picked_line(log, axes.x, axes.y.stop, axes.y.start))
    rows, height = legend([keys[key] for key in traces], 52, 304, 300)
    reading = (
        "The score (search.game_score) on the images of the game. Shapley values share out what lies between the two; "
        f"where that is little, they are noise. {marked(log)}"
    )
    title = f"What the operations have to share{placed(log)}"
    return Figure(f"shapley_scores{suffix}", title, reading, "".join([*parts, rows]), 360, 300 + height)
