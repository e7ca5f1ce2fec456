"""A data set that a user's own Python file makes: `file.py:object`."""

from archimed.data.contract import flaw_of
from archimed.data.dataset import Dataset
from archimed.errors import ArchimedError, DataError
from archimed.userfile import load_object


def read_object(source: str) -> Dataset:
    """The Dataset that `source` names, or that the callable it names returns; the user's file is executed.

    Raises:
        SettingsError: the file or object does not exist, or the file cannot be imported.
        DataError: the object gives no Dataset, or fails.
    """
    found = load_object(source)
    try:
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
            f"is {type(found).__name__}. Correct the name or the object."
        )
    if flaw := flaw_of(found):
        raise DataError(f"{flaw}: {source}.")
    return found
