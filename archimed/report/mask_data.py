"""What the report says about the data of a segmentation: classes of the masks, sizes and spacing."""

from collections.abc import Mapping, Sequence

from archimed.report.background import SPLITS
from archimed.report.reading import Record, Run, mapping, number
from archimed.report.tables import Table
from archimed.report.words import count

FORMS = ("smallest", "median", "largest")


def mask_data_tables(run: Run) -> list[Table]:
    """The data sets side by side, then the classes of each; [] for other tasks."""
    if run.task.kind != "segmentation":
        return []
    found = [form_table(run.datasets)]
    several = len(run.datasets) > 1
    for place, (name, data) in enumerate(run.datasets.items(), start=1):
        suffix = f"_{place}" if several else ""
        found.append(class_table(data, f"{name}: the" if several else "The", suffix))
    return [table for table in found if table.rows]


def form_table(datasets: Mapping[str, Record]) -> Table:
    """One row for each data set: its cases, the sizes of its images, and what a pixel measures."""
    head = ["Data set", "Cases", "Patients", "Training", "Validation", "Test", "Channels", "Pixels", "Spacing in mm"]
    rows = []
    for name, data in datasets.items():
        splits = [count(mapping(mapping(data, "splits"), split).get("cases")) for split in SPLITS]
        patients = count(data.get("patients")) or "not known"
        sizes = span_words(mapping(mapping(data, "images"), "shapes"))
        spacing = span_words(mapping(data, "spacing_mm")) or "not known"
        channels = ", ".join(map(str, mapping(data, "channels")))
        rows.append([name, count(data.get("cases")), patients, *splits, channels, sizes, spacing])
    return Table("data_sets", "Cases, image sizes (smallest – median – largest) and spacing", head, rows)


def span_words(sizes: Record) -> str:
    """Sizes along the axes: "256 × 256" if all are alike, else the smallest, the median and the largest."""
    found = [axes(sizes.get(which)) for which in FORMS]
    told = list(dict.fromkeys(words for words in found if words))
    return " – ".join(told)


def axes(lengths: object) -> str:
    """Lengths along the axes, as "1 × 0.7 × 0.7"."""
    numbers = [number(length) for length in lengths] if isinstance(lengths, list) else []
    return " × ".join(f"{length:.4g}" for length in numbers if length is not None)


def class_table(data: Record, start: str, suffix: str) -> Table:
    """The classes of a data set's masks: in how many cases they occur, and how much of all pixels they are."""
    counts, shares = mapping(data, "counts"), mapping(data, "voxels")
    splits = [split for split in SPLITS if mapping(counts, split)]
    names = list(dict.fromkeys([*shares, *(name for split in splits for name in mapping(counts, split))]))
    rows: list[Sequence[str]] = [
        [name, percent_words(number(shares.get(name))), *(count(mapping(counts, split).get(name)) for split in splits)]
        for name in names
    ]
    head = ["Class", "Share of pixels", *(f"{SPLITS[split]} cases with it" for split in splits)]
    raw: list[Sequence[object]] = [
        ["class", "share", *splits],
        *([name, shares.get(name), *(mapping(counts, split).get(name) for split in splits)] for name in names),
    ]
    return Table(f"mask_classes{suffix}", f"{start} classes of the masks", head, rows, (), raw)


def percent_words(share: float | None) -> str:
    """A share in per cent, with two digits where it is small."""
    return "" if share is None else f"{100 * share:.3g} %"
