"""Results of a segmentation by class and by case, with what the rule for empty masks did."""

from collections.abc import Mapping

from archimed.report.datasets import dataset_names
from archimed.report.figures.canvas import Figure
from archimed.report.figures.strips import strip_figure
from archimed.report.reading import Record, Run, mapping, number
from archimed.report.tables import Table, metric_heads, raw_limits
from archimed.report.words import count, decimal, interval, metric_order, network_name


def mask_class_tables(run: Run) -> list[Table]:
    """Test results of every network by class, one table for each data set; none for other tasks."""
    if run.task.kind != "segmentation":
        return []
    return [found for dataset in datasets_of(run) if (found := mask_class_table(run, dataset)) is not None]


def mask_class_table(run: Run, dataset: str) -> Table | None:
    """Classes by networks and metrics, and how many answers the rule for empty masks touched."""
    rows, details, raw = [], [], []
    results = {name: on_dataset(network, dataset) for name, network in run.networks.items()}
    classes = {name: mapping(mapping(one, "classes"), "test") for name, one in results.items()}
    names = list(dict.fromkeys(name for one in classes.values() for name in one))
    metrics = metric_order(metric for one in classes.values() for name in one for metric in mapping(one, name))
    for of_class in names:
        for network, found in results.items():
            cells = [mapping(classes[network], of_class).get(metric) for metric in metrics]
            counts = mapping(mapping(found, "left_out"), of_class)
            touched = [counts.get(key) for key in ("missed", "invented", "absent")]
            rows.append([of_class, network_name(network), *map(decimal, cells), *map(count, touched)])
            details.append(["", "", *map(interval, cells), "", "", ""])
            raw.append([of_class, network, *(limit for cell in cells for limit in raw_limits(cell)), *touched])
    if not rows:
        return None
    columns = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    heads = metric_heads(metrics, next(iter(results.values())))
    return Table(
        f"classes{f'_{dataset}' if dataset else ''}",
        f"Test results by class{f' on {dataset}' if dataset else ''}, with 95 % intervals below. Missed: answers that "
        "hold nothing of a class that is there; invented: answers with a class that is not; left out: answers that "
        "rightly hold nothing of it",
        ["Class", "Network", *heads, "Missed", "Invented", "Left out"],
        rows,
        details,
        [["class", "network", *columns, "missed", "invented", "left_out"], *raw],
    )


def case_strips(run: Run) -> list[Figure]:
    """The Dice of every test case by network, one figure for each data set; none for other tasks."""
    figures = []
    for dataset in datasets_of(run):
        label = f"Dice of each test case{f' of {dataset}' if dataset else ''}"
        figure = strip_figure(f"case_dice{f'_{dataset}' if dataset else ''}", label, "Dice", case_dice(run, dataset))
        figures += [figure] if figure else []
    return figures


def datasets_of(run: Run) -> list[str]:
    """The data sets that results are told by; of a run of one, an empty name."""
    return dataset_names(run) or [""]


def on_dataset(network: Record, dataset: str) -> Mapping[str, object]:
    """The results of a network on one data set; all of them for an empty name."""
    return mapping(mapping(network, "datasets"), dataset) if dataset else network


def case_dice(run: Run, dataset: str) -> dict[str, list[float]]:
    """The Dice of each test case by network: the mean over its classes, then over the trainings that tested it."""
    found: dict[str, list[float]] = {}
    for name in run.networks:
        by_case: dict[str, list[float]] = {}
        for repeat in run.repeats(name):
            if repeat.dataset == dataset:
                for case, values in scores_of_cases(repeat.scores).items():
                    by_case.setdefault(case, []).append(sum(values) / len(values))
        found[name] = [sum(values) / len(values) for values in by_case.values()]
    return {name: values for name, values in found.items() if values}


def scores_of_cases(lines: tuple[Record, ...]) -> dict[str, list[float]]:
    """The defined Dice of the classes of each case."""
    found: dict[str, list[float]] = {}
    for line in lines:
        value = number(line.get("dice"))
        if value is not None:
            found.setdefault(str(line.get("case")), []).append(value)
    return found
