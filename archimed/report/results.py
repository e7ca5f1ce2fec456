"""What the report says about results: the headline, the table of networks, lesion sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archimed.report.reading import Record, Run, mapping, number
from archimed.report.words import (
    LEADING,
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


@dataclass(frozen=True)
class Headline:
    """The result in words and numbers."""

    network: str
    metric: str
    value: str
    interval: str
    baseline: str
    verdict: str
    clear: bool


def leading_metric(run: Run) -> str:
    """The metric of the headline: the first of AUC, Dice and accuracy that the chosen network has."""
    results = run.networks.get(run.chosen, {})
    defined = [metric for metric in LEADING if number(cell_of(results, "test", metric)) is not None]
    return defined[0] if defined else "accuracy"


def headline(run: Run) -> Headline:
    """The chosen network's result beside the best baseline's."""
    metric = leading_metric(run)
    own = cell_of(run.networks.get(run.chosen, {}), "test", metric)
    others = {
        name: cell_of(results, "test", metric)
        for name, results in run.networks.items()
        if name != run.chosen and number(cell_of(results, "test", metric)) is not None
    }
    best = max(others, key=lambda name: number(others[name]) or 0.0) if others else None
    if best is None:
        words, verdict, clear = "", "No baseline was trained, so the number stands alone.", False
    else:
        limits = interval(others[best], 2)
        words = f"{network_name(best)}, {decimal(others[best], 2)}{f' ({limits})' if limits else ''}"
        verdict, clear = judge(run, best, metric, own, others[best])
    name = network_name(run.chosen)
    return Headline(name, metric_name(metric), decimal(own, 2), interval(own, 2), words, verdict, clear)


def judge(run: Run, baseline: str, metric: str, own: object, other: object) -> tuple[str, bool]:
    """Whether the chosen network differs from a baseline, in words, and whether that is beyond noise.

    The run's own test decides where summary.json holds one; else whether the two intervals overlap.
    """
    mine, theirs = number(own), number(other)
    if mine is None or theirs is None:
        return "The two cannot be compared.", False
    name = network_name(baseline)
    better = "better" if mine > theirs else "worse"
    found = comparison(run, baseline, metric)
    if found is not None:
        if found.get("inside_noise") is False:
            return f"{better.capitalize()} than {name}, beyond noise.", True
        return f"Inside the noise of {name}: this run does not show that one is better.", False
    bounds = [number(cell.get(key)) for cell in (own, other) if isinstance(cell, Mapping) for key in ("low", "high")]
    if len(bounds) == 4 and None not in bounds:
        low, high, other_low, other_high = (bound or 0.0 for bound in bounds)
        if low > other_high or high < other_low:
            return f"{better.capitalize()} than {name}: the intervals do not overlap.", True
        return f"Inside the noise of {name}: the intervals overlap.", False
    return f"Not tested against {name}: take the difference as noise.", False


def comparison(run: Run, baseline: str, metric: str) -> Record | None:
    """The significance test of the chosen network against a baseline, if summary.json has it."""
    wanted = (run.chosen, baseline, metric)
    tests = comparisons(run)
    return next((t for t in tests if (t.get("network"), t.get("against"), t.get("metric")) == wanted), None)


def comparisons(run: Run) -> list[Record]:
    """All significance tests of summary.json."""
    found = run.summary.get("comparisons")
    return [record for record in found if isinstance(record, dict)] if isinstance(found, list) else []


def metrics_of(run: Run) -> list[str]:
    """The metrics of the test split that any network has, in the report's order."""
    return metric_order(metric for results in run.networks.values() for metric in mapping(results, "test"))


def network_table(run: Run) -> Table:
    """Networks by metrics with intervals, then parameters, MACs and training seconds."""
    metrics = metrics_of(run)
    head = ["Network", *(metric_name(metric) for metric in metrics), "Parameters", "MACs", "Training"]
    rows, details, raw = [], [], []
    for name, results in run.networks.items():
        cells = [cell_of(results, "test", metric) for metric in metrics]
        cost = [results.get(key) for key in ("parameters", "macs", "seconds")]
        rows.append([network_name(name), *map(decimal, cells), amount(cost[0]), amount(cost[1]), duration(cost[2])])
        details.append(["", *map(interval, cells), "", "", ""])
        raw.append([name, *(limit for cell in cells for limit in raw_limits(cell)), *cost])
    columns = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    file: list[Sequence[object]] = [["network", *columns, "parameters", "macs", "seconds"], *raw]
    caption = "Test results of every network, with 95 % intervals below"
    return Table("networks", caption, head, rows, details, file)


def raw_limits(cell: object) -> list[float | None]:
    """Value, low and high of a cell."""
    inside = cell if isinstance(cell, Mapping) else {"value": cell}
    return [number(inside.get(key)) for key in ("value", "low", "high")]


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
