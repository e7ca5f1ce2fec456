"""Figures of a search that learns a mixture: its curves, and the weights of the options on every edge."""

from collections.abc import Mapping, Sequence

from archimed.report.figures.canvas import Axes, Figure, Scale, legend, polyline, rectangle, span, text
from archimed.report.figures.mixture_log import MixtureLog, epoch_scale, marked, picked_line, placed
from archimed.report.figures.search_curves import decision_figure, loss_figure
from archimed.report.operation_words import operation_words
from archimed.report.reading import number

KINDS = ("down", "normal", "up")
CELLS = {"normal", "reduction", "down", "up"}
MOST_POINTS = 60  # epochs drawn in a small plot
STYLES: Mapping[str, str] = {  # how an operation's name begins: the class of its line
    "conv": "s3",
    "separable": "s1",
    "dilated": "s4",
    "factorised": "s3",
    "max": "s2",
    "average": "s5",
    "identity": "s6",
    "zero": "zero",
    "atrous": "s4",
    "shuffle": "s3",
    "transposed": "s3",
    "down": "s1",
    "normal": "s3",
    "up": "s2",
}
COLUMN, SHADE = 44.0, 22.0  # pixels of a cell of the shaded table
PANEL, PANEL_STEP = (112.0, 58.0), (160.0, 100.0)  # pixels of a small plot, and from one to the next


def mixture_figures(log: MixtureLog, suffix: str, *, edges: bool) -> list[Figure]:
    """Losses and how decided the mixture is; with `edges` also the weights on every edge of each cell."""
    figures = [loss_figure(log, suffix), decision_figure(log, suffix)]
    for cell, choices in log.cells.items() if edges else ():
        figures += [table_figure(log, cell, choices, suffix), edges_figure(log, cell, choices, suffix)]
    return figures


def reach(weights: Sequence[float]) -> str:
    """From where to where weights reach, in per cent."""
    low, high = percent(min(weights)), percent(max(weights))
    return f"all about {low}" if low == high else f"from {low} to {high}"


def percent(weight: float) -> str:
    """A weight in per cent."""
    return f"{100 * weight:.0f}" if weight >= 0.995 else f"{100 * weight:.1f}"


def table_figure(log: MixtureLog, cell: str, choices: Sequence[str], suffix: str) -> Figure:
    """The weights at the epoch picked, edge by option, shaded; the options of the derived network are framed."""
    options = options_of(log, choices)
    names = [log.edge_words(choice) for choice in choices]
    left = 16 + 6.5 * max(map(len, names))
    top, width = 76.0, left + COLUMN * len(options) + 30
    rows = {choice: log.weights[choice][log.shown] for choice in choices}
    every = [weight for row in rows.values() for weight in row]
    full = max([*every, 3 / max(len(options), 1)])
    parts = [
        text(left + COLUMN * (k + 0.5) + 4, top - 8, operation_words(option, log.spatial_dims), "tick", turn=-50)
        for k, option in enumerate(options)
    ]
    for place, (choice, row) in enumerate(rows.items()):
        y = top + SHADE * place
        parts.append(text(left - 8, y + 15, names[place], "tick end"))
        for option, weight in zip(log.options[choice], row, strict=True):
            x = left + COLUMN * options.index(option)
            shade = f"fill-opacity:{0.7 * weight / full:.2f}"
            parts.append(rectangle(x + 1, y + 1, COLUMN - 2, SHADE - 2, "cell", radius=3, style=shade))
            if option in log.kept(choice):
                parts.append(rectangle(x + 1, y + 1, COLUMN - 2, SHADE - 2, "picked", radius=3))
            parts.append(text(x + COLUMN / 2, y + 15, percent(weight), "node middle"))
    at = f"epoch {log.picked:.0f}" if log.picked is not None else "the last epoch"
    reading = (
        f"Per cent that each option weighs {'at' if cell == 'type' else 'on'} each {unit_of(cell)}, {reach(every)}; "
        f"undecided, all would weigh {percent(1 / max(len(options), 1))}. {kept_words(log, cell)}"
    )
    title = f"The mixture at {at}, {part_words(cell)}{placed(log)}"
    height = top + SHADE * len(choices) + 6
    return Figure(f"mixture_{cell}{suffix}", title, reading, "".join(parts), width, height, wide=True, scrolls=True)


