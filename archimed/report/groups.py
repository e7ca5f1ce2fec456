"""Results by group in pages: a table of every group beside the number of its cases."""

from collections.abc import Mapping, Sequence
from typing import Any

from archimed.report.reading import Run, mapping
from archimed.report.results import leading_metric
from archimed.report.tables import Table, raw_limits
from archimed.report.words import decimal, interval, metric_name, network_name


def group_tables(run: Run) -> list[Table]:
    """The `groups` of summary.json in the metric of the headline, of several data sets one table for each.

    Empty where nothing is known of sex, age or scanner.
    """
    metric, networks = leading_metric(run), list(run.networks)
    several = mapping(run.summary, "datasets")
    found = {f" of {name}": mapping(several, name) for name in several} or {"": run.summary}
    tables = [table_of_groups(listed(told.get("groups")), metric, networks, of) for of, told in found.items()]
    return [table for table in tables if table]


def listed(groups: object) -> Sequence[Mapping[str, Any]]:
    """The groups, none where there are none."""
    return groups if isinstance(groups, list) else []


def table_of_groups(
    groups: Sequence[Mapping[str, Any]], metric: str, networks: Sequence[str], of: str = ""
) -> Table | None:
    """Groups by networks in one metric, with intervals below; None without groups.

    `of` names the data set, as in " of cells".
    """
    if not groups:
        return None
    rows, details, raw = [], [], []
    for group in groups:
        cells = [mapping(mapping(group, "networks"), name).get(metric) for name in networks]
        few = ": too few to say much" if group.get("too_few") else ""
        rows.append([f"{group['by']}: {group['group']}", f"{group['cases']}{few}", *map(decimal, cells)])
        details.append(["", "", *map(interval, cells)])
        limits = [limit for cell in cells for limit in raw_limits(cell)]
        raw.append([group["by"], group["group"], group["cases"], *limits])
    columns = [f"{name}{end}" for name in networks for end in ("", "_low", "_high")]
    caption = f"{metric_name(metric)} by group{of}, with 95 % intervals below"
    head = ["Group", "Test cases", *map(network_name, networks)]
    return Table(f"groups{of}", caption, head, rows, details, [["by", "group", "cases", *columns], *raw])
