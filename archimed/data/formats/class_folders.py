"""Folder trees with one folder per class: folder/<class>/*.png, or folder/{train,validation,test}/<class>/*.png.

A case is an image file of any format, or a folder that holds one DICOM series. The tree does not say who the patients
are, so every case counts as a patient of its own, unless DICOM files tell.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from archimed.data.dataset import Case, SplitName
from archimed.data.formats.fields import SPLIT_WORDS, plain_text, refuse_columns, short_name
from archimed.data.formats.listing_rules import apply_rules
from archimed.data.listing import Entry, Listing
from archimed.data.natural import natural
from archimed.data.problems import Problems
from archimed.data.readers.any_image import is_image
from archimed.data.settings import DataSettings
from archimed.errors import DataError


def list_class_folders(folder: Path, settings: DataSettings, problems: Problems) -> Listing:
    """The cases of one tree; flaws of single folders are reported to `problems`, of the tree raised as DataError."""
    refuse_columns(settings, f"the folder {folder}")
    if settings.image_pattern is not None:
        raise DataError(
            f"data.image_pattern finds images to segment and needs data.mask_pattern; {folder} was given without. "
            "Set both, or none for a folder per class."
        )
    try:
        found = list(_images(folder, problems))
    except OSError as error:
        raise DataError(f"Data must be readable; {folder} is not ({error.strerror}). Check the permissions.") from error
    if not found:
        raise DataError(
            f"A folder of images needs one folder per class with image files in it; {folder} has none. Sort the images "
            "into folders, or write a CSV table."
        )
    entries = tuple(
        Entry(
            case=Case(
                id=f"case-{number:05d}",
                patient=f"case-{number:05d}",
                split=split,
                origin=f"{path.relative_to(folder)}",
            ),
            images=(path,),
            label=short_name(path.parent.name, "a class folder", f"{folder}"),
        )
        for number, (split, path) in enumerate(found, 1)
    )
    return apply_rules(Listing(folder.resolve().name, "folders", entries), settings, problems)


def _images(folder: Path, problems: Problems) -> Iterator[tuple[SplitName | None, Path]]:
    """Split and path of each image, in the same order on every machine."""
    tops = [path for path in _visible(folder) if path.is_dir()]
    splits = [top for top in tops if top.name.lower() in SPLIT_WORDS]
    if splits and len(splits) < len(tops):
        other = next(top for top in tops if top not in splits)
        problems.fatal(
            f"A folder holds either splits or classes; {folder} holds {splits[0].name} beside {other.name}. Move one."
        )
    groups: list[tuple[SplitName | None, Path]] = [(SPLIT_WORDS[top.name.lower()], top) for top in splits]
    left_out: Counter[str] = Counter()
    for split, top in groups or [(None, folder)]:
        for class_folder in (path for path in _visible(top) if path.is_dir()):
            for path in _visible(class_folder):
                if is_image(path):
                    plain_text(path.name, "a file name", f"the folder {folder}")
                    yield split, path
                elif path.is_dir():
                    left_out[class_folder.name] += 1
    if left_out:  # notes are kept in runs, where a folder may be named after a patient
        problems.caution(
            f"A folder within a class must hold one DICOM series; {left_out.total()} in {', '.join(left_out)} held "
            "none and were left out. Move their images up."
        )


def _visible(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda p: natural(p.name))
