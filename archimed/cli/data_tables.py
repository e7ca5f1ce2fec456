"""What `archimed data check` found, as tables for a person."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archimed.data.inspection.check import DataCheck
    from archimed.data.problems import Problem

MOST_ALIKE = 20  # problems of one kind that are shown
Cells = Sequence[str]
Data = Mapping[str, Any]

SOURCES = {
    "medmnist": "MedMNIST file",
    "csv": "table",
    "folders": "folders of classes",
    "masks": "images and masks by file name",
    "nnunet": "nnU-Net folder",
    "datalist": "MONAI datalist",
    "phantom": "synthetic",
    "object": "object of Python",
    "image": "one image, without labels",
}
CHOOSABLE = ("csv", "folders", "datalist")  # where data.positive_class has a say
KINDS = {"ct": "CT", "pet": "PET", "mr": "MR", "other": ""}


def show_check(found: "DataCheck") -> None:
    """Print tables, problems and the verdict on stdout."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=False)
    if found.data is not None:
        _print_facts(console, facts(found.data))
        if "task" in found.data:
            _print_table(console, class_table(found.data))
        _print_table(console, channel_table(found.data))
    shown, hidden = first_of_each_kind(found.problems)
    for problem in shown:
        sign = "ERROR" if problem.fatal else "note"
        console.print(Text(f"{sign}: {problem.message}", style="bold" if problem.fatal else ""), soft_wrap=True)
    for rule, count in hidden.items():
        console.print(Text(f"and {count} more: {rule} (all of them with --json)"), soft_wrap=True)
    console.print("A run would stop at the errors above." if found.fatal else "Ready for a run.")


def _print_facts(console: Any, rows: Sequence[Cells]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def _print_table(console: Any, rows: Sequence[Cells]) -> None:
    """The first row is the head; numbers to the right, the first column to the left."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for number, head in enumerate(rows[0]):
        table.add_column(Text(head), justify="right" if number else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def facts(data: Data) -> list[Cells]:
    """Name and value of everything that is one line."""
    rows = [("data", f"{data['name']} ({SOURCES.get(data['source_kind'], data['source_kind'])})")]
    if "task" in data:
        names = data["task"]["class_names"]
        rows.append(("task", f"{data['task']['kind']}, {len(names)} {_parts(data['task']['kind'])}"))
        if data["task"]["kind"] == "binary":
            other = " (else: --set data.positive_class=NAME)" if data["source_kind"] in CHOOSABLE else ""
            rows.append(("positive", f"{names[-1]}{other}"))
        patients = data["patients"]
        rows.append(("cases", f"{data['cases']} of {patients} patients" if patients else f"{data['cases']}"))
        if not patients:
            rows.append(("patients", "not given: each case counts as one"))
        if data["folds"] != 1:
            rows.append(("folds", f"{data['folds']}" + (", the first one below" if data["folds"] else "")))
    sizes = data["images"]["shapes"]
    rows.append(("size", _span(sizes, " x ", str)))
    rows.append(("stored as", data["images"]["type"]))
    rows.append(("spacing", _spacing(data["spacing_mm"], data["cases"])))
    if data.get("lesion_area"):
        rows.append(("lesion area", f"known for {data['lesion_area']} cases"))
    if "duplicates" in data:
        rows += _duplicate_facts(data["duplicates"])
    return [*rows, *(("remark", remark) for remark in data.get("remarks", ()))]


def _parts(kind: str) -> str:
    return {"multi-label": "labels", "ordinal": "grades"}.get(kind, "classes")


def _span(values: Data, sign: str, write: Any) -> str:
    """Smallest, median and largest along each axis; one of them if they are the same."""
    smallest, median, largest = (sign.join(map(write, values[name])) for name in ("smallest", "median", "largest"))
    return smallest if smallest == largest else f"{smallest} to {largest} (median {median})"


def _spacing(spacing: Data | None, cases: int) -> str:
    if spacing is None:
        return "not given"
    unknown = f", not given for {spacing['unknown']} of {cases}" if spacing["unknown"] else ""
    return f"{_span(spacing, ' x ', '{:.3g}'.format)} mm{unknown}"


def _duplicate_facts(duplicates: Data) -> list[tuple[str, str]]:
    rows = []
    for name, found, across in (
        ("equal images", duplicates["equal_images"], duplicates["equal_across_splits"]),
        ("look alike", duplicates["alike_pairs"], duplicates["alike_across_splits"]),
    ):
        unit = "" if name == "equal images" else " pairs"
        rows.append((name, f"{found}{unit}, {across} of them across splits" if found else "none"))
    return rows


def class_table(data: Data) -> list[Cells]:
    """Cases of each class by split, with what is unknown and the area covered."""
    splits = data["counts"] or {"all": {}}
    unknown, voxels = data["unknown_labels"], data["voxels"]
    more = [*(["unknown"] if unknown else []), *(["area"] if voxels else [])]
    head = {"multi-label": "label", "segmentation": "class (cases with it)"}.get(data["task"]["kind"], "class")
    rows: list[Cells] = [[head, *splits, *more]]
    for name in data["task"]["class_names"]:
        extra = [*([str(unknown[name])] if unknown else []), *([_percent(voxels[name])] if voxels else [])]
        rows.append([name, *(str(counts.get(name, "")) for counts in splits.values()), *extra])
    if data["splits"]:
        rows.append(["cases", *(str(sizes["cases"]) for sizes in data["splits"].values()), *("" for _ in more)])
        if data["patients"]:
            rows.append(
                ["patients", *(str(sizes["patients"]) for sizes in data["splits"].values()), *("" for _ in more)]
            )
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def channel_table(data: Data) -> list[Cells]:
    """Range of values of each channel."""
    rows: list[Cells] = [["channel", "kind", "min", "1 %", "median", "99 %", "max", "unit"]]
    for name, values in data["channels"].items():
        numbers = [_number(values[key]) for key in ("min", "p1", "median", "p99", "max")]
        rows.append([name, KINDS[values["kind"]], *numbers, values["unit"]])
    used = [k for k in range(len(rows[0])) if k < 1 or any(row[k] for row in rows[1:])]
    return [[row[k] for k in used] for row in rows]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}" if abs(value) < 1e4 else f"{value:.6g}"


def first_of_each_kind(problems: Sequence["Problem"]) -> tuple[list["Problem"], dict[str, int]]:
    """The first problems of each kind (those that state one rule), and how many more of it there are."""
    shown: list[Problem] = []
    seen: Counter[str] = Counter()
    for problem in problems:
        rule = problem.message.partition(";")[0].partition(":")[0]
        seen[rule] += 1
        if seen[rule] <= MOST_ALIKE:
            shown.append(problem)
    return shown, {rule: count - MOST_ALIKE for rule, count in seen.items() if count > MOST_ALIKE}
