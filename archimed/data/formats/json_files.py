"""JSON files that others wrote: read safely, and taken apart with messages that name what has the wrong type."""

import json
import reprlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archimed.data.formats.fields import short_name
from archimed.data.readers.voxels import check_room
from archimed.errors import DataError

MOST_BYTES = 2**28  # a list of some million cases
UNFOLDED = 32  # bytes of memory that one byte of a file of small objects takes


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        DataError: the file is missing, over 256 MiB, too large for the memory, no JSON, nested too deep, or names a
            key twice.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"A list of cases has at most 256 MiB; {path} is larger. Divide it.")
        check_room(path.stat().st_size * UNFOLDED)
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"A .json file must hold valid JSON; {path} does not ({reason}). Correct it.") from error


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {shown(repeated)} occurs twice in one object")
    return values


def shown(value: object) -> str:
    """A value for a message: on one line, and short."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    return " ".join(short.repr(value).split())


def as_object(value: object, what: str, origin: str) -> dict[str, Any]:
    """A JSON object; DataError if it is none."""
    if not isinstance(value, dict):
        raise DataError(f"{what} must be an object in braces; {origin} has {shown(value)}. Correct it.")
    return value


def as_list(value: object, what: str, origin: str) -> list[Any]:
    """A JSON list; DataError if it is none."""
    if not isinstance(value, list):
        raise DataError(f"{what} must be a list in brackets; {origin} has {shown(value)}. Correct it.")
    return value


def as_text(value: object, what: str, origin: str) -> str:
    """A JSON text; DataError if it is none."""
    if not isinstance(value, str):
        raise DataError(f"{what} must be a text in quotes; {origin} has {shown(value)}. Correct it.")
    return value


def given_name(content: Mapping[str, Any], otherwise: str, origin: str) -> str:
    """The `name` that a file gives its data, if it is a text."""
    name = content.get("name")
    return short_name(name, "`name`", origin) if isinstance(name, str) and name.strip() else otherwise


def numbered_names(value: object, what: str, origin: str) -> tuple[str, ...]:
    """Names in the order of their numbers, from {"0": name, ...}, {name: 0, ...} or [name, ...].

    Raises:
        DataError: a name is no text, or the numbers are not 0, 1, 2, ...
    """
    if isinstance(value, list):
        return tuple(short_name(as_text(name, what, origin), what, origin) for name in value)
    by_number: dict[int, str] = {}
    for key, entry in as_object(value, what, origin).items():
        number, name = (key, entry) if key.isascii() and key.isdecimal() and isinstance(entry, str) else (entry, key)
        if isinstance(number, str) and number.isascii() and number.isdecimal() and len(number) < 6:
            number = int(number)
        if not isinstance(number, int) or isinstance(number, bool):
            raise DataError(
                f"{what} must have whole numbers; {origin} has {shown(number)} for {shown(name)}. Correct it."
            )
        if number in by_number:
            raise DataError(f"{what} must have different numbers; {origin} has {number} twice. Correct it.")
        by_number[number] = short_name(name, what, origin)
    if sorted(by_number) != list(range(len(by_number))):
        raise DataError(
            f"{what} must be numbered 0, 1, 2, ... without gaps; {origin} has {shown(sorted(by_number))}. "
            "Renumber them."
        )
    return tuple(by_number[number] for number in range(len(by_number)))
