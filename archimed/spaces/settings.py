"""Search spaces as settings: from a name and fields to a space, and back."""

import dataclasses
import inspect
from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError

from archimed.errors import SettingsError
from archimed.spaces.protocol import SearchSpace
from archimed.userfile import is_user_object, load_object


def space_from_settings(
    known: Mapping[str, type], name: str, fields: Mapping[str, object], trust_files: bool
) -> SearchSpace:
    """See `archimed.spaces.space_from_settings`."""
    if is_user_object(name):
        found = _from_file(name, trust_files)
    elif (key := name.replace("-", "_")) in known:
        found = known[key]
    else:
        raise SettingsError(
            f"A search space is one of {', '.join(known)}, or path/file.py:Object; got {name!r}. "
            f"{_nearest(name, known)}"
        )
    space = _with_fields(name, found, fields)
    if not isinstance(space, SearchSpace):
        raise SettingsError(
            f"A search space has `choices` and `build(genotype, task)`; {name!r} has not. "
            "See archimed.spaces.protocol.SearchSpace."
        )
    return space


def space_settings(known: Mapping[str, type], space: SearchSpace) -> dict[str, object]:
    """See `archimed.spaces.space_settings`."""
    fields: dict[str, object] = (
        dataclasses.asdict(space) if dataclasses.is_dataclass(space) and not isinstance(space, type) else {}
    )
    name = next((name for name in known if known[name] is type(space)), None)
    return {"name": name or f"{inspect.getfile(type(space))}:{type(space).__qualname__}", **fields}


def _with_fields(name: str, found: object, fields: Mapping[str, object]) -> object:
    """A class called with the fields, or a ready space with them replaced."""
    class_ = found if isinstance(found, type) else type(found)
    names = [field.name for field in dataclasses.fields(class_)] if dataclasses.is_dataclass(class_) else []
    for field in fields:
        if field not in names:
            raise SettingsError(
                f"Search space {name} has the settings {', '.join(names) or '(none)'}; got {field!r}. "
                f"{_nearest(field, names)}"
            )
    try:
        return found(**fields) if isinstance(found, type) else _replaced(found, fields)
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"space.{setting}: {first['msg'][0].lower()}{first['msg'][1:]}; got {first['input']!r}. "
            "Change this setting, or leave it out for its default."
        ) from error


def _replaced(space: object, fields: Mapping[str, object]) -> object:
    if not fields or not dataclasses.is_dataclass(space) or isinstance(space, type):
        return space
    return dataclasses.replace(space, **fields)


def _from_file(name: str, trust_files: bool) -> object:
    """The object that `path/file.py:Object` names; importing it executes the file."""
    if not trust_files:
        raise SettingsError(
            f"A search space from a file executes that file, which needs your word; got {name!r}. "
            f"If you trust it, name the space yourself with --set space.name={name}."
        )
    found: object = load_object(name)
    return found


def _nearest(wrong: str, known: Mapping[str, object] | list[str]) -> str:
    close = get_close_matches(wrong.replace("-", "_"), list(known), n=1, cutoff=0.4)
    return f"Did you mean {close[0]}?" if close else "Choose one of them."
