"""Folders of images to segment, each with a mask that a pattern finds: images/*.png and masks/{stem}_mask.png.

`data.image_pattern` names the images below the folder: *, ?, [abc] and ** as in a shell, and {patient} for the part of
the path that tells the patient, as in Image_{patient}[LR].jpg. `data.mask_pattern` names the mask of each, also below
the folder, with {stem} (the image's name without its endings), {name} (with them), {folder} (where the image lies) and
{patient}. A folder of two others, images/ and masks/ (or labels/, ...), needs no patterns.
"""

import re
from fnmatch import translate
from pathlib import Path, PurePath

from archimed.data.dataset import Case
from archimed.data.formats.fields import exists, file_path, nearest, plain_text, refuse_columns
from archimed.data.formats.listing_rules import apply_rules
from archimed.data.listing import Entry, Listing
from archimed.data.natural import natural
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError

FIELD = re.compile(r"\{([^{}]*)\}")
PATIENT = "{patient}"
DOUBLE_ENDINGS = (".gz", ".bz2")  # after which another one follows, as in .nii.gz
IMAGE_FOLDERS = {"images", "image", "imgs", "img"}
MASK_FOLDERS = {"masks", "mask", "labels", "label", "annotations", "segmentations", "instances"}


def list_masks(folder: Path, settings: DataSettings, problems: Problems) -> Listing:
    """The images of one folder with their masks; DataError if the patterns find none or are not understood."""
    refuse_columns(settings, f"the folder {folder}")
    image_pattern, mask_pattern = _patterns(settings, folder)
    pairs = [
        (image, file_path(_mask_name(image, folder, image_pattern, mask_pattern), folder, "the mask", image.name))
        for image in images_of(folder, image_pattern)
    ]
    masks = {mask for _, mask in pairs}
    pairs = [(image, mask) for image, mask in pairs if image not in masks]
    if not pairs:
        raise DataError(
            f"data.image_pattern must find images below the folder; {image_pattern!r} finds none in {folder} that is "
            "not a mask of data.mask_pattern. Correct the patterns."
        )
    if not any(exists(mask) for _, mask in pairs):
        raise DataError(
            f"data.mask_pattern must find the mask of each image; {pairs[0][0]} should have {pairs[0][1]}, and none of "
            f"the {len(pairs)} images has one. Correct the pattern."
        )
    entries = []
    for number, (image, mask) in enumerate(pairs, 1):
        patient = _patient(image, folder, image_pattern) or f"case-{number:05d}"
        case = Case(f"case-{number:05d}", patient, origin=f"{image.relative_to(folder)}")
        if exists(mask):
            entries.append(Entry(case, (image,), mask=mask))
        else:
            problems.fatal(f"Every image needs a mask; {image} has none, {mask}. Add it, or move the image away.")
    if spare := _spare_masks(folder, mask_pattern, {*masks, *(image for image, _ in pairs)}):
        problems.caution(  # without names: cautions are kept in runs, and a file may be named after a patient
            f"{spare} of the files that data.mask_pattern finds belong to no image that data.image_pattern finds. Add "
            "the images, correct the pattern, or leave it if these images are not wanted."
        )
    known = PATIENT in image_pattern
    listing = Listing(folder.resolve().name, "masks", tuple(entries), patients_known=known)
    return apply_rules(listing, settings, problems)


def usual_patterns(folder: Path) -> tuple[str, str] | None:
    """The patterns of a folder whose only folders are one of images and one of masks by their names; None of others.

    A mask's name is its image's name, or begins as that does without its endings; what follows is as in the first mask
    that is found.
    """
    inside = [path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name)]
    images = next((path for path in inside if path.name.lower() in IMAGE_FOLDERS), None)
    masks = next((path for path in inside if path.name.lower() in MASK_FOLDERS), None)
    if len(inside) != 2 or images is None or masks is None:
        return None
    names = {path.name for path in masks.iterdir() if not _is_hidden(path.name)}
    mask = "{name}"
    for image in sorted(path.name for path in images.iterdir() if not _is_hidden(path.name)):
        if image in names:
            break
        begun = [name for name in names if name.startswith(_stem(image))]
        if begun:
            mask = "{stem}" + min(begun, key=len).removeprefix(_stem(image))
            break
    return f"{images.name}/*", f"{masks.name}/{mask}"


