"""Single values of tables, JSON files and folder names: paths, splits, classes, labels."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from archimed.data.dataset import SplitName
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
UNKNOWN = ("", "nan", "NaN", "NA")  # how programs write an empty field
LONGEST_PART, LONGEST_PATH = 255, 4000  # bytes of a file's name and characters of a path that systems allow
LONGEST_NAME = 200  # characters of a class, label or modality
LONGEST_SHOWN = 60  # characters of a name among others in a message
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # would break a line, or cannot be written


def plain_text(text: str, what: str, origin: str) -> str:
    """The text without surrounding blanks; DataError if it holds line breaks or other control characters."""
    text = text.strip()
    if CONTROL.search(text):
        raise DataError(f"A text must fit on one line; {what} of {origin} holds a control character. Correct it.")
    return text


def short_name(text: str, what: str, origin: str) -> str:
    """A name of a class, label or modality; DataError if it is empty, no plain text, or too long to be one."""
    text = plain_text(text, what, origin)
    if not 0 < len(text) <= LONGEST_NAME:
        raise DataError(f"A name has 1 to {LONGEST_NAME} characters; {what} of {origin} has {len(text)}. Rename it.")
    return text


def file_path(text: str, folder: Path, what: str, origin: str) -> Path:
    """A path that counts from `folder` unless it is absolute or starts with ~; it need not exist."""
    text = plain_text(text, what, origin)
    if len(text) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_PART for part in text.split("/")):
        raise DataError(f"A path must be one that a file can have; {what} of {origin} is too long. Correct it.")
    if text.startswith("~"):
        with suppress(RuntimeError):  # ~name of no user: a file may be called so
            return folder / Path(text).expanduser()
    return folder / text


def exists(path: Path) -> bool:
    """Whether there is a file or folder; one that may not be looked at counts as absent."""
    try:
        return path.exists()
    except OSError:
        return False


def split_name(text: str, origin: str) -> SplitName | None:
    """The split that a word means; None if there is none; DataError if it is no split."""
    word = text.strip().lower()
    if word and word not in SPLIT_WORDS:
        raise DataError(f"A split is train, validation or test; {origin} has {word[:50]!r}. Correct it.")
    return SPLIT_WORDS.get(word)


def class_name(text: str, origin: str) -> str:
    """The class that a text names; DataError if it is empty or a measured value."""
    label = whole(text)
    if not label:
        raise DataError(f"Every case needs a label; {origin} has none. Fill it in or leave the case out.")
    if not label.lstrip("+-").isdecimal() and not math.isnan(number(label)):
        raise DataError(
            f"A label is a class name or a whole number; {origin} has {label[:50]!r}. Group the values into classes."
        )
    return short_name(label, "the label", origin)


def label_value(text: str, name: str, origin: str) -> float:
    """0, 1, or NaN where the text is empty (unknown); DataError for any other value."""
    value = number(text)
    if text and value not in (0.0, 1.0):
        raise DataError(f"A label is 0, 1 or empty (unknown); {origin} has {text[:50]!r} as {name}. Correct it.")
    return value


def lesion_area(text: str, origin: str) -> float | None:
    """A share of the image; None if the text is empty; DataError for any other value."""
    if not text:
        return None
    area = number(text)
    if not 0 <= area <= 1:
        raise DataError(
            f"A lesion_area is a share of the image from 0 to 1; {origin} has {text[:50]!r}. Divide by the "
            "image's area."
        )
    return area


def age_text(text: str) -> str:
    """An age in years, also where it is written as DICOM has it (045Y, 018M); any other text, as 60-70, as it is."""
    unit = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}.get(text[-1:].upper())
    years = number(text if unit is None else text[:-1]) / (unit or 1.0)
    return f"{years:g}" if 0 <= years <= 150 else text


def whole(text: str) -> str:
    """A number that programs wrote as 3.0 as 3; other text as it is."""
    return text.removesuffix(".0") if text.removesuffix(".0").isdecimal() else text


def number(text: str) -> float:
    """The number, NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the known name most like this one; empty if none is like it."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), [one.lower() for one in names], n=1)
    return f" Did you mean {next(one for one in names if one.lower() == near[0])!r}?" if near else ""


def enumerated(names: Iterable[str], most: int = 30) -> str:
    """Names as a list for a message, cut off where there are very many or one is very long."""
    names = [name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..." for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "") or "nothing"


def refuse_columns(settings: DataSettings, source: str) -> None:
    """DataError if the settings name columns for a source that has none."""
    for name in ("columns", "label_columns"):
        if getattr(settings, name):
            raise DataError(f"data.{name} is for tables; {source} is none. Leave it out, or write a CSV table.")
