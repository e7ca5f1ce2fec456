"""The published MedMNIST sets by name: downloaded once, checked, kept in the user's cache folder."""

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from archimed.data.folders import cache_folder
from archimed.data.formats.medmnist_sets import MEDMNIST, ZENODO, file_stem
from archimed.errors import DataError

BLOCK = 1 << 20  # bytes
TIMEOUT = 30.0  # seconds without an answer


def medmnist_file(flag: str, size: int) -> Path:
    """The file of a published set at a size in pixels, downloaded if it is not in the cache; DataError if neither."""
    name = f"{file_stem(flag, size)}.npz"
    md5 = MEDMNIST[flag].md5[size]
    path = cache_folder() / "medmnist" / name
    if not path.is_file():
        _download(ZENODO.format(name=name), path, md5)
    elif _md5(path) != md5:
        raise DataError(f"A cached file must have its published md5 {md5}; {path} has not. Delete it and try again.")
    return path


def _download(url: str, path: Path, md5: str) -> None:
    """Fetch to a file of another name, check it, then rename it: a broken download is never taken for the file."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        part = Path(name)
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310
            while block := answer.read(BLOCK):
                file.write(block)
        if _md5(part) != md5:
            raise DataError(f"A download must have its published md5 {md5}; {url} gave other bytes. Try again later.")
        part.replace(path)
    except (OSError, EOFError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(
            f"{path.name} is not in the cache and could not be downloaded from {url} ({reason}). "
            f"Fetch it on another machine and put it at {path}."
        ) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