def _patterns(settings: DataSettings, folder: Path) -> tuple[str, str]:
    """Both patterns, checked."""
    images, masks = settings.image_pattern, settings.mask_pattern
    if images is None and masks is None:
        images, masks = usual_patterns(folder) or (None, None)
    if not images or not masks:
        raise DataError(
            "Images to segment need both patterns, as in --set data.image_pattern=images/*.png --set "
            f"data.mask_pattern=masks/{{name}}; got {images!r} and {masks!r}. Set both."
        )
    for setting, pattern, known in (
        ("data.image_pattern", images, ("patient",)),
        ("data.mask_pattern", masks, ("stem", "name", "folder", *(("patient",) if PATIENT in images else ()))),
    ):
        for name in FIELD.findall(pattern):
            if name not in known:
                raise DataError(
                    f"{setting} knows {', '.join(f'{{{one}}}' for one in known)}; got {{{name}}}."
                    f"{nearest(name, known)} Correct the pattern."
                )
    return PurePath(images).as_posix(), masks


def images_of(folder: Path, pattern: str) -> list[Path]:
    """The files and folders that the pattern finds, in the same order on every machine."""
    try:
        found = set(folder.glob(pattern.replace(PATIENT, "*")))
        visible = [path for path in found if not any(map(_is_hidden, path.relative_to(folder).parts))]
    except (ValueError, IndexError, NotImplementedError, OSError, re.error) as error:
        raise DataError(
            f"data.image_pattern is a path below the folder with *, ? or [abc]; {pattern!r} finds nothing in {folder} "
            f"({' '.join(str(error).split())}). Correct it."
        ) from error
    if pattern.count(PATIENT) > 1:
        expression = re.compile(_as_expression(pattern))
        visible = [path for path in visible if expression.fullmatch(path.relative_to(folder).as_posix())]
    for path in visible:
        plain_text(str(path.relative_to(folder)), "a file name", f"the folder {folder}")
    return sorted(visible, key=lambda path: natural(path.relative_to(folder).as_posix()))


def _spare_masks(folder: Path, mask_pattern: str, used: set[Path]) -> int:
    """How many files fit the pattern of masks, but are neither the mask of an image nor an image."""
    anywhere = PurePath(FIELD.sub("*", mask_pattern))
    if anywhere.is_absolute() or ".." in anywhere.parts:
        return 0
    known = {path.resolve() for path in used}
    found = (path for path in folder.glob(anywhere.as_posix()) if path.is_file() and not _is_hidden(path.name))
    return sum(path.resolve() not in known for path in found)


def _is_hidden(part: str) -> bool:
    return part.startswith(".") and part != ".."


def _mask_name(image: Path, folder: Path, image_pattern: str, mask_pattern: str) -> str:
    values = {
        "name": image.name,
        "stem": _stem(image.name),
        "folder": image.parent.relative_to(folder).as_posix(),
        "patient": _patient(image, folder, image_pattern) or "",
    }
    return FIELD.sub(lambda found: values[found[1]], mask_pattern)


def _stem(name: str) -> str:
    path = Path(name)
    return Path(path.stem).stem if path.suffix.lower() in DOUBLE_ENDINGS else path.stem


def _patient(image: Path, folder: Path, pattern: str) -> str | None:
    """The part of the path in the place of {patient}; None if the pattern has none."""
    if PATIENT not in pattern:
        return None
    found = re.fullmatch(_as_expression(pattern), image.relative_to(folder).as_posix())
    if found is None:
        raise DataError(f"data.image_pattern must tell the patient of each image; {image} has none. Correct it.")
    return found["patient"]


def _as_expression(pattern: str) -> str:
    """The pattern as a regular expression, with the first {patient} as a group and further ones equal to it."""
    meaning = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]", PATIENT: "(?P<patient>[^/]+?)"}
    parts = []
    for token in re.findall(r"\*\*/|\{patient\}|\[[^]/]+\]|.", pattern):
        parts.append(meaning.get(token) or (translate(token)[:-2] if len(token) > 1 else re.escape(token)))
        if token == PATIENT:
            meaning[PATIENT] = "(?P=patient)"
    return "".join(parts)
