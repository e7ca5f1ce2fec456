"""Writes the page of a correlation: correlate.html, figures/*.svg and tables/*.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archimed.report.figures.correlating import scatter_figures, tau_figure
from archimed.report.reading import Record, number
from archimed.report.report import write_page
from archimed.report.tables import Table, raw_limits
from archimed.report.words import GLOSSARY, decimal, duration, indicator_name, metric_name, span_words

TERMS = ("95 % interval", "Inside the noise", "Indicator", "MACs", "naswot", "synflow, log_synflow", "Genotype")
OWN_TERMS: Mapping[str, str] = {
    "Kendall's tau": "Of all pairs of networks, the share that an indicator puts in the order of their trained results "
    "minus the share that it puts the other way round. Ties count for neither (tau-b).",
}
LIMITED = ("tau", "above_macs", "above_parameters")


def write_correlation(folder: Path, document: Record, records: Sequence[Record]) -> Path:
    """Write the page of a correlation beside its correlation.json, and return its path.

    Args:
        folder: where it goes.
        document: the content of correlation.json.
        records: the lines of networks.jsonl.
    """
    return write_page(folder / "correlate.html", contents(document, records), "correlate.html")


def contents(document: Record, records: Sequence[Record]) -> dict[str, Any]:
    """Everything that the page shows, by the names that the template uses."""
    metric, indicators = document["metric"], document["indicators"]
    best = best_first(indicators)[0]
    tau = tau_figure(indicators, metric)
    return {
        "title": f"Do indicators rank the networks of {document['space']} on {document['data']}?",
        "facts": facts(document),
        "number": "none"
        if number(indicators[best]["tau"]) is None
        else decimal(indicators[best]["tau"], 2).replace("-", "\u2212"),
        "number_words": "no tau is defined"
        if number(indicators[best]["tau"]) is None
        else f"highest tau, of {indicator_name(best)}",
        "verdict": document["verdict"],
        "notes": document["notes"],
        "metric": metric_name(metric),
        "resamples": document["resamples"],
        "tau": [tau] if tau else [],
        "scatters": scatter_figures(list(indicators), records, metric),
        "agreement": agreement_table(indicators),
        "networks": network_table(document, records),
        "glossary": {**OWN_TERMS, **{term: GLOSSARY[term] for term in TERMS}},
    }


def best_first(indicators: Mapping[str, Record]) -> list[str]:
    """The indicators by tau, those without one last."""
    taus = {name: number(row["tau"]) for name, row in indicators.items()}
    return sorted(taus, key=lambda name: 2.0 if (tau := taus[name]) is None else -tau)


def facts(document: Record) -> list[tuple[str, str]]:
    """What was done, as short pairs of words."""
    return [
        ("Space", str(document["space"])),
        ("Data", str(document["data"])),
        ("Networks", str(document["trained"])),
        ("Epochs of each", str(document["epochs"])),
        ("Validation cases", str(document["validation_cases"])),
        ("Training", duration(document["seconds"]["training"])),
        ("Indicators", duration(document["seconds"]["scoring"])),
        ("Seed", str(document["seed"])),
    ]


def agreement_table(indicators: Mapping[str, Record]) -> Table:
    """Tau of every indicator, and how far it is above that of MACs and of parameters."""
    head = ["Indicator", "Tau", "Above that of MACs", "Above that of parameters", "Networks", "Different values"]
    rows, details, raw = [], [], []
    for name in best_first(indicators):
        row = indicators[name]
        cells = [row[key] for key in LIMITED]
        counts = [row["networks"], row["distinct"]]
        rows.append([indicator_name(name), *map(signed, cells), *map(str, counts)])
        details.append(["", *map(limits_words, cells), "", ""])
        raw.append([name, *(limit for cell in cells for limit in raw_limits(cell)), *counts])
    columns = [f"{key}{end}" for key in LIMITED for end in ("", "_low", "_high")]
    file: list[Sequence[object]] = [["indicator", *columns, "networks", "distinct"], *raw]
    caption = "Kendall's tau between each indicator and the validation result, with intervals below"
    return Table("agreement", caption, head, rows, details, file)


def signed(cell: object) -> str:
    """A tau, or a difference of two, with its sign."""
    value = number(cell)
    return "" if value is None else f"{value:+.2f}".replace("-", "\u2212")


def limits_words(cell: object) -> str:
    """The limits of an interval in words; empty where it has none."""
    low, high = (number(cell.get(key)) if isinstance(cell, Mapping) else None for key in ("low", "high"))
    return "" if low is None or high is None else span_words(f"{low:.2f}", f"{high:.2f}")


def network_table(document: Record, records: Sequence[Record]) -> Table:
    """Every network: indicators, what training gave, and its choices in the file."""
    names = list(document["indicators"])
    metric = document["metric"]
    choices = list(records[0]["genotype"]) if records else []
    head = ["Network", metric_name(metric), *map(indicator_name, names)]
    rows = [
        [
            str(one["number"]),
            decimal(one["validation"].get(metric)),
            *(short(one["indicators"][name]) for name in names),
        ]
        for one in records
    ]
    raw: list[Sequence[object]] = [["number", metric, "best_epoch", *names, *choices]]
    for one in records:
        values = [one["indicators"][name] for name in names]
        raw.append(
            [one["number"], one["validation"].get(metric), one["best_epoch"], *values, *one["genotype"].values()]
        )
    return Table("networks", "Every network drawn", head, rows, (), raw)


def short(value: object) -> str:
    """A number of any size in four digits."""
    found = number(value)
    return "undefined" if found is None else f"{found:.4g}"
