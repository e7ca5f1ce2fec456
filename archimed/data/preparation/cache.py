"""The user's cache of prepared images: each set of cases in a folder of its own, complete or not there at all.

A folder is named by a hash of what the images were made from (see `cache_key`). It is written under another name and
renamed when all of it is on the disk. No name, path or patient is in it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from archimed.data.arrays import Arrays
from archimed.data.listing import Listing
from archimed.data.preparation.cache_folder import (
    Building,
    discard,
    entries,
    entry_folder,
    last_use,
    memory_of_contents,
    size_of,
    used,
)
from archimed.data.preparation.content import Contents
from archimed.data.preparation.flat_file import FlatFile
from archimed.data.preparation.store import IMAGES, MASKS, Facts, FileSink, MemorySink, Prepared, Sink
from archimed.data.privacy import patient_hash, user_key
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import ArchimedError
from archimed.files import write_text

FORMAT = 1  # of the files in a folder
INDEX = "index.json"
NOT_OF_PIXELS = frozenset({  # settings that choose files, or act on prepared images
    "cache", "columns", "ct_window", "fold_repeats", "folds", "heads", "image_pattern", "label_columns", "labels",
    "mask_pattern", "missing_modality", "modalities", "normalisation", "ordinal", "positive_class", "suv_window",
    "test_fraction", "validation_fraction",
})  # fmt: skip
READERS = ("readers", "dicom", "preparation")  # the parts of archimed.data that turn files into pixels
DECODERS = ("nibabel", "numpy", "pillow", "pydicom", "pylibjpeg-openjpeg", "python-gdcm", "scipy", "tifffile", "torch")

Read = Callable[[Sink], Facts]  # prepares the cases and puts them


def prepared(listing: Listing, settings: DataSettings, problems: Problems, read: Read) -> Prepared:
    """The prepared cases of a listing: from the cache, or by `read`, and then kept if no case had to be left out.

    Where the disk does not take them, they are held in memory.

    Raises:
        DataError: whatever `read` raises; or neither disk nor memory has room.
    """
    if not settings.cache:
        return _in_memory(listing, read)
    try:
        contents = Contents(memory_of_contents())
        key = cache_key(listing, settings, contents)
        if key is not None and (found := open_entry(key)):
            _remember(contents)
            return found
        return _built(listing, contents, key, read)
    except OSError as error:
        problems.caution(
            f"Prepared images could not be kept in the user's cache ({error.strerror or type(error).__name__}), so "
            "they are held in memory and prepared anew each time. Make room there (archimed data cache tells where it "
            "is), or set ARCHIMED_CACHE to another folder."
        )
    return _in_memory(listing, read)


def cache_key(listing: Listing, settings: DataSettings, contents: Contents) -> str | None:
    """Hash of all that prepared pixels depend on; None if some file cannot be read.

    That is every file of every case by its content, the modalities, those settings that change pixels, and the code and
    libraries that read.
    """
    paths = [(*entry.images, entry.mask, entry.region) for entry in listing.entries]
    try:
        digests = contents.of(path for row in paths for path in row if path is not None)
    except OSError:
        return None
    document = {
        "code": code_version(),
        "settings": {name: value for name, value in asdict(settings).items() if name not in NOT_OF_PIXELS},
        "standardised": settings.normalisation == "auto",  # MR, case by case
        "modalities": [(modality.name, modality.kind) for modality in listing.modalities],
        "files": [[None if path is None else (path.suffix, digests[path]) for path in row] for row in paths],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@cache
def code_version() -> str:
    """Hash of what turns files into pixels: this package's readers and the libraries that they call."""
    digest = hashlib.sha256(f"{FORMAT}".encode())
    package = Path(__file__).parents[1]
    for path in sorted(path for part in READERS for path in (package / part).glob("*.py")):
        digest.update(path.read_bytes())
    for name in DECODERS:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            continue
    return digest.hexdigest()