def unit_of(cell: str) -> str:
    """Where the options of a part compete."""
    return "place" if cell == "type" else "edge"


def options_of(log: MixtureLog, choices: Sequence[str]) -> list[str]:
    """All options of some choices: kinds of cell in their order, others as they first occur."""
    found = list(dict.fromkeys(option for choice in choices for option in log.options[choice]))
    return [kind for kind in KINDS if kind in found] if set(found) <= set(KINDS) else found


def kept_words(log: MixtureLog, cell: str) -> str:
    """What of a table the derived network has; nothing where none was derived."""
    if not log.chosen:
        return ""
    if cell == "type":
        return "Framed: the kinds of cell that the derived network keeps there; without a frame, it has none there."
    return "Framed: the derived network. A node keeps the two edges whose strongest option but zero weighs most."


def edges_figure(log: MixtureLog, cell: str, choices: Sequence[str], suffix: str) -> Figure:
    """The weights over the epochs, one small plot for each edge; the derived network's options are bold."""
    columns, step = min(len(choices), 4), -(-len(log.epochs) // MOST_POINTS)
    positions = sorted({*range(0, len(log.epochs), step), log.shown, len(log.epochs) - 1})
    every = [weight for choice in choices for k in positions for weight in log.weights[choice][k]]
    low, high = span([100 * weight for weight in every])
    parts = []
    for place, choice in enumerate(choices):
        x, y = 34 + PANEL_STEP[0] * (place % columns), 20 + PANEL_STEP[1] * (place // columns)
        axes = Axes(epoch_scale(log.epochs, x, x + PANEL[0]), Scale(low, high, y + PANEL[1], y))
        parts += [axes.frame("", "", 2, 2), text(x, y - 5, log.edge_words(choice), "small")]
        parts.append(picked_line(log, axes.x, y, y + PANEL[1], words=False))
        parts += option_lines(log, axes, choice, positions)
    options = options_of(log, choices)
    entries = [(operation_words(option, log.spatial_dims), style_of(option)) for option in options]
    below = 26 + PANEL_STEP[1] * -(-len(choices) // columns)
    width = 34 + PANEL_STEP[0] * max(columns, 2)
    rows, height = legend(entries, 34, below, width - 40)
    title = f"The mixture over the epochs, {part_words(cell)}{placed(log)}"
    reading = (
        f"One plot for each {unit_of(cell)}: the per cent that each option weighs, by epoch, {reach(every)}, on one "
        f"scale in all plots. {bold_words(log)}{marked(log)}"
    )
    body = "".join([*parts, rows])
    return Figure(f"mixture_epochs_{cell}{suffix}", title, reading, body, width, below + height, True, True)


def bold_words(log: MixtureLog) -> str:
    """What bold lines are; nothing where no network was derived."""
    return "Bold: what the derived network has there; without a bold line it has nothing. " if log.chosen else ""


def option_lines(log: MixtureLog, axes: Axes, choice: str, positions: Sequence[int]) -> list[str]:
    """The weight of every option of an edge, the derived network's last and bold."""
    own = log.kept(choice)
    order = sorted(range(len(log.options[choice])), key=lambda place: log.options[choice][place] in own)
    lines = []
    for place in order:
        option = log.options[choice][place]
        points = [(epoch_number(log, k), 100 * log.weights[choice][k][place]) for k in positions]
        weight = "bold" if option in own else "soft"
        lines.append(polyline([axes.at(x, y) for x, y in points], f"{style_of(option)} {weight}"))
    return lines


def epoch_number(log: MixtureLog, position: int) -> float:
    """The epoch of a line of the log."""
    return number(log.epochs[position].get("epoch")) or float(position + 1)


def style_of(option: str) -> str:
    """The classes of an option's line: colour by kind, dashed for large kernels and shuffled groups."""
    style = next((style for start, style in STYLES.items() if option.startswith(start)), "s6")
    return (
        style
        if style == "zero"
        else f"{style} {'dashed' if option.endswith(('_5', '_7')) or 'shuffle' in option else 'solid'}"
    )


def part_words(cell: str) -> str:
    """A cell in words."""
    return "kinds of cell" if cell == "type" else f"{cell} cell" if cell in CELLS else cell
