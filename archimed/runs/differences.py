"""How the settings of two runs differ."""

from collections.abc import Mapping
from typing import Any


def without_measured(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that must agree for a run to go on: all but the version and what was measured on the machine."""
    return {key: value for key, value in document.items() if key not in {"archimed", "machine"}}


def first_difference(stored: object, wanted: object, name: str = "") -> str | None:
    """The first setting that two documents have and in which they differ, told in words; None if they agree."""
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        shared = [key for key in stored if key in wanted]
        inner = (first_difference(stored[key], wanted[key], f"{name}.{key}".lstrip(".")) for key in shared)
        return next(filter(None, inner), None)
    return None if stored == wanted else f"its {name} is {stored!r}, not {wanted!r}"


def first_missing(document: Mapping[str, Any], other: Mapping[str, Any], name: str = "") -> str | None:
    """The first setting that only the second of two documents has and that is not none."""
    for key, value in other.items():
        inside = f"{name}.{key}".lstrip(".")
        if isinstance(value, Mapping) and isinstance(document.get(key), Mapping):
            if inner := first_missing(document[key], value, inside):
                return inner
        elif value is not None and key not in document:
            return inside
    return None
