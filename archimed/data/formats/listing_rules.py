"""What holds for the listing of every format: modalities picked, incomplete cases found, labels and grades checked."""

import math
import re
from collections import Counter
from dataclasses import replace

from archimed.data.formats.fields import enumerated, nearest
from archimed.data.listing import Entry, Listing
from archimed.data.natural import natural
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.data.volume import ChannelKind
from archimed.errors import DataError

KIND_WORDS: dict[ChannelKind, tuple[str, ...]] = {
    "ct": ("ct",),
    "pet": ("pet", "pt", "suv"),
    "mr": ("mr", "mri", "t1", "t2", "flair", "t1w", "t2w", "t1c", "t1ce", "t1gd", "t1n", "t2f", "adc", "dwi"),
}


def channel_kind(name: str) -> ChannelKind | None:
    """What the values of a modality are, if a word of its name tells; None if none does, or two disagree."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    kinds = {kind for kind, known in KIND_WORDS.items() if any(word in known for word in words)}
    return kinds.pop() if len(kinds) == 1 else None


def apply_rules(listing: Listing, settings: DataSettings, problems: Problems) -> Listing:
    """The listing with the modalities that `data.modalities` names, and the cases that have them all.

    Raises:
        DataError: a modality is unknown, no case has all of them, or the classes are no grades as `data.ordinal` asks.
    """
    listing = _complete(_picked(listing, settings), settings, problems)
    _check_labels(listing, problems)
    return replace(listing, ordinal=_is_ordinal(listing, settings))


def _picked(listing: Listing, settings: DataSettings) -> Listing:
    if settings.modalities is None:
        return listing
    names = [modality.name for modality in listing.modalities]
    for name in settings.modalities:
        if name not in names:
            raise DataError(
                f"data.modalities names modalities of the data; {listing.name} has {enumerated(names)}, not {name!r}."
                f"{nearest(name, names)} Correct the setting."
            )
    if len(set(settings.modalities)) < max(1, len(settings.modalities)):
        raise DataError(
            f"data.modalities names at least one modality, and each once; got {list(settings.modalities)}. Correct it."
        )
    rows = [names.index(name) for name in settings.modalities]
    return replace(
        listing,
        modalities=tuple(listing.modalities[row] for row in rows),
        entries=tuple(replace(one, images=tuple(one.images[row] for row in rows)) for one in listing.entries),
    )


def _complete(listing: Listing, settings: DataSettings, problems: Problems) -> Listing:
    """A case that lacks a modality is a flaw, unless it may be dropped or the modality may be zero."""
    complete: list[Entry] = []
    lacking: Counter[str] = Counter()
    may_be_zero = settings.missing_modality == "zero"
    for entry in listing.entries:
        if None not in entry.images:
            complete.append(entry if len(entry.images) > 1 else _with_file(entry))
            continue
        missing = [one.name for one, path in zip(listing.modalities, entry.images, strict=True) if path is None]
        if settings.missing_modality == "error" or (may_be_zero and len(missing) == len(entry.images)):
            problems.fatal(
                f"Every case needs all modalities; {entry.case.origin} has no {missing[0]}. Name its file, drop such "
                "cases with --set data.missing_modality=drop, or fill them with --set data.missing_modality=zero."
            )
            continue
        lacking.update(missing)
        if may_be_zero:
            complete.append(entry)
    if not complete:
        raise DataError(
            f"Data need cases that can be used; none of the {len(listing.entries)} of {listing.name} has an image of "
            f"each modality ({enumerated(one.name for one in listing.modalities)}). Correct the paths."
        )
    if lacking:
        count = sum(None in entry.images for entry in listing.entries)
        which = enumerated(f"{name} in {times}" for name, times in lacking.items())
        done = "were filled with zeros" if may_be_zero else "were left out"
        problems.caution(f"{count} of {len(listing.entries)} cases {done} because they lack a modality ({which}).")
    return replace(listing, entries=tuple(complete))


def _with_file(entry: Entry) -> Entry:
    file = entry.images[0]
    return entry if entry.case.file == file else replace(entry, case=replace(entry.case, file=file))


def _check_labels(listing: Listing, problems: Problems) -> None:
    for column, name in enumerate(listing.label_names):
        values = [entry.label[column] for entry in listing.entries if isinstance(entry.label, tuple)]
        if all(math.isnan(value) for value in values):
            problems.caution(f"No case knows label {name!r}: nothing can be learnt about it.")


def _is_ordinal(listing: Listing, settings: DataSettings) -> bool:
    """Whether the classes are grades in order: then each name tells its place by a number."""
    if not settings.ordinal:
        return False
    names = sorted({entry.label for entry in listing.entries if isinstance(entry.label, str)}, key=natural)
    if not names:
        raise DataError(f"data.ordinal is for one class per case; {listing.name} has none. Leave it out.")
    if len(names) < 3:
        raise DataError(f"Grades are at least three; {listing.name} has {len(names)}. Leave data.ordinal out.")
    numbers = [[int(found) for found in re.findall("[0-9]+", name)[:1]] for name in names]
    if not all(numbers) or numbers != sorted(numbers):
        raise DataError(
            f"Grades are told apart by a number, as in 'grade 2'; {listing.name} has "
            f"{enumerated(map(repr, names), 6)}. Number the classes, or leave data.ordinal out."
        )
    return True
