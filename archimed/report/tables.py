"""The tables of results: networks, repeats, significance tests, operating point, lesion sizes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from archimed.report.reading import Record, Run, mapping, number
from archimed.report.results import comparisons, leading_metric, metrics_of
from archimed.report.words import (
    amount,
    cell_of,
    decimal,
    duration,
    interval,
    listing,
    metric_name,
    metric_order,
    network_name,
)

MOST_METRICS = 8  # columns of the page's table of networks; the file has all
DISTANCES = ("hausdorff_95",)  # in the unit that the results name
OPERATING = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision")  # depend on a threshold


@dataclass(frozen=True)
class Table:
    """A table as text, with the raw numbers for a file.

    Attributes:
        name: of the file.
        caption: what it shows.
        head: column heads.
        rows: cells of text; the first is the row's head.
        details: second lines of the cells, for intervals; empty or as long as rows.
        raw: columns and rows of the file; the text's if empty.
    """

    name: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    details: Sequence[Sequence[str]] = ()
    raw: Sequence[Sequence[object]] = ()


def network_table(run: Run) -> Table:
    """Networks by metrics with intervals, then parameters, MACs and training seconds."""
    metrics = metrics_of(run)
    heads = metric_heads(metrics[:MOST_METRICS], run.networks.get(run.chosen, {}))
    head = ["Network", *heads, "Parameters", "MACs", "Training"]
    rows, details, raw = [], [], []
    for name, results in run.networks.items():
        cells = [cell_of(results, "test", metric) for metric in metrics]
        shown = cells[:MOST_METRICS]
        cost = [results.get(key) for key in ("parameters", "macs", "seconds")]
        rows.append([network_name(name), *map(decimal, shown), amount(cost[0]), amount(cost[1]), duration(cost[2])])
        details.append(["", *map(interval, shown), "", "", ""])
        raw.append([name, *(limit for cell in cells for limit in raw_limits(cell)), *cost])
    columns = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    file: list[Sequence[object]] = [["network", *columns, "parameters", "macs", "seconds"], *raw]
    caption = "Test results of every network, with 95 % intervals below"
    return Table("networks", caption, head, rows, details, file)


def metric_heads(metrics: Sequence[str], results: Record) -> list[str]:
    """The heads of columns of metrics, with the unit below a distance."""
    unit = str(results.get("distance_unit") or "")
    return [f"{metric_name(metric)}{chr(10) + unit if unit and metric in DISTANCES else ''}" for metric in metrics]


def raw_limits(cell: object) -> list[float | None]:
    """Value, low and high of a cell."""
    inside = cell if isinstance(cell, Mapping) else {"value": cell}
    return [number(inside.get(key)) for key in ("value", "low", "high")]


def official_table(run: Run) -> Table | None:
    """AUC and accuracy as MedMNIST's own evaluator defines them, means over the repeats; None for other data."""
    rows = []
    for name in run.networks:
        tests = [mapping(mapping(repeat.metrics, "medmnist"), "test") for repeat in run.repeats(name)]
        means = [mean_of(number(test.get(metric)) for test in tests) for metric in ("AUC", "ACC")]
        if any(tests):
            rows.append([network_name(name), *map(decimal, means)])
    caption = "As MedMNIST's own evaluator measures, for comparison with published figures"
    return Table("medmnist", caption, ["Network", "AUC", "ACC"], rows) if rows else None


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the defined values, None if there are none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def repeat_table(run: Run) -> Table:
    """Every fold and seed of every network."""
    metrics = metrics_of(run)
    rows, raw = [], []
    for name, results in run.networks.items():
        repeats = results.get("repeats")
        for record in repeats if isinstance(repeats, list) else []:
            place = [str(record.get("fold", "")), str(record.get("seed", ""))]
            values = [cell_of(record, "test", metric) for metric in metrics]
            rows.append([network_name(name), *place, *map(decimal, values)])
            raw.append([name, *place, *map(number, values)])
    head = ["Network", "Fold", "Seed", *(metric_name(metric) for metric in metrics)]
    return Table(
        "repeats", "Test results of every repeat", head, rows, (), [["network", "fold", "seed", *metrics], *raw]
    )


@dataclass(frozen=True)
class LesionSizes:
    """Results by lesion size.

    Attributes:
        metric: what is measured.
        groups: what each group holds, in words.
        cells: for each network one cell for each group.
        unknown: positive cases in no group, as their lesion's size is unknown.
    """

    metric: str
    groups: tuple[str, ...]
    cells: Mapping[str, tuple[object, ...]]
    unknown: int


