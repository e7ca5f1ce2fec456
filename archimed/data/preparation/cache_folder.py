"""Folders in the cache of prepared images: made under another name, renamed when complete, listed and removed."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from archimed.data.folders import cache_folder
from archimed.errors import DataError

BUILDING = "building-"  # what such folders are called until they are complete, and again before they are removed
KEY = re.compile(r"[0-9a-f]{64}")
ATTEMPTS = 10


def prepared_folder() -> Path:
    """Where prepared images are kept. It may not exist yet."""
    return cache_folder() / "prepared"


def entry_folder(key: str) -> Path:
    """Where the images of this key are, once they are complete."""
    return prepared_folder() / key


def memory_of_contents() -> Path:
    """Which file had which content (see `content`)."""
    return prepared_folder() / "contents.bin"


class Building:
    """A new folder that is deleted at the end of the block unless it was renamed; locked meanwhile.

    A process that is killed leaves it behind unlocked; the next one to build deletes it.
    """

    def __init__(self) -> None:
        """Make and lock the folder; OSError if that cannot be."""
        parent = prepared_folder()
        parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        remove_abandoned()
        for _ in range(ATTEMPTS):
            self.path = Path(tempfile.mkdtemp(dir=parent, prefix=BUILDING))
            lock = _lock(self.path)
            if lock is not None and self.path.exists():  # else another process took it for abandoned
                self._lock = lock
                return
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def __enter__(self) -> "Building":
        return self

    def rename(self, target: Path) -> None:
        """Make the folder's content durable and give it its name, unless another process was first."""
        _sync(self.path)
        try:
            self.path.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        _sync(target.parent)

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def entries() -> list[Path]:
    """The folders that are complete."""
    return sorted(path for path in _inside() if KEY.fullmatch(path.name))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder; of those that vanish meanwhile, none."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def used(index: Path) -> None:
    """Note that a folder was used, as the time of its index."""
    with suppress(OSError):
        os.utime(index)


def last_use(index: Path) -> float:
    """When a folder was last used, in seconds since 1970; 0 where that is not known."""
    try:
        return index.stat().st_mtime
    except OSError:
        return 0.0


def discard(folder: Path) -> None:
    """Remove a complete folder, of which nothing is then trusted at any moment; nothing happens if it is not there."""
    aside = folder.with_name(f"{BUILDING}{secrets.token_hex(8)}")
    with suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove the folders that no process builds any more."""
    for path in _inside():
        if not path.name.startswith(BUILDING):
            continue
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def clear() -> int:
    """Remove all prepared images but what other processes are building; returns the bytes freed.

    Raises:
        DataError: this user may not.
    """
    if prepared_folder().exists() and not os.access(prepared_folder(), os.W_OK):
        raise DataError(f"Only who may write may delete; {prepared_folder()} is not yours to write. Ask its owner.")
    before = size_of(prepared_folder())
    for path in entries():
        discard(path)
    remove_abandoned()
    for path in _inside():
        if path.is_file():
            path.unlink(missing_ok=True)
    return before - size_of(prepared_folder())


def _inside() -> list[Path]:
    try:
        return list(prepared_folder().iterdir())
    except OSError:
        return []


def _lock(folder: Path) -> int | None:
    """An open descriptor that holds the folder's lock; None if another process holds it or has deleted the folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
