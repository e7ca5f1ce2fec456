"""Data from a Python file are made by executing it: only a file that the user has named is, whoever wrote the run.

What the user types as `--data file.py:object` is remembered by path and content, in the folder of the user's key. So a
run of the user's own goes on by its folder alone, and one from a stranger, or with a file that was changed, does not.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from archimed.data.folders import config_folder
from archimed.errors import DataError, SettingsError
from archimed.userfile import is_user_object


def remember_named(sources: Iterable[str]) -> None:
    """Note the files that the user has just typed; forms of data that execute nothing are passed over.

    Raises:
        DataError: the folder of the user's key cannot be written.
    """
    path = _list()
    try:
        for source in sources:
            mark = _mark(source)
            if mark and mark not in _known():
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="ascii") as file:
                    file.write(mark + "\n")
    except OSError as error:
        raise DataError(
            f"Files with data of your own are remembered in {path}, which cannot be written ({error.strerror}). "
            "Set ARCHIMED_CONFIG to a folder of your own."
        ) from error


def refuse_unnamed(sources: Iterable[str]) -> None:
    """Raise SettingsError where a run or a file of settings names a file that the user never named, or that changed."""
    for source in sources:
        mark = _mark(source)
        if mark and mark not in _known():
            raise SettingsError(
                f"Data from a Python file execute that file, which needs your word; got {source!r}, which you never "
                "named, or which was changed since. If you trust it, name it once: archimed data check "
                f"{source}"
            )


def _list() -> Path:
    return config_folder() / "named-files.txt"


def _known() -> set[str]:
    return set(_list().read_text(encoding="ascii", errors="replace").split()) if _list().is_file() else set()


def _mark(source: str) -> str | None:
    """A hash of a Python file's place and content; None for data that are no such file, or a file that is not there."""
    if not is_user_object(source):
        return None
    path = Path(source.rpartition(":")[0]).expanduser().resolve()
    if not path.is_file():
        return None
    return hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()
