"""Search spaces as settings: from a name and fields to a space, and back."""

import dataclasses
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from pydantic import ValidationError

from archimed.errors import SettingsError
from archimed.spaces.protocol import SearchSpace

FILE_MARK = ".py:"


def space_from_settings(
    known: Mapping[str, type], name: str, fields: Mapping[str, object], trust_files: bool
) -> SearchSpace:
    """See `archimed.spaces.space_from_settings`."""
    if FILE_MARK in name:
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
    path_text, _, attribute = name.rpartition(":")
    path = Path(path_text).expanduser()
    if not trust_files:
        raise SettingsError(
            f"A search space from a file executes that file, which needs your word; got {name!r}. "
            f"If you trust {path_text}, name the space yourself with --set space.name={name}."
        )
    module = _imported(path)
    if not hasattr(module, attribute):
        raise SettingsError(
            f"A search space in a file is named path/file.py:Object; {path} has no {attribute!r}. "
            f"{_nearest(attribute, [key for key in vars(module) if not key.startswith('_')])}"
        )
    found: object = getattr(module, attribute)
    return found


def _imported(path: Path) -> ModuleType:
    if not path.is_file():
        raise SettingsError(f"A search space of your own is path/file.py:Object; there is no file {path}.")
    name = f"own_space_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path.resolve())
    if specification is None or specification.loader is None:
        raise SettingsError(f"A search space of your own is in a Python file; {path} is not one. End its name in .py.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # where dataclasses and inspect look for the module of a class
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises is the user's to mend
        del sys.modules[name]
        raise SettingsError(
            f"The file of a search space must import; {path} raised {type(error).__name__}: {error}. Mend it first."
        ) from error
    return module


def _nearest(wrong: str, known: Mapping[str, object] | list[str]) -> str:
    close = get_close_matches(wrong.replace("-", "_"), list(known), n=1, cutoff=0.4)
    return f"Did you mean {close[0]}?" if close else "Choose one of them."
