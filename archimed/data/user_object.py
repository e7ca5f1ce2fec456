"""A data set that a user's own Python file makes: `file.py:object`."""

import importlib.util
import sys
from pathlib import Path

from archimed.data.dataset import Dataset
from archimed.errors import ArchimedError, DataError


def read_object(source: str) -> Dataset:
    """The Dataset that `source` names, or that the callable it names returns; the user's file is executed.

    Raises:
        DataError: the file or object does not exist, gives no Dataset, or fails.
    """
    file, _, name = source.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"Data must exist; there is no file {file}. Check the path.")
    try:
        found = getattr(_load(path), name, None)
        if callable(found) and not isinstance(found, Dataset):
            found = found()
    except ArchimedError:
        raise
    except Exception as error:
        raise DataError(
            f"A user's data set must load; {source} failed with {type(error).__name__}: "
            f"{' '.join(str(error).split())}. Run the file by itself to see where."
        ) from error
    if not isinstance(found, Dataset):
        raise DataError(
            f"{source} must be an archimed.data.dataset.Dataset or a callable without arguments that returns one; it "
            f"is {'missing' if found is None else type(found).__name__}. Correct the name or the object."
        )
    return found


def _load(path: Path) -> object:
    name = f"archimed_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DataError(f"A user's data set is a Python file; {path} is not. Name a .py file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module
