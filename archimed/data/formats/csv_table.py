"""CSV tables of image files.

Columns: `image`, or `image_<modality>` for each modality (a path, counted from the table's folder, of an image file or
of the folder of a DICOM series); and either `label` (a class), `label_<name>` (0, 1, or empty where unknown) for each
label of a multi-label task, or `mask` (what to segment). Optional are `patient`, `split` (train, validation or val,
test), `fold`, `region` (a mask to whose surroundings images are cropped), `lesion_area` (share of the image, 0 to 1),
`sex`, `age` (years) and `scanner` (by which results are told apart), and `id` (else case-00001, ... by row). Other
columns are left alone, unless `data.columns` or `data.label_columns` name them.
"""

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TextIO

from archimed.data.dataset import Case
from archimed.data.formats.csv_columns import GROUPS, Columns, Row, Source, find_columns
from archimed.data.formats.fields import (
    LONGEST_NAME,
    age_text,
    class_name,
    exists,
    file_path,
    label_value,
    lesion_area,
    short_name,
    split_name,
    whole,
)
from archimed.data.formats.listing_rules import apply_rules, channel_kind
from archimed.data.listing import Entry, Listing, Modality
from archimed.data.problems import Problems
from archimed.data.readers.voxels import check_room
from archimed.data.settings import DataSettings
from archimed.errors import DataError

MOST_BYTES = 2**28  # of a table: some million cases
MOST_COLUMNS = 10_000
LONGEST_ROW = 2**20  # characters
CASE_BYTES = 1000  # of memory that a case takes; 855 were measured for short paths


def list_csv(path: Path, settings: DataSettings, problems: Problems, *, labelled: bool = True) -> Listing:
    """The cases of one table; flaws of single rows are reported to `problems`, of the table raised as DataError.

    A table that is not `labelled` needs no labels and no masks; those that it has are passed over.
    """
    fields = _fields(path)
    header = tuple(name.strip() for name in next(fields, (0, []))[1])
    columns = find_columns(header, settings, path, labelled=labelled)
    may_lack = settings.missing_modality != "error"
    entries: list[Entry] = []
    ids: set[str] = set()
    row = None
    for row in _rows(header, fields, path):
        try:
            entry = _entry(row, columns, path.parent, may_lack)
            if entry.case.id in ids:
                raise DataError(f"Ids must be unique; {row.origin} repeats {entry.case.id[:50]!r}. Rename one.")
        except DataError as error:
            problems.fatal(str(error))
        else:
            ids.add(entry.case.id)
            entries.append(entry)
    if row is None:
        raise DataError(f"A table needs at least one row below its header; {path} has none. Add the images.")
    if not entries:
        raise DataError(f"A table needs rows that can be used; none of the {row.number} rows of {path} can.")
    listing = Listing(
        name=path.stem,
        source_kind="csv",
        entries=tuple(entries),
        modalities=tuple(
            Modality(short_name(name, "a modality", path.name), channel_kind(name)) for name in columns.images
        ),
        label_names=tuple(columns.labels),
        patients_known="patient" in columns.roles,
    )
    return apply_rules(listing, settings, problems)


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number of the last line and fields of each row, the header first; by commas, semicolons or tabs.

    A row is read when it is asked for, and none is longer than `LONGEST_ROW`.
    """
    try:
        _check_size(path)
        with path.open(encoding="utf-8-sig") as file:
            lines = _Lines(file)
            first = next(lines, "")
            delimiter = max(",;\t", key=first.count)
            reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
            for fields in reader:
                lines.taken = 0
                if len(fields) > MOST_COLUMNS:
                    raise csv.Error(f"more than {MOST_COLUMNS:,} columns")
                yield reader.line_num, fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"A table must be UTF-8 text with one row per line; {path} is not ({error}).") from error


class _Lines:
    """Lines of a file; csv.Error if one, or what was taken since `taken` was 0, is longer than a row may be."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.taken = file, 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.file.readline(LONGEST_ROW + 1)
        self.taken += len(line)
        if self.taken > LONGEST_ROW:
            raise csv.Error(f"a row of more than {LONGEST_ROW:,} characters")
        if not line:
            raise StopIteration
        return line


