"""A user's own part, named on the command line as `path/file.py:object`."""

import hashlib
import importlib.util
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from archimed.errors import ArchimedError, SettingsError

MARK = ".py:"
PREFIX = "archimed_user_"  # of the names of modules


def is_user_object(name: str) -> bool:
    """Whether a name has the form `path/file.py:object`."""
    return MARK in name


def part_name(name: str) -> str:
    """What a part is called: the object of `path/file.py:object`, any other name as it is."""
    return name.rpartition(":")[2] if is_user_object(name) else name


def load_object(name: str) -> Any:
    """Import the file that the user names and return the object in it. This executes the file.

    A file is imported once; classes keep their identity when they are named again.

    Raises:
        SettingsError: the file or the object does not exist, or the file fails when imported.
    """
    file, _, attribute = name.rpartition(":")
    module = load_file(Path(file).expanduser())
    if not hasattr(module, attribute):
        known = [key for key in vars(module) if not key.startswith("_")]
        near = get_close_matches(attribute, known, n=1, cutoff=0.4)
        raise SettingsError(
            f"A part of your own is named path/file.py:object; {file} has no {attribute!r}. "
            + (f"Did you mean {near[0]!r}?" if near else "Name an object of that file.")
        )
    return getattr(module, attribute)


def imported_files() -> dict[str, str]:
    """The user's own files that were imported in this process, in that order, by the names of their modules."""
    return {name: str(module.__file__) for name, module in sys.modules.items() if name.startswith(PREFIX)}


def load_file(path: str | Path) -> ModuleType:
    """Import a file of the user's, once. This executes it.

    Raises:
        SettingsError: it does not exist, or fails when imported.
    """
    path = Path(path)
    if not path.is_file():
        raise SettingsError(f"A part of your own is named path/file.py:object; there is no file {path}.")
    name = f"{PREFIX}{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    specification = importlib.util.spec_from_file_location(name, path.resolve())
    if specification is None or specification.loader is None:
        raise SettingsError(f"A part of your own is in a Python file; {path} is not one. End its name in .py.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # where dataclasses and pickle look for the module of a class
    try:
        specification.loader.exec_module(module)
    except ArchimedError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:  # whatever the user's file raises is the user's to mend
        del sys.modules[name]
        raise SettingsError(
            f"A file of your own must import; {path} raised {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Mend it first."
        ) from error
    return module
