"""Writes the page of an external validation: report.html, figures/*.svg and tables/*.csv, from its summary.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archimed.report.background import TASKS
from archimed.report.figures.canvas import Figure
from archimed.report.figures.results import forest
from archimed.report.groups import table_of_groups
from archimed.report.reading import Record, mapping, number, record
from archimed.report.report import write_page
from archimed.report.tables import Table, metric_heads, raw_limits
from archimed.report.words import (
    GLOSSARY,
    LEADING,
    cell_of,
    count,
    decimal,
    interval,
    listing,
    metric_name,
    metric_order,
    network_name,
)

TERMS = ("AUC", "Dice", "Sensitivity", "Specificity", "95 % interval", "Inside the noise")
SEVERAL = ("multi-label", "segmentation")  # tasks in which a case may have several of the classes
SIDES = ("test", "test_of_the_run", "difference")  # columns: here, the run's own test, here minus there

RAW_SIDES = [f"{side}{end}" for side in SIDES for end in ("", "_low", "_high")]


def write_external(folder: Path) -> Path:
    """Write the page of an external validation beside its summary.json, and return its path."""
    return write_page(folder / "report.html", contents(record(folder / "summary.json")), "external.html")


def contents(document: Record) -> dict[str, Any]:
    """Everything that the page shows, by the names that the template uses."""
    chosen, metric = str(document["chosen"]), leading_metric(document)
    networks = {name: mapping(document["networks"], name) for name in ordered(document)}
    drift = mapping(document, "drift")
    return {
        "title": f"{network_name(chosen)} on {document['data']}",
        "facts": facts(document),
        "headline": headline(document, metric),
        "cautions": document["cautions"],
        "data": document["data"],
        "networks": network_table(networks, metric),
        "forest": [figure] if (figure := beside(networks, metric)) else [],
        "metrics": metric_table(chosen, networks[chosen]),
        "others": [metric_table(name, results) for name, results in networks.items() if name != chosen],
        "classes": class_table(chosen, networks[chosen]),
        "groups": table_of_groups(document["groups"], metric, list(networks)),
        "spans": [figure for one in drift.get("channels", ()) if (figure := span_figure(one))],
        "intensities": intensity_table(drift.get("channels", ())),
        "shares": share_table(drift.get("classes", ()), several=mapping(document, "task").get("kind") in SEVERAL),
        "glossary": {term: GLOSSARY[term] for term in TERMS},
    }


def ordered(document: Record) -> list[str]:
    """The networks, the chosen one first."""
    return sorted(document["networks"], key=lambda name: name != document["chosen"])


def leading_metric(document: Record) -> str:
    """The first of AUC, Dice and accuracy that the chosen network has, here or in its own test."""
    results = mapping(document["networks"], str(document["chosen"]))
    found = [m for side in SIDES[:2] for m in LEADING if number(cell_of(results, side, m)) is not None]
    return found[0] if found else "accuracy"


def facts(document: Record) -> list[tuple[str, str]]:
    """What was measured on what, as short pairs of words."""
    kind = str(mapping(document, "task").get("kind"))
    pairs = [
        ("Network", network_name(str(document["chosen"]))),
        ("Trained on", listing(document["trained_data"])),
        ("Measured on", str(document["data"])),
        ("Cases", count(document["cases"])),
        ("Patients", count(document["patients"]) or "unknown"),
        ("Task", TASKS.get(kind, kind)),
    ]
    return [(name, words) for name, words in pairs if words]


def headline(document: Record, metric: str) -> dict[str, str]:
    """The chosen network's result here, and in words how it stands to that of the run's own test."""
    name = str(document["chosen"])
    here, own, change = (cell_of(mapping(document["networks"], name), side, metric) for side in SIDES)
    return {
        "network": network_name(name),
        "metric": metric_name(metric),
        "value": decimal(here, 2),
        "interval": interval(here, 2),
        "own": decimal(own, 2) if number(own) is not None else "",
        "own_interval": interval(own, 2),
        "verdict": verdict(change),
    }


def verdict(change: object) -> str:
    """The difference to the run's own test in a sentence."""
    value = number(change)
    limits = [number(change.get(key)) for key in ("low", "high")] if isinstance(change, Mapping) else []
    if value is None:
        return "There is no result of the run's own test to compare it with."
    if len(limits) < 2 or limits[0] is None or limits[1] is None:
        return f"{signed(value, 2)} against the run's own test; too few cases to tell whether that is more than noise."
    told = f"{signed(value, 2)} ({signed(limits[0], 2)} to {signed(limits[1], 2)})"
    if limits[0] <= 0 <= limits[1]:
        return f"Inside the noise of the run's own test: {told}."
    return f"{'Higher' if value > 0 else 'Lower'} than in the run's own test, beyond noise: {told}."


def signed(value: object, places: int = 3) -> str:
    """A difference with its sign."""
    found = number(value)
    return decimal(found) if found is None else f"{found:+.{places}f}".replace("-", "\u2212")


