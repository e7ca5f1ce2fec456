"""Folder trees with one folder per class: folder/<class>/*.png, or folder/{train,validation,test}/<class>/*.png.

The tree does not say who the patients are, so every image counts as a patient of its own.
"""

from collections.abc import Iterator
from pathlib import Path

from archimed.data.csv_table import SPLIT_WORDS
from archimed.data.dataset import Case, Dataset, SplitName
from archimed.data.decoding import SUFFIXES
from archimed.data.image_files import Entry, Listing, natural, read_listing
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError


def read_class_folders(folder: Path, settings: DataSettings, problems: Problems) -> Dataset:
    """The data set of one tree; flaws of single files are reported to `problems`, of the tree raised as DataError."""
    try:
        found = list(_images(folder, problems))
    except OSError as error:
        raise DataError(f"Data must be readable; {folder} is not ({error.strerror}). Check the permissions.") from error
    if not found:
        raise DataError(
            f"A folder of images needs one folder per class with {', '.join(SUFFIXES)} files in it; {folder} has none. "
            "Sort the images into folders, or write a CSV table."
        )
    entries = tuple(
        Entry(
            Case(
                id=f"case-{number:05d}",
                patient=f"case-{number:05d}",
                file=path,
                split=split,
                origin=f"{path.relative_to(folder)}",
            ),
            path,
            path.parent.relative_to(folder).parts[-1],
        )
        for number, (split, path) in enumerate(found, 1)
    )
    return read_listing(Listing(folder.name, "folders", entries, (), patients_known=False), settings, problems)


def _images(folder: Path, problems: Problems) -> Iterator[tuple[SplitName | None, Path]]:
    """Split and path of each image, in the same order on every machine."""
    tops = _folders(folder)
    splits = [top for top in tops if top.name.lower() in SPLIT_WORDS]
    if splits and len(splits) < len(tops):
        other = next(top for top in tops if top not in splits)
        problems.fatal(
            f"A folder holds either splits or classes; {folder} holds {splits[0].name} beside {other.name}. Move one."
        )
    groups: list[tuple[SplitName | None, Path]] = [(SPLIT_WORDS[top.name.lower()], top) for top in splits]
    for split, top in groups or [(None, folder)]:
        for class_folder in _folders(top):
            for path in sorted(class_folder.iterdir(), key=lambda path: natural(path.name)):
                if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                    yield split, path


def _folders(folder: Path) -> list[Path]:
    inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(inside, key=lambda path: natural(path.name))
