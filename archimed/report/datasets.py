"""Results of a run of several data sets: one column and one figure for each, the mean over them first."""

from collections.abc import Sequence

from archimed.report.figures.canvas import Figure
from archimed.report.figures.results import forest
from archimed.report.reading import Run, mapping
from archimed.report.results import leading_metric, metrics_of
from archimed.report.tables import Table, raw_limits
from archimed.report.words import cell_of, decimal, interval, metric_name, network_name


def dataset_names(run: Run) -> list[str]:
    """The data sets of a run of several by which summary.json tells results; [] for a run of one."""
    names = dict.fromkeys(name for results in run.networks.values() for name in mapping(results, "datasets"))
    return list(names) if len(names) > 1 else []


def dataset_tables(run: Run) -> list[Table]:
    """For each of the first metrics the networks by data sets, the mean over them first."""
    names = dataset_names(run)
    return [metric_table(run, metric, names) for metric in metrics_of(run)[:2]] if names else []


def metric_table(run: Run, metric: str, names: Sequence[str]) -> Table:
    """One metric: a row for each network, a column for each data set."""
    rows, details, raw = [], [], []
    for network, results in run.networks.items():
        sets = mapping(results, "datasets")
        cells = [cell_of(results, "test", metric), *(cell_of(mapping(sets, name), "test", metric) for name in names)]
        rows.append([network_name(network), *map(decimal, cells)])
        details.append(["", *map(interval, cells)])
        raw.append([network, *(limit for cell in cells for limit in raw_limits(cell))])
    columns = [f"{name}{end}" for name in ("mean", *names) for end in ("", "_low", "_high")]
    caption = f"{metric_name(metric)} on the test cases of each data set, with 95 % intervals below"
    head = ["Network", "Mean of data sets", *names]
    return Table(f"data_sets_{metric}", caption, head, rows, details, [["network", *columns], *raw])


def dataset_forests(run: Run) -> list[Figure]:
    """One forest plot of the leading metric for each data set."""
    metric = leading_metric(run)
    figures = []
    for place, name in enumerate(dataset_names(run), start=1):
        rows = [
            (network_name(network), cell_of(mapping(mapping(results, "datasets"), name), "test", metric))
            for network, results in run.networks.items()
        ]
        reading = f"{metric_name(metric)} on the test cases of {name} alone, with 95 % intervals."
        figure = forest(f"data_set_{place}", name, metric_name(metric), rows, reading)
        figures += [figure] if figure else []
    return figures
