"""CSV tables of image files.

Columns: `image`, or `image_<modality>` for each modality (a path, counted from the table's folder, of an image file or
of the folder of a DICOM series); and either `label` (a class), `label_<name>` (0, 1, or empty where unknown) for each
label of a multi-label task, or `mask` (what to segment). Optional are `patient`, `split` (train, validation or val,
test), `fold`, `region` (a mask to whose surroundings images are cropped), `lesion_area` (share of the image, 0 to 1),
`sex`, `age` (years) and `scanner` (by which results are told apart), and `id` (else case-00001, ... by row). Other
columns are left alone, unless `data.columns` or `data.label_columns` name them.
"""

import csv
import io
from pathlib import Path

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
from archimed.data.settings import DataSettings
from archimed.errors import DataError


def list_csv(path: Path, settings: DataSettings, problems: Problems, *, labelled: bool = True) -> Listing:
    """The cases of one table; flaws of single rows are reported to `problems`, of the table raised as DataError.

    A table that is not `labelled` needs no labels and no masks; those that it has are passed over.
    """
    header, rows = _read_rows(path)
    columns = find_columns(header, settings, path, labelled=labelled)
    if not rows:
        raise DataError(f"A table needs at least one row below its header; {path} has none. Add the images.")
    may_lack = settings.missing_modality != "error"
    entries: list[Entry] = []
    ids: set[str] = set()
    for row in rows:
        try:
            entry = _entry(row, columns, path.parent, may_lack)
            if entry.case.id in ids:
                raise DataError(f"Ids must be unique; {row.origin} repeats {entry.case.id!r}. Rename one.")
        except DataError as error:
            problems.fatal(str(error))
        else:
            ids.add(entry.case.id)
            entries.append(entry)
    if not entries:
        raise DataError(f"A table needs rows that can be used; none of the {len(rows)} rows of {path} can.")
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


def _read_rows(path: Path) -> tuple[tuple[str, ...], list[Row]]:
    """Column names and rows that are not blank; separated by commas, semicolons or tabs."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
        header = tuple(name.strip() for name in next(reader, []))
        rows: list[Row] = []
        for fields in reader:
            if not any(value.strip() for value in fields):
                continue
            origin = f"line {reader.line_num} of {path.name}"
            if len(fields) != len(header):
                raise DataError(
                    f"Every row needs the {len(header)} fields of the header; {origin} has {len(fields)}. Put fields "
                    "that hold the separator in double quotes."
                )
            rows.append(Row(len(rows) + 1, origin, dict(zip(header, fields, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"A table must be UTF-8 text with one row per line; {path} is not ({error}).") from error
    return header, rows


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