def lesion_sizes(run: Run) -> LesionSizes | None:
    """The `lesion_size` of summary.json: `groups` and, for each of `networks`, metrics by group."""
    found = mapping(run.summary, "lesion_size")
    groups = [group for group in found.get("groups") or () if isinstance(group, dict)]
    networks = mapping(found, "networks")
    if not groups or not networks:
        return None
    metric = leading_metric(run)
    cells = {
        name: tuple(mapping(mapping(networks, name), str(group.get("name"))).get(metric) for group in groups)
        for name in run.networks
        if name in networks
    }
    unknown = round(number(found.get("unknown_size")) or 0)
    return LesionSizes(metric, tuple(group_words(group) for group in groups), cells, unknown)


def group_words(group: Record) -> str:
    """A group's name and, on a second line, its limits, its cases and a warning if they are few."""
    low, high, cases = (number(group.get(key)) for key in ("low", "high", "cases"))
    parts = []
    if low and high and high < 1:
        parts.append(f"{low:.3g}–{high:.3g} of the image")
    elif low or (high and high < 1):
        parts.append(f"above {low:.3g} of the image" if low else f"below {high:.3g} of the image")
    if cases is not None:
        parts.append(f"{cases:.0f} lesions{': too few to say much' if group.get('too_few') else ''}")
    return f"{group.get('name')}\n{', '.join(parts)}" if parts else str(group.get("name"))


def lesion_table(sizes: LesionSizes) -> Table:
    """Networks by lesion size (the paper's Table VI)."""
    rows = [[network_name(name), *map(decimal, cells)] for name, cells in sizes.cells.items()]
    details = [["", *map(interval, cells)] for cells in sizes.cells.values()]
    names = [group.partition("\n")[0] for group in sizes.groups]
    columns = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    raw = [[name, *(limit for cell in cells for limit in raw_limits(cell))] for name, cells in sizes.cells.items()]
    caption = f"{metric_name(sizes.metric)} by lesion size, with 95 % intervals below"
    return Table("lesion_size", caption, ["Network", *sizes.groups], rows, details, [["network", *columns], *raw])


COMPARISON_HEADS: Mapping[str, str] = {
    "metric": "Metric",
    "against": "Against",
    "value": "Difference",
    "interval": "95 % interval",
    "p": "p",
    "p_holm": "p, Holm",
    "rank_p": "p, ranks of seeds",
    "inside_noise": "Inside the noise",
}


def comparison_table(run: Run) -> Table | None:
    """The significance tests: the chosen network minus each other one."""
    records = comparisons(run)
    if not records:
        return None
    keys = list(dict.fromkeys(key for record in records for key in record))
    rows = [[comparison_cell(record, key) for key in COMPARISON_HEADS] for record in records]
    raw: list[Sequence[object]] = [keys, *([record.get(key) for key in keys] for record in records)]
    caption = f"Test results of {network_name(run.chosen)} minus those of each other network, on the same cases"
    return Table("comparisons", caption, list(COMPARISON_HEADS.values()), rows, (), raw)


def comparison_cell(record: Record, key: str) -> str:
    """A field of a significance test in words."""
    value = record.get(key)
    if key == "interval":
        return interval(record)
    if key == "metric":
        return metric_name(str(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else decimal(value) if isinstance(value, int | float) else network_name(str(value))


def operating_table(run: Run) -> Table | None:
    """The chosen network at the threshold that its validation cases chose."""
    found = mapping(run.summary, "operating_point")
    cells = {split: mapping(found, split) for split in ("validation", "test")}
    metrics = [metric for metric in metric_order(cells["test"]) if metric in OPERATING]
    if not metrics:
        return None
    rows = [[split.capitalize(), *(decimal(inner.get(metric)) for metric in metrics)] for split, inner in cells.items()]
    details = [["", *(interval(inner.get(metric)) for metric in metrics)] for inner in cells.values()]
    lines = found.get("thresholds")
    thresholds = [decimal(line.get("threshold")) for line in lines if isinstance(line, dict)] if lines else []
    caption = f"At the {found.get('rule', 'chosen threshold')}: {listing(thresholds)}"
    return Table("operating_point", caption, ["Split", *map(metric_name, metrics)], rows, details)
