"""Writes the page of a comparison of runs: compare.html, figures/*.svg and tables/*.csv, from comparison.json alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archimed.report.figures.canvas import Figure
from archimed.report.figures.comparing import difference_figure, seed_figure
from archimed.report.figures.results import cost_figure
from archimed.report.reading import Record, number
from archimed.report.report import write_page
from archimed.report.tables import Table, raw_limits
from archimed.report.words import (
    GLOSSARY,
    amount,
    decimal,
    interval,
    listing,
    metric_name,
    metric_order,
    network_name,
    p_words,
    span_words,
)
from archimed.task import LOWER_IS_BETTER

TERMS = ("95 % interval", "Inside the noise", "Baseline", "MACs", "Seed, repeat")
OWN_TERMS: Mapping[str, str] = {
    "Paired bootstrap": "The test cases are drawn again and again, the same ones for both networks, and the seeds of "
    "each. p tells how often the difference is then none, or the other way round.",
    "Rank test (Mann-Whitney U)": "Whether the trainings of one network end above those of the other. It sees the luck "
    "of training alone, not that of the test cases, and needs many seeds: five against five cannot give a p below "
    "0.008.",
    "Holm's correction": "Of many comparisons some look large by chance. The smallest p is multiplied by the number of "
    "comparisons, the next by one less, and so on.",
    "Delta": "Cliff's delta, the same as the rank-biserial correlation: how much oftener a training of the first "
    "network is above one of the second than below. 1: always above; 0: as often as not; \u22121: always below.",
}
HEADS: Mapping[str, str] = {
    "network": "Network",
    "metric": "Metric",
    "value": "Difference",
    "limits": "Interval",
    "p": "p, bootstrap",
    "p_holm": "p, Holm",
    "beyond_noise": "Beyond the noise",
    "rank_p": "p, ranks",
    "rank_p_holm": "p, ranks, Holm",
    "rank_smallest_p_holm": "Smallest possible",
    "delta": "Delta",
    "effect": "Effect",
}
P_VALUES = frozenset({"p", "p_holm", "rank_p", "rank_p_holm", "rank_smallest_p_holm"})


@dataclass(frozen=True)
class Matrix:
    """p-values of all pairs in one metric: the names, and by row the cells as text and whether each is below alpha."""

    metric: str
    table: Table
    below: Sequence[Sequence[bool]]


def write_comparison(folder: Path, document: Record, links: Mapping[str, str]) -> Path:
    """Write the page of a comparison beside its comparison.json, and return its path.

    Args:
        folder: where it goes.
        document: the content of comparison.json.
        links: run -> way to its report from the folder; empty where there is none.
    """
    return write_page(folder / "compare.html", contents(document, links), "compare.html")


def contents(document: Record, links: Mapping[str, str]) -> dict[str, Any]:
    """Everything that the page shows, by the names that the template uses."""
    reference, metrics = document["reference"], document["metrics"]
    networks, rows = document["networks"], document["comparisons"]
    methods = list(dict.fromkeys(network_name(row["network"]) for row in rows))
    titled = f"{listing(methods)} against {network_name(reference)}" if methods else network_name(reference)
    return {
        "title": f"{titled} on {document['data']}",
        "facts": facts(document),
        "headline": headline(document),
        "verdict": document["verdict"],
        "notes": document["notes"],
        "reference": network_name(reference),
        "reference_chosen": document["reference_chosen"],
        "alpha": f"{1 - document['confidence']:.2g}",
        "networks": network_table(networks, document),
        "comparisons": comparison_table(rows, reference),
        "differences": drawn(
            difference_figure(metric, [row for row in rows if row["metric"] == metric], reference) for metric in metrics
        ),
        "seeds": drawn(seed_figure(metric, networks, reference) for metric in metrics),
        "cost": drawn([cost_figure(networks, metrics[0])]),
        "matrices": (found := matrices(document)),
        "matrix_tables": [matrix.table for matrix in found],
        "all_pairs": document["all_pairs"],
        "pairs_words": pairs_words(document),
        "by_seed": seed_table(networks, metrics),
        "runs": [{**run, "link": links.get(run["run"], "")} for run in document["runs"]],
        "run_table": run_table(document),
        "resamples": document["resamples"],
        "glossary": {**OWN_TERMS, **{term: GLOSSARY[term] for term in TERMS}},
    }


def drawn(figures: Any) -> list[Figure]:
    """The figures that there are."""
    return [figure for figure in figures if figure is not None]


def facts(document: Record) -> list[tuple[str, str]]:
    """What was compared, as short pairs of words."""
    seeds = {name: len(part["seeds"]) for name, part in document["networks"].items()}
    spread = span_words(min(seeds.values()), max(seeds.values()))
    return [
        ("Data", str(document["data"])),
        ("Test cases", str(document["test_cases"])),
        ("Runs", str(len(document["runs"]))),
        ("Networks", str(len(seeds))),
        ("Seeds of each", spread),
        ("Reference", network_name(document["reference"])),
        *([("Weights kept by", metric_name(document["checkpoint"]))] if document["checkpoint"] else []),
    ]


def headline(document: Record) -> dict[str, str]:
    """How many methods are better than the reference beyond the noise, in the first metric."""
    metric = document["metrics"][0]
    rows = [row for row in document["comparisons"] if row["metric"] == metric]
    better = [row for row in rows if row["beyond_noise"] and (row["value"] > 0) != (metric in LOWER_IS_BETTER)]
    words = f"better than {network_name(document['reference'])} beyond the noise, in {metric_name(metric)}"
    return {"number": f"{len(better)} of {len(rows)}", "words": words}


def network_table(networks: Mapping[str, Record], document: Record) -> Table:
    """Every network with its seeds, size and test results."""
    every = metric_order({metric for part in networks.values() for metric in part["test"]})
    shown = document["metrics"]
    head = ["Network", "Seeds", *map(metric_name, shown), "Parameters", "MACs"]
    rows, details, raw = [], [], []
    for name, part in networks.items():
        cells = [part["test"].get(metric) for metric in shown]
        sizes = [amount(part["parameters"]), amount(part["macs"])]
        rows.append([network_name(name), str(len(part["seeds"])), *map(decimal, cells), *sizes])
        details.append(["", "", *map(interval, cells), "", ""])
        limits = [limit for metric in every for limit in raw_limits(part["test"].get(metric))]
        raw.append([name, len(part["seeds"]), *limits, part["parameters"], part["macs"]])
    columns = [f"{metric}{end}" for metric in every for end in ("", "_low", "_high")]
    file: list[Sequence[object]] = [["network", "seeds", *columns, "parameters", "macs"], *raw]
    caption = "Test results, means over the seeds, with intervals below"
    return Table("networks", caption, head, rows, details, file)


def comparison_table(rows: Sequence[Record], reference: str) -> Table | None:
    """The tests against the reference."""
    if not rows:
        return None
    cells = [[comparison_cell(row, key) for key in HEADS] for row in rows]
    raw: list[Sequence[object]] = [list(rows[0]), *(list(row.values()) for row in rows)]
    caption = f"Each method minus {network_name(reference)}, on the same test cases"
    return Table("comparisons", caption, list(HEADS.values()), cells, (), raw)


def comparison_cell(row: Record, key: str) -> str:
    """A field of a comparison in words."""
    value = row.get(key)
    if key == "limits":
        low, high = number(row.get("low")), number(row.get("high"))
        return "" if low is None or high is None else span_words(f"{low:.3f}", f"{high:.3f}")
    if key in {"network", "metric"}:
        return (network_name if key == "network" else metric_name)(str(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        return value or ""
    return p_words(value) if key in P_VALUES else decimal(value).replace("-", "\u2212")


def matrices(document: Record) -> list[Matrix]:
    """The p-values of all pairs, a matrix for each metric (the X-ray study's Tables 9-14)."""
    found = document["all_pairs"]
    if not found:
        return []
    alpha = 1 - document["confidence"]
    names = found["networks"]
    made = []
    for metric, lines in found["p"].items():
        rows = [
            [network_name(name), *("" if p is None else f"{p:.4f}" for p in cells)]
            for name, cells in zip(names, lines, strict=True)
        ]
        raw: list[Sequence[object]] = [
            ["network", *names],
            *([n, *cells] for n, cells in zip(names, lines, strict=True)),
        ]
        caption = f"{metric_name(metric)}: p of the rank test over seeds, not corrected"
        table = Table(f"all_pairs_{metric}", caption, ["Network", *map(network_name, names)], rows, (), raw)
        below = [[False, *(p is not None and p < alpha for p in cells)] for cells in lines]
        made.append(Matrix(metric, table, below))
    return made


def pairs_words(document: Record) -> str:
    """What the matrices of all pairs can and cannot show."""
    found = document["all_pairs"]
    if not found:
        return ""
    smallest = found["smallest_p_holm"]
    if smallest is None:
        return "No pair has two seeds on both sides, so no rank test can be made."
    alpha = 1 - document["confidence"]
    words = (
        "These p-values are not corrected, as in the tables of the X-ray study: by chance alone about one pair in "
        f"{round(1 / alpha)} is below {alpha:.2g}. "
    )
    if found["can_be_beyond_noise"]:
        return words + f"Corrected for the number of pairs, {found['pairs']}, p could be {p_words(smallest)} at best."
    return words + (
        f"Corrected for the number of pairs, {found['pairs']}, p could not be below {p_words(smallest)} with this "
        "number of seeds, however large a difference: no pair can be called different."
    )


def seed_table(networks: Mapping[str, Record], metrics: Sequence[str]) -> Table:
    """Every seed of every network."""
    rows = []
    for name, part in networks.items():
        for metric in metrics:
            values = part["by_seed"].get(metric, [])
            rows.append([network_name(name), metric_name(metric), ", ".join(f"{value:.3f}" for value in values)])
    raw: list[Sequence[object]] = [["network", "metric", "value"]]
    raw += [
        [name, metric, value]
        for name, part in networks.items()
        for metric in part["by_seed"]
        for value in part["by_seed"][metric]
    ]
    return Table("seeds", "Test results of every seed", ["Network", "Metric", "Seeds"], rows, (), raw)


def run_table(document: Record) -> Table:
    """The runs, for a file."""
    head = ["run", "method", "seed", "repeats", "archimed"]
    rows = [[str(run.get(key)) for key in head] for run in document["runs"]]
    return Table("runs", "The runs", head, rows)
