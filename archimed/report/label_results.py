"""What the report says of several labels: each by itself, the normal one, checkpoints, and fixed thresholds."""

from collections.abc import Iterable, Mapping, Sequence

from archimed.report.reading import Record, Run, mapping, number
from archimed.report.tables import Table, raw_limits
from archimed.report.words import UNDEFINED, cell_of, count, decimal, interval, metric_name, metric_order, network_name

RATES = ("auc", "f1", "sensitivity", "specificity", "precision", "weighted_tpr_fpr")
RATE_NAMES: Mapping[str, str] = {"f1": "F1", "weighted_tpr_fpr": "Weighted TPR & FPR"}
OF_CHECKPOINTS = ("auc", "macro_f1", "exact_match", "label_accuracy", "normal_weighted_tpr_fpr")
NORMAL = "normal_"


def label_rows(run: Run, network: str) -> list[Record]:
    """The rows of summary.json on a network's labels; [] for other tasks."""
    found = mapping(mapping(run.summary, "labels"), "networks").get(network)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def label_table(run: Run) -> Table | None:
    """The chosen network label by label, with counts, thresholds and intervals; the file has every network."""
    rows = label_rows(run, run.chosen)
    if not rows:
        return None
    cells, details = [], []
    for row in rows:
        rates = [mapping(row, "metrics").get(rate) for rate in RATES]
        counts = [count(row.get(key)) for key in ("cases", "positives")]
        cells.append([str(row.get("label")), *counts, thresholds(run, str(row.get("label"))), *map(decimal, rates)])
        details.append(["", "", "", "", *map(interval, rates)])
    head = ["Label", "Known test cases", "Positive", "Threshold", *(RATE_NAMES.get(r, metric_name(r)) for r in RATES)]
    rule = str(mapping(run.summary, "labels").get("rule") or "")
    caption = f"Test results by label, with 95 % intervals below{f'; {rule}' if rule else ''}"
    return Table("labels", caption, head, cells, details, raw_labels(run))


def raw_labels(run: Run) -> list[Sequence[object]]:
    """Every network and label as numbers."""
    columns = [f"{rate}{end}" for rate in (*RATES, "accuracy") for end in ("", "_low", "_high")]
    lines: list[Sequence[object]] = [["network", "label", "cases", "positives", *columns]]
    for name in run.networks:
        for row in label_rows(run, name):
            rates = [mapping(row, "metrics").get(rate) for rate in (*RATES, "accuracy")]
            limits = [limit for rate in rates for limit in raw_limits(rate)]
            lines.append([name, row.get("label"), row.get("cases"), row.get("positives"), *limits])
    return lines


def thresholds(run: Run, label: str) -> str:
    """The thresholds of a label over the repeats of the chosen network: one, or the lowest to the highest."""
    lines = mapping(mapping(run.summary, "labels"), "thresholds").get(run.chosen)
    found = [number(mapping(line, "thresholds").get(label)) for line in lines or () if isinstance(line, dict)]
    known = [value for value in found if value is not None]
    if not known:
        return UNDEFINED
    low, high = decimal(min(known), 2), decimal(max(known), 2)
    return low if low == high else f"{low}–{high}"


def normal_table(run: Run) -> Table | None:
    """Every network on the label that says that nothing was found (X-ray study, Tables 3 and 4)."""
    name = mapping(run.summary, "labels").get("normal")
    metrics = [one for one in metric_order(every_metric(run)) if one.startswith(NORMAL)]
    if not name or not metrics:
        return None
    rows = [
        (network, [cell_of(results, "test", metric) for metric in metrics]) for network, results in run.networks.items()
    ]
    caption = f"The label {name}: who is called so, and who is wrongly, with 95 % intervals below"
    return metrics_table("normal", caption, ["Network", *map(metric_name, metrics)], rows)


def checkpoint_table(run: Run) -> Table | None:
    """Every network with the weights that each metric kept, where there are several."""
    metrics = [metric for metric in OF_CHECKPOINTS if metric in every_metric(run)]
    rows = [
        (f"{network_name(network)}, best {metric_name(kept)}", [cell_of(results, "test", one) for one in metrics])
        for network, record in run.networks.items()
        for kept, results in mapping(record, "checkpoints").items()
        if isinstance(results, dict)
    ]
    if not rows:
        return None
    first = next(iter(mapping(run.networks[run.chosen], "checkpoints")), "")
    caption = (
        "Test results with the weights of the best epoch by each validation metric, with 95 % intervals below; all "
        f"other results are of best {metric_name(first)}"
    )
    return metrics_table("checkpoints", caption, ["Network", *map(metric_name, metrics)], rows)


def half_table(run: Run) -> Table | None:
    """Every network with 0.5 as the threshold of every label, for comparison with published figures."""
    found = mapping(mapping(run.summary, "labels"), "half")
    metrics = metric_order(metric for name in found for metric in mapping(found, name))
    rows = [(network_name(name), [mapping(found, name).get(metric) for metric in metrics]) for name in found]
    if not rows or not metrics:
        return None
    caption = "The same networks with the threshold 0.5 for every label"
    return metrics_table("thresholds_half", caption, ["Network", *map(metric_name, metrics)], rows)


def metrics_table(name: str, caption: str, head: Sequence[str], rows: Iterable[tuple[str, Sequence[object]]]) -> Table:
    """A table of a row of metrics for each network."""
    found = [(network_name(first), cells) for first, cells in rows]
    return Table(
        name,
        caption,
        list(head),
        [[first, *map(decimal, cells)] for first, cells in found],
        [["", *map(interval, cells)] for _, cells in found],
        [
            [f"{column}{end}" for column in head for end in ("", *(("_low", "_high") if column != "Network" else ()))],
            *([first, *(limit for cell in cells for limit in raw_limits(cell))] for first, cells in found),
        ],
    )


def every_metric(run: Run) -> list[str]:
    """The test metrics that any network has."""
    return list(dict.fromkeys(metric for results in run.networks.values() for metric in mapping(results, "test")))


def label_tables(run: Run) -> list[Table]:
    """All of these that the run has, but for the labels of the chosen network, which stand with its answers."""
    return [table for table in (checkpoint_table(run), normal_table(run), half_table(run)) if table is not None]
