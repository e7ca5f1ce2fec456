"""A user's own part, named on the command line as `path/file.py:object`."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from archimed.errors import SettingsError


def is_user_object(name: str) -> bool:
    """Whether a name has the form `path/file.py:object`."""
    return ".py:" in name


def load_object(name: str) -> Any:
    """Import a file that the user names and return the object in it. This runs the user's own code.

    Raises:
        SettingsError: the file or the object does not exist, or the file cannot be imported.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise SettingsError(f"A part of your own is named as path/file.py:object; there is no file {file}.")
    module_name = f"own_part_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path.resolve())
    if spec is None or spec.loader is None:
        raise SettingsError(f"A part of your own is a Python file; {file} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # where dataclasses, inspect and pickle look for the module of a class
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise SettingsError(f"Your file {file} fails when imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise SettingsError(f"Your file {file} has no object {attribute!r}.")
    return getattr(module, attribute)
