"""Figures of training: loss and validation metric by epoch."""

from collections.abc import Mapping, Sequence

from archimed.report.figures.canvas import Axes, Figure, Point, Scale, circle, legend, line, polyline, span, text
from archimed.report.reading import Record, TrainedNetwork, mapping, number
from archimed.report.words import decimal, metric_name, network_name


def training_figures(networks: Mapping[str, Sequence[TrainedNetwork]], metric: str) -> list[Figure]:
    """One figure for each network and data set: loss above, the validation metric below, repeats as thin lines."""
    figures = []
    for name, repeats in networks.items():
        for dataset in dict.fromkeys(repeat.dataset for repeat in repeats):
            trained = [repeat for repeat in repeats if repeat.epochs and repeat.dataset == dataset]
            title = f"{network_name(name)}{f' on {dataset}' if dataset else ''}"
            place = f"training_{name}{f'_{dataset}' if dataset else ''}"
            figures += [training_figure(place, title, trained, metric)] if trained else []
    return figures


def values(epochs: Sequence[Record], key: str) -> list[Point]:
    """(epoch, value) where the value is a number; a key `validation.auc` looks inside."""
    outer, _, inner = key.partition(".")
    found = []
    for position, epoch in enumerate(epochs, start=1):
        value = number(mapping(epoch, outer).get(inner) if inner else epoch.get(outer))
        if value is not None:
            found.append((number(epoch.get("epoch")) or float(position), value))
    return found


def best_epoch(repeat: TrainedNetwork, metric: str) -> float | None:
    """The epoch whose weights were kept: as recorded, or the first with the best validation metric."""
    recorded = number(repeat.metrics.get("best_epoch"))
    if recorded is not None:
        return recorded
    points = values(repeat.epochs, f"validation.{metric}")
    return max(points, key=lambda point: (point[1], -point[0]))[0] if points else None


def training_figure(name: str, title: str, repeats: Sequence[TrainedNetwork], metric: str) -> Figure:
    """Loss and metric of one network over the epochs."""
    keys = ("train_loss", "validation_loss", f"validation.{metric}")
    curves = {key: [values(repeat.epochs, key) for repeat in repeats] for key in keys}
    last = max((x for traces in curves.values() for trace in traces for x, _ in trace), default=1.0)
    width = Scale(min(1.0, last - 1), last, 58, 398, whole=True) if last > 1 else Scale(0.0, 2.0, 58, 398, whole=True)
    losses = [y for key in keys[:2] for trace in curves[key] for _, y in trace]
    scores = [y for trace in curves[keys[2]] for _, y in trace]
    above = Axes(width, Scale(*span([0.0, *robust(losses)]), 132, 12))
    below = Axes(width, Scale(*span(scores), 262, 160))
    clipped = {key: [[(x, min(y, above.y.high)) for x, y in trace] for trace in curves[key]] for key in keys[:2]}
    parts = [above.frame("", "Loss", y_ticks=4), below.frame("Epoch", metric_name(metric), y_ticks=4)]
    for axes, key, classes in (
        (above, keys[0], "s6 solid"),
        (above, keys[1], "s2"),
        (below, keys[2], "s1"),
    ):
        for position, trace in enumerate(clipped.get(key, curves[key])):
            style = f"{classes} {'' if position == 0 else 'thin'}"
            parts.append(polyline([axes.at(x, y) for x, y in trace], style))
    parts.append(best_mark(below, above, repeats[0], metric))
    entries = [("training loss", "s6 solid"), ("validation loss", "s2"), (f"validation {metric_name(metric)}", "s1")]
    rows, height = legend(entries, 58, 322, 345)
    thin = f" Thin lines: the other {len(repeats) - 1} repeats." if len(repeats) > 1 else ""
    reading = f"The dashed line marks the epoch whose weights were kept.{thin}"
    return Figure(name, title, reading, "".join([*parts, rows]), 410, 316 + height)


def robust(losses: Sequence[float]) -> list[float]:
    """Losses without the rare spikes that would flatten all else: at most three times the 95th percentile."""
    if not losses:
        return []
    ordered = sorted(losses)
    cap = 3 * ordered[int(0.95 * (len(ordered) - 1))]
    return [min(loss, cap) for loss in losses] if cap > 0 else list(losses)


def best_mark(below: Axes, above: Axes, repeat: TrainedNetwork, metric: str) -> str:
    """The kept epoch of a training: a dashed line through both plots and its metric."""
    epoch = best_epoch(repeat, metric)
    if epoch is None:
        return ""
    x = below.x(epoch)
    scores = [y for at, y in values(repeat.epochs, f"validation.{metric}") if at == epoch]
    parts = [line((x, above.y.stop), (x, below.y.start), "marker")]
    words = f"epoch {epoch:.0f}"
    if scores:
        parts.append(circle((x, below.y(scores[0])), 4.5, "disc s1"))
        words += f": {decimal(scores[0])}"
    left = x > 300
    parts.append(text(x - 7 if left else x + 7, below.y.start - 8, words, "tick halo end" if left else "tick halo"))
    return "".join(parts)
