"""What the report says of settings of training that were tried for every network."""

from collections.abc import Sequence

from archimed.report.reading import Record, Run, mapping, number
from archimed.report.tables import Table
from archimed.report.words import decimal, listing, metric_name, network_name
from archimed.task import LOWER_IS_BETTER

WORDS = {
    "batch_size": "Batch size",
    "learning_rate": "Learning rate",
    "weight_decay": "Weight decay",
    "image_size": "Image size",
}


def tuned_words(run: Run) -> str:
    """In a sentence what was tried and how it was chosen; empty for a run without trials."""
    if not run.trials:
        return ""
    names = [WORDS[name].lower() for name in WORDS if any(name in mapping(line, "settings") for line in run.trials)]
    asked = mapping(run.experiment, "tune").get("trials")
    return (
        f"For each of them {asked} choices of {listing(names)} were tried, and the one of the best "
        f"{metric_name(str(run.trials[0].get('metric')))} on the validation cases was taken; test cases had no say."
    )


def tuning_table(run: Run) -> Table | None:
    """The settings that every network was trained by; the file has all trials."""
    places: dict[tuple[str, str, str], list[Record]] = {}
    for line in run.trials:
        key = (str(line.get("network")), str(line.get("dataset") or ""), str(line.get("fold", "")))
        places.setdefault(key, []).append(line)
    if not places:
        return None
    rows = []
    for (network, dataset, fold), trials in places.items():
        best = max(trials, key=rank)
        settings = mapping(best, "settings")
        where = f"{f', {dataset}' if dataset else ''}{f', fold {fold}' if len({key[2] for key in places}) > 1 else ''}"
        shown = [words(settings, name) for name in WORDS]
        rows.append(
            [f"{network_name(network)}{where}", *shown, decimal(best.get("value")), decimal(trials[0].get("value"))]
        )
    metric = metric_name(str(run.trials[0].get("metric")))
    head = ["Network", *WORDS.values(), f"Validation {metric}", "By the recipe as it is"]
    return Table("tuning", "The settings of training that were chosen for each network", head, rows, (), raw(run))


def rank(trial: Record) -> float:
    """The value of a trial, the higher the better; the lowest where it failed."""
    value = number(trial.get("value"))
    if value is None:
        return float("-inf")
    return -value if trial.get("metric") in LOWER_IS_BETTER else value


def words(settings: Record, name: str) -> str:
    """A setting in words."""
    if name not in settings:
        return "as the data"
    value = settings[name]
    return "as the data" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def raw(run: Run) -> list[Sequence[object]]:
    """Every trial."""
    keys = ("network", "dataset", "fold", "trial", "metric", "value", "best_epoch", "epochs", "seconds", "failed")
    lines = [
        [*(line.get(key) for key in keys), *(mapping(line, "settings").get(name) for name in WORDS)]
        for line in run.trials
    ]
    return [[*keys, *WORDS], *lines]