def signed_interval(cell: object) -> str:
    """The limits of a difference, "−0.120 to 0.031"; empty where it has none."""
    limits = [number(cell.get(key)) for key in ("low", "high")] if isinstance(cell, Mapping) else [None]
    return "" if None in limits else " to ".join(map(signed, limits))


def side_cells(results: Record, metric: str) -> tuple[list[str], list[str], list[float | None]]:
    """Of one metric the three columns, the intervals below, and the numbers of both."""
    cells = [cell_of(results, side, metric) for side in SIDES]
    texts = [decimal(cells[0]), decimal(cells[1]) if cells[1] else "", signed(cells[2]) if cells[2] else ""]
    below = [interval(cells[0]), interval(cells[1]), signed_interval(cells[2])]
    return texts, below, [limit for cell in cells for limit in raw_limits(cell)]


def network_table(networks: Mapping[str, Record], metric: str) -> Table:
    """Every network in the leading metric."""
    found = {name: side_cells(results, metric) for name, results in networks.items()}
    return Table(
        "networks",
        f"{metric_name(metric)} of every network, with 95 % intervals below",
        ["Network", "These data", "The run's own test", "Difference"],
        [[network_name(name), *texts] for name, (texts, _, _) in found.items()],
        [["", *below] for _, below, _ in found.values()],
        [["network", *RAW_SIDES], *([name, *raw] for name, (_, _, raw) in found.items())],
    )


def metric_table(name: str, results: Record) -> Table:
    """Every metric of one network."""
    metrics = metric_order(mapping(results, "test"))
    heads = [head.replace("\n", ", ") for head in metric_heads(metrics, results)]
    found = [side_cells(results, metric) for metric in metrics]
    return Table(
        f"metrics_{name}",
        f"{network_name(name)}, every metric, with 95 % intervals below",
        ["Metric", "These data", "The run's own test", "Difference"],
        [[head, *texts] for head, (texts, _, _) in zip(heads, found, strict=True)],
        [["", *below] for _, below, _ in found],
        [["metric", *RAW_SIDES], *([metric, *raw] for metric, (_, _, raw) in zip(metrics, found, strict=True))],
    )


def class_table(name: str, results: Record) -> Table | None:
    """Of masks, every class of the chosen network by metrics; None for other tasks."""
    classes = mapping(mapping(results, "classes"), "test")
    if not classes:
        return None
    metrics = metric_order(metric for cells in classes.values() for metric in cells)
    return Table(
        "classes",
        f"{network_name(name)} by class on these data, with 95 % intervals below",
        ["Class", *metric_heads(metrics, results)],
        [[of, *(decimal(cells.get(metric)) for metric in metrics)] for of, cells in classes.items()],
        [["", *(interval(cells.get(metric)) for metric in metrics)] for cells in classes.values()],
    )


def beside(networks: Mapping[str, Record], metric: str) -> Figure | None:
    """Each network on these data, and below it in its own test."""
    rows = []
    for name, results in networks.items():
        rows.append((network_name(name), cell_of(results, "test", metric)))
        if mapping(results, "test_of_the_run"):
            rows.append(("own test", cell_of(results, "test_of_the_run", metric)))
    reading = "Dot: the result on these data, below it that of the run's own test; bar: 95 % interval."
    return forest(f"beside_{metric}", f"{metric_name(metric)} here and there", metric_name(metric), rows, reading)


def span_figure(one: Record) -> Figure | None:
    """The intensities of one channel here and in the run's data."""
    rows = [
        (words, {"value": one[side]["median"], "low": one[side]["p1"], "high": one[side]["p99"]})
        for words, side in (("These data", "data"), ("The run's data", "run"))
    ]
    reading = "Dot: the median pixel; bar: from the 1st to the 99th percentile of all pixels."
    return forest(f"intensities_{one['channel']}", f"Intensities of {one['channel']}", "Intensity", rows, reading)


def intensity_table(channels: Sequence[Record]) -> Table | None:
    """The percentiles of every channel, here and in the run's data."""
    if not channels:
        return None
    heads = {"p1": "1st percentile", "median": "Median", "p99": "99th percentile"}
    rows = [
        [f"{one['channel']}, {words}", *(f"{value:.4g}" if value is not None else "" for value in of.values())]
        for one in channels
        for words, of in (("these data", one["data"]), ("the run's data", one["run"]))
    ]
    return Table("intensities", "Intensities of the pixels", ["Channel", *heads.values()], rows)


def share_table(classes: Sequence[Record], *, several: bool) -> Table | None:
    """The share of cases of each class, here and in the run's data."""
    if not classes:
        return None
    rows = []
    for one in classes:
        points = signed(100 * (one["data"] - one["run"]), 1)
        rows.append([one["class"], f"{one['data']:.1%}", f"{one['run']:.1%}", f"{points} points"])
    raw = [["class", "data", "run"], *([one["class"], one["data"], one["run"]] for one in classes)]
    caption = f"Share of the cases {'in which a class occurs' if several else 'of each class'}"
    return Table("shares", caption, ["Class", "These data", "The run's data", "Difference"], rows, (), raw)
