"""Curves of a search that learns a mixture: its losses, and how decided it is."""

from collections.abc import Sequence

from archimed.report.figures.canvas import Axes, Figure, Point, Scale, dots, legend, polyline, span
from archimed.report.figures.mixture_log import MixtureLog, epoch_scale, marked, picked_line, placed
from archimed.report.figures.training import robust, values
from archimed.report.words import metric_name


def loss_figure(log: MixtureLog, suffix: str) -> Figure:
    """The losses of both halves and on the validation cases, above the validation AUC."""
    keys = {
        "weight_loss": ("loss of the weights, on their half", "s6 solid"),
        "architecture_loss": ("loss of alpha, on its half", "s3"),
        "validation_loss": ("validation loss", "s2"),
    }
    traces = {key: values(log.epochs, key) for key in keys}
    metric = next((name for name in ("dice", "auc") if values(log.epochs, f"validation.{name}")), "auc")
    scores = values(log.epochs, f"validation.{metric}")
    width = epoch_scale(log.epochs, 52, 348)
    above = Axes(width, Scale(*span(robust([y for trace in traces.values() for _, y in trace])), 142, 12))
    below = Axes(width, Scale(*span([y for _, y in scores]), 248, 172))
    bottom = below if scores else above
    parts = [above.frame("" if scores else "Epoch", "Loss", y_ticks=4)]
    parts += [below.frame("Epoch", metric_name(metric), y_ticks=3)] if scores else []
    for key, (_, style) in keys.items():
        parts.append(trace_of(above, [(x, min(y, above.y.high)) for x, y in traces[key]], style))
    parts += [trace_of(below, scores, "s1"), picked_line(log, width, above.y.stop, bottom.y.start)]
    entries = [
        *(keys[key] for key in keys if traces[key]),
        *([(f"validation {metric_name(metric)} of the supernet", "s1")] if scores else []),
    ]
    top = bottom.y.start + 56
    rows, height = legend(entries, 52, top, 300)
    title = f"Losses of the search{placed(log)}"
    reading = "Half of the training cases teach the weights, the other half alpha. " + marked(log)
    return Figure(f"search_losses{suffix}", title, reading, "".join([*parts, rows]), 360, top - 4 + height)


def decision_figure(log: MixtureLog, suffix: str) -> Figure:
    """Entropy of the mixture, and the shares of the skip connection and of zero."""
    axes = Axes(epoch_scale(log.epochs, 52, 348), Scale(0.0, 1.05, 248, 12))
    keys = {
        "entropy": ("entropy of the mixture", "s1"),
        "skip_share": ("share of the skip connection", "s2"),
        "zero_share": ("share of zero", "zero"),
    }
    parts = [axes.frame("Epoch", "Entropy, and shares")]
    parts += [trace_of(axes, values(log.epochs, key), style) for key, (_, style) in keys.items()]
    parts.append(picked_line(log, axes.x, axes.y.stop, axes.y.start))
    rows, height = legend(list(keys.values()), 52, 304, 300)
    title = f"How decided the mixture is{placed(log)}"
    reading = (
        "Entropy 1: all options weigh the same, so the derived network rests on small differences; 0: one "
        f"option is all. A skip connection whose share takes over is a known failure of such searches. {marked(log)}"
    )
    return Figure(f"search_decision{suffix}", title, reading, "".join([*parts, rows]), 360, 300 + height)


def trace_of(axes: Axes, points: Sequence[Point], style: str) -> str:
    """A line with dots where it has few points."""
    pixels = [axes.at(x, y) for x, y in points]
    return polyline(pixels, style) + (dots(pixels, f"solid-dots {style}") if len(pixels) < 9 else "")