def _check_size(path: Path) -> None:
    """DataError if the table is too large, or has more lines than there is memory for as many cases."""
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"A table has at most {MOST_BYTES >> 20} MiB; {path} is larger. Divide it.")
    with path.open("rb") as file:
        lines = sum(piece.count(b"\n") + piece.count(b"\r") for piece in iter(lambda: file.read(2**20), b""))
    try:
        check_room(lines * CASE_BYTES)
    except ValueError as error:
        raise DataError(f"The cases of a table must fit into memory; {path} has {lines:,} lines ({error}).") from None


def _rows(header: tuple[str, ...], fields: Iterator[tuple[int, list[str]]], path: Path) -> Iterator[Row]:
    """The rows that are not blank; DataError if one has another number of fields than the header."""
    number = 0
    for line, values in fields:
        if not any(value.strip() for value in values):
            continue
        number += 1
        origin = f"line {line} of {path.name}"
        if len(values) != len(header):
            raise DataError(
                f"Every row needs the {len(header)} fields of the header; {origin} has {len(values)}. Put fields "
                "that hold the separator in double quotes."
            )
        yield Row(number, origin, dict(zip(header, values, strict=True)))


def _entry(row: Row, columns: Columns, folder: Path, may_lack: bool) -> Entry:
    """The case of a row; with `may_lack`, files that a template names and that do not exist count as missing."""
    case_id = columns.text("id", row) or f"case-{row.number:05d}"
    images = tuple(_image(source, name, row, folder, may_lack) for name, source in columns.images.items())
    case = Case(
        id=case_id,
        patient=_patient(row, columns) or case_id,
        file=images[0] if len(images) == 1 else None,
        split=split_name(columns.text("split", row), row.origin),
        fold=whole(columns.text("fold", row)) or None,
        lesion_area=lesion_area(columns.text("lesion_area", row), row.origin),
        groups=_groups(row, columns),
        origin=row.origin,
    )
    region = columns.text("region", row)
    return Entry(
        case=case,
        images=images,
        label=_label(row, columns),
        mask=_mask(row, columns, folder),
        region=file_path(region, folder, "the region", row.origin) if region else None,
    )


def _groups(row: Row, columns: Columns) -> dict[str, str]:
    """What a row says of sex, age and scanner; nothing of those that it leaves open."""
    found = {name: columns.text(name, row) for name in GROUPS}
    found["age"] = age_text(found["age"])
    return {name: text[:LONGEST_NAME] for name, text in found.items() if text}


def _image(source: Source, name: str, row: Row, folder: Path, may_lack: bool) -> Path | None:
    text = source.of(row)
    if not text:
        return None
    path = file_path(text, folder, name, row.origin)
    return None if may_lack and source.template is not None and not exists(path) else path


def _patient(row: Row, columns: Columns) -> str:
    patient = columns.text("patient", row)
    if not patient and "patient" in columns.roles:
        raise DataError(f"Every row needs a patient where the column exists; {row.origin} has none. Fill it in.")
    return patient


def _label(row: Row, columns: Columns) -> str | tuple[float, ...] | None:
    if columns.labels:
        return tuple(
            label_value(source.of(row), f"label {name!r}", row.origin) for name, source in columns.labels.items()
        )
    return class_name(columns.text("label", row), row.origin) if "label" in columns.roles else None


def _mask(row: Row, columns: Columns, folder: Path) -> Path | None:
    if "mask" not in columns.roles:
        return None
    text = columns.text("mask", row)
    if not text:
        raise DataError(f"Every row needs a mask; {row.origin} has none. Fill in its path or remove the row.")
    return file_path(text, folder, "the mask", row.origin)
