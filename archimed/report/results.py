"""What the report says about results: the headline, the table of networks, lesion sizes."""

from collections.abc import Mapping
from dataclasses import dataclass

from archimed.report.reading import Record, Run, mapping, number
from archimed.report.words import (
    LEADING,
    cell_of,
    decimal,
    interval,
    metric_name,
    metric_order,
    network_name,
)


@dataclass(frozen=True)
class Headline:
    """The result in words and numbers."""

    network: str
    metric: str
    value: str
    interval: str
    baseline: str
    verdict: str


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
        words, verdict = "", "No baseline was trained, so the number stands alone."
    else:
        limits = interval(others[best], 2)
        words = f"{network_name(best)}, {decimal(others[best], 2)}{f' ({limits})' if limits else ''}"
        verdict = judge(run, best, metric, own, others[best])
    name = network_name(run.chosen)
    return Headline(name, metric_name(metric), decimal(own, 2), interval(own, 2), words, verdict)


def judge(run: Run, baseline: str, metric: str, own: object, other: object) -> str:
    """Whether the chosen network differs from a baseline, in words.

    The run's own test decides where summary.json holds one; else whether the two intervals overlap.
    """
    mine, theirs = number(own), number(other)
    if mine is None or theirs is None:
        return "The two cannot be compared."
    name = network_name(baseline)
    better = "better" if mine > theirs else "worse"
    found = comparison(run, baseline, metric)
    if found is not None:
        if found.get("inside_noise") is False:
            return f"{better.capitalize()} than {name}, beyond noise."
        return f"Inside the noise of {name}: this run does not show that one is better."
    bounds = [number(cell.get(key)) for cell in (own, other) if isinstance(cell, Mapping) for key in ("low", "high")]
    if len(bounds) == 4 and None not in bounds:
        low, high, other_low, other_high = (bound or 0.0 for bound in bounds)
        if low > other_high or high < other_low:
            return f"{better.capitalize()} than {name}: the intervals do not overlap."
        return f"Inside the noise of {name}: the intervals overlap."
    return f"Not tested against {name}: take the difference as noise."


def comparison(run: Run, baseline: str, metric: str) -> Record | None:
    """The significance test of the chosen network against a baseline, if summary.json has it."""
    wanted = (run.chosen, baseline, metric)
    tests = comparisons(run)
    return next((t for t in tests if (t.get("network"), t.get("against"), t.get("metric")) == wanted), None)


def comparisons(run: Run) -> list[Record]:
    """All significance tests of summary.json."""
    found = run.summary.get("comparisons")
    return [record for record in found if isinstance(record, dict)] if isinstance(found, list) else []


def mask_metric_words(run: Run) -> list[tuple[str, str]]:
    """How to read the metrics of masks, each in a sentence; [] for other tasks."""
    results = run.networks.get(run.chosen, {})
    if run.task.kind != "segmentation":
        return []
    unit = str(results.get("distance_unit") or "pixels")
    tolerance = number(mapping(run.experiment, "evaluation").get("surface_tolerance_mm"))
    one = unit.removesuffix("s") if tolerance == 1 else unit
    within = f"{tolerance:g} {one}" if tolerance is not None else "a tolerance"
    told = {
        "dice": "twice the area that answer and truth share, over the sum of both areas: 1 is the same, 0 is nothing "
        "in common. A pixel more or less weighs much where a structure is small.",
        "jaccard": "the area that both share, over the area of either. It orders networks as Dice does, and is lower.",
        "surface_dice": f"the share of both outlines that lies within {within} of the other one. It tells whether "
        "borders are right, however large the structure.",
        "hausdorff_95": f"how far the outlines are apart, in {unit}, leaving out the worst 5 %: the lower, the better. "
        "A speck far away from the structure makes it large.",
    }
    return [(metric_name(metric), words) for metric, words in told.items() if metric in metrics_of(run)]


def metrics_of(run: Run) -> list[str]:
    """The metrics of the test split that any network has, in the report's order."""
    return metric_order(metric for results in run.networks.values() for metric in mapping(results, "test"))