def open_entry(key: str) -> Prepared | None:
    """The cases kept under this key; None if there are none. What is damaged is removed."""
    folder = entry_folder(key)
    try:
        content = read_index(folder, key)
        facts = Facts.from_json(content["facts"])
        masks = content["masks"] and _arrays(folder / MASKS, content["masks"])
        found = Prepared(facts, _arrays(folder / IMAGES, content["images"]), masks)
    except (AttributeError, LookupError, TypeError, ValueError, FileNotFoundError):
        discard(folder)
        return None
    except OSError:
        return None
    used(folder / INDEX)
    return found


def read_index(folder: Path, key: str) -> dict[str, Any]:
    """The checked index of one folder.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or of another key or user.
    """
    document = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    content: dict[str, Any] = document["content"]
    if document["checksum"] != _checksum(content) or content["key"] != key:
        raise ValueError("the index is damaged")
    if content["user"] is not None and content["user"] != _user():
        raise ValueError("its patients are hidden by another key")
    return content


@dataclass(frozen=True)
class KeptSet:
    """One folder of the cache.

    Attributes:
        key: its name.
        images: how many, of which shapes and type; None if the index is damaged, or hides patients by another key.
        bytes: of all its files.
        last_used: seconds since 1970.
    """

    key: str
    images: str | None
    bytes: int
    last_used: float


def kept_sets() -> list[KeptSet]:
    """What is in the cache, the last used first."""
    found = [
        KeptSet(folder.name, _images_text(folder), size_of(folder), last_use(folder / INDEX)) for folder in entries()
    ]
    return sorted(found, key=lambda one: one.last_used, reverse=True)


def _images_text(folder: Path) -> str | None:
    try:
        content = read_index(folder, folder.name)
    except (LookupError, TypeError, ValueError, OSError):
        return None
    layout, masks = content["images"], " with masks" * (content["masks"] is not None)
    shape = "x".join(map(str, layout["shapes"][0])) if len(layout["shapes"]) == 1 else "several sizes"
    return f"{len(layout['shape_of_case'])} images{masks}, {shape}, {layout['dtype']}"


def _built(listing: Listing, contents: Contents, key: str | None, read: Read) -> Prepared:
    """Prepare all cases in files; OSError if they cannot be written."""
    with Building() as building:
        sink = FileSink(building.path, len(listing.entries))
        try:
            facts = read(sink)
            found = Prepared(facts, sink.images(), sink.masks())
            if key is None or len(facts.rows) < len(listing.entries) or not contents.unchanged():
                return found  # its files are deleted, but open
            sink.sync()
        finally:
            sink.close()
        write_text(building.path / INDEX, _index(key, found))
        building.rename(entry_folder(key))
        _remember(contents)
    return open_entry(key) or found


def _in_memory(listing: Listing, read: Read) -> Prepared:
    sink = MemorySink(len(listing.entries))
    facts = read(sink)
    return Prepared(facts, sink.images(), sink.masks())


def _remember(contents: Contents) -> None:
    try:
        contents.remember()
    except OSError:
        return  # files are hashed again


def _index(key: str, found: Prepared) -> str:
    content = {
        "key": key,
        "user": _user() if any(found.facts.patients) else None,
        "facts": {part.name: getattr(found.facts, part.name) for part in fields(Facts)},
        "images": _layout(found.images),
        "masks": None if found.masks is None else _layout(found.masks),
    }
    return json.dumps({"checksum": _checksum(content), "content": content})


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _user() -> str | None:
    """What tells whose key hides the patients; None where there is no key."""
    try:
        return patient_hash("", user_key())
    except ArchimedError:
        return None


def _layout(arrays: Arrays) -> dict[str, Any]:
    shapes = list(dict.fromkeys(arrays.shapes))
    number = {shape: index for index, shape in enumerate(shapes)}
    return {
        "dtype": str(arrays.dtype).removeprefix("torch."),
        "bytes": arrays.nbytes,
        "shapes": shapes,
        "shape_of_case": [number[shape] for shape in arrays.shapes],
    }


def _arrays(path: Path, layout: dict[str, Any]) -> Arrays:
    shapes = [tuple(shape) for shape in layout["shapes"]]
    flat = FlatFile(path, getattr(torch, layout["dtype"]))
    found = Arrays.end_to_end(flat, [shapes[number] for number in layout["shape_of_case"]])
    if not flat.nbytes == found.nbytes == layout["bytes"]:
        raise ValueError("a file of numbers has another size")
    return found
