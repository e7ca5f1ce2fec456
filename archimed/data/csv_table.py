"""CSV tables of image files.

Columns: `image` (path, counted from the table's folder); `label` (a class) or `label_<name>` (0, 1, or empty where
unknown) for each label of a multi-label task; optionally `patient`, `split` (train, validation or val, test), `fold`,
`lesion_area` (share of the image, 0 to 1) and `id` (else case-00001, ... by row). Other columns are left alone.
"""

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archimed.data.dataset import Case, Dataset, SplitName
from archimed.data.image_files import Entry, Listing, read_listing
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError

SPLIT_WORDS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
LABEL_PREFIX = "label_"
UNKNOWN = ("", "nan", "NaN", "NA")  # how programs write an empty field


def read_csv(path: Path, settings: DataSettings, problems: Problems) -> Dataset:
    """The data set of one table; flaws of single rows are reported to `problems`, of the table raised as DataError."""
    columns, rows = _read_rows(path)
    label_names = tuple(name.removeprefix(LABEL_PREFIX) for name in columns if name.startswith(LABEL_PREFIX))
    _require_columns(columns, label_names, path)
    if not rows:
        raise DataError(f"A table needs at least one row below its header; {path} has none. Add the images.")
    entries: list[Entry] = []
    ids: set[str] = set()
    for row in rows:
        try:
            entry = _entry(row, label_names, path)
            if entry.case.id in ids:
                raise DataError(f"Ids must be unique; {row.origin} repeats {entry.case.id!r}. Rename one.")
        except DataError as error:
            problems.fatal(str(error))
        else:
            ids.add(entry.case.id)
            entries.append(entry)
    if not entries:
        raise DataError(f"A table needs rows that can be used; none of the {len(rows)} rows of {path} can.")
    known = "patient" in columns
    return read_listing(Listing(path.stem, "csv", tuple(entries), label_names, known), settings, problems)


@dataclass(frozen=True)
class _Row:
    number: int
    origin: str
    values: Mapping[str, str]

    def get(self, column: str) -> str:
        """The field without blanks; empty if it, or the column, is missing."""
        value = self.values.get(column, "").strip()
        return "" if value in UNKNOWN else value


def _read_rows(path: Path) -> tuple[tuple[str, ...], list[_Row]]:
    """Column names and rows that are not blank; separated by commas, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
        columns = tuple(name.strip() for name in next(reader, []))
        rows: list[_Row] = []
        for fields in reader:
            if not any(value.strip() for value in fields):
                continue
            origin = f"line {reader.line_num} of {path.name}"
            if len(fields) != len(columns):
                raise DataError(
                    f"Every row needs the {len(columns)} fields of the header; {origin} has {len(fields)}. Put fields "
                    "that hold the separator in double quotes."
                )
            rows.append(_Row(len(rows) + 1, origin, dict(zip(columns, fields, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"A table must be UTF-8 text with one row per line; {path} is not ({error}).") from error
    return columns, rows


def _require_columns(columns: Sequence[str], label_names: Sequence[str], path: Path) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise DataError(f"Column names must be unique; {path} repeats {', '.join(repeated)}. Rename or remove one.")
    found = ", ".join(columns) or "nothing"
    if "image" not in columns:
        raise DataError(
            f"A table needs the column `image` with the path of each image; {path} has {found}."
            f"{_nearest('image', columns)} Rename the column of the paths."
        )
    if ("label" in columns) == bool(label_names):
        number = "both" if label_names else "neither"
        raise DataError(
            f"A table needs either the column `label` or columns `label_<name>`; {path} has {number}: {found}."
            f"{_nearest('label', columns) if not label_names else ''} Rename or remove columns."
        )


def _nearest(name: str, columns: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, [column.lower() for column in columns], n=1)
    return f" Did you mean {next(column for column in columns if column.lower() == near[0])!r}?" if near else ""


def _entry(row: _Row, label_names: Sequence[str], path: Path) -> Entry:
    image = row.get("image")
    if not image:
        raise DataError(f"Every row needs an image; {row.origin} has none. Fill in its path or remove the row.")
    case_id = row.get("id") or f"case-{row.number:05d}"
    split = row.get("split").lower()
    if split and split not in SPLIT_WORDS:
        raise DataError(f"A split is train, validation or test; {row.origin} has {split!r}. Correct it.")
    case = Case(
        id=case_id,
        patient=_patient(row, case_id),
        file=path.parent / Path(image).expanduser(),
        split=SPLIT_WORDS[split] if split else None,
        fold=_whole(row.get("fold")) or None,
        lesion_area=_lesion_area(row),
        origin=row.origin,
    )
    return Entry(case, path.parent / Path(image).expanduser(), _label(row, label_names))


def _patient(row: _Row, case_id: str) -> str:
    if "patient" not in row.values:
        return case_id
    if not row.get("patient"):
        raise DataError(f"Every row needs a patient where the column exists; {row.origin} has none. Fill it in.")
    return row.get("patient")


def _lesion_area(row: _Row) -> float | None:
    text = row.get("lesion_area")
    if not text:
        return None
    area = _number(text)
    if not 0 <= area <= 1:
        raise DataError(
            f"A lesion_area is a share of the image from 0 to 1; {row.origin} has {text!r}. Divide by the image's area."
        )
    return area


def _label(row: _Row, label_names: Sequence[str]) -> str | tuple[float, ...]:
    if label_names:
        return tuple(_known(row, name) for name in label_names)
    label = _whole(row.get("label"))
    if not label:
        raise DataError(f"Every row needs a label; {row.origin} has none. Fill it in or remove the row.")
    if not label.lstrip("+-").isdecimal() and not math.isnan(_number(label)):
        raise DataError(
            f"A label is a class name or a whole number; {row.origin} has {label!r}. Group the values into classes."
        )
    return label


def _known(row: _Row, name: str) -> float:
    text = row.get(LABEL_PREFIX + name)
    value = _number(text)
    if text and value not in (0.0, 1.0):
        raise DataError(
            f"A label_<name> is 0, 1 or empty (unknown); {row.origin} has {text!r} in {LABEL_PREFIX}{name}. Correct it."
        )
    return value


def _whole(text: str) -> str:
    """A number that programs wrote as 3.0 as 3; other text as it is."""
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text


def _number(text: str) -> float:
    """The number, NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
