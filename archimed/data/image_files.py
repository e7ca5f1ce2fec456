"""Tables of image files to a `Dataset`: what CSV tables and folder trees have in common."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from archimed.data.dataset import Case, Dataset
from archimed.data.decoding import Decoded, decode
from archimed.data.problems import Problems
from archimed.data.resizing import resize
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from archimed.task import ImagingTask, TaskKind

READ_AHEAD = 32  # files decoded at a time
READERS = 4  # threads at most: decoders release the interpreter
LUMA = torch.tensor([0.299, 0.587, 0.114])  # grey from RGB (ITU-R BT.601)


@dataclass(frozen=True)
class Entry:
    """One image file with its label: a class name, or one value per label (0, 1, or NaN where unknown)."""

    case: Case
    path: Path
    label: str | tuple[float, ...]


@dataclass(frozen=True)
class Listing:
    """The cases of a source before their images are read.

    Attributes:
        name: of the data set.
        source_kind: `csv` or `folders`.
        entries: the cases.
        label_names: names of the labels of a multi-label task; empty for one class per image.
        patients_known: whether the source says who the patients are.
    """

    name: str
    source_kind: str
    entries: tuple[Entry, ...]
    label_names: tuple[str, ...]
    patients_known: bool


def read_listing(listing: Listing, settings: DataSettings, problems: Problems) -> Dataset:
    """Read the images of a listing; DataError if none of them can be used."""
    images, kept = _read_images(listing.entries, settings, problems)
    entries = [listing.entries[row] for row in kept]
    kind, class_names, target = _target(entries, listing.label_names, settings, problems)
    return Dataset(
        name=listing.name,
        source_kind=listing.source_kind,
        task=ImagingTask(kind, class_names, images.shape[1], tuple(images.shape[2:])),
        cases=tuple(entry.case for entry in entries),
        images=images,
        target=target,
        patients_known=listing.patients_known,
    )


def _target(
    entries: Sequence[Entry], label_names: tuple[str, ...], settings: DataSettings, problems: Problems
) -> tuple[TaskKind, tuple[str, ...], Tensor]:
    if label_names:
        return "multi-label", label_names, torch.tensor([entry.label for entry in entries], dtype=torch.float32)
    labels = [str(entry.label) for entry in entries]
    names = sorted(set(labels), key=natural)
    if len(names) > max(2, len(labels) // 2):
        problems.fatal(
            f"Labels must be classes that repeat; there are {len(names)} different ones in {len(labels)} cases, for "
            f"example {names[0]!r}. Give class names or whole numbers."
        )
    positive = settings.positive_class
    if positive is not None and len(names) == 2:
        if positive not in names:
            problems.fatal(f"data.positive_class must be one of {names}; got {positive!r}. Name one of them.")
        names.sort(key=lambda name: name == positive)
    number = {name: index for index, name in enumerate(names)}
    target = torch.tensor([number[label] for label in labels], dtype=torch.int64)
    return "binary" if len(names) == 2 else "multi-class", tuple(names), target


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key by which "grade 10" comes after "grade 9"."""
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.lower()) for part in parts)


@dataclass
class _Stack:
    """The images read so far, which must agree in channels, size and number type."""

    count: int
    problems: Problems
    images: Tensor | None = None
    first: str = ""
    kept: list[int] = field(default_factory=list)
    sides: set[int] = field(default_factory=set)

    def put(self, row: int, image: Tensor, where: str) -> None:
        if self.images is None:
            self.images = torch.empty(self.count, *image.shape, dtype=image.dtype)
            self.first = where
        self.sides |= set(image.shape[1:])
        message = self._difference(image, where)
        if message:
            self.problems.fatal(message)
            return
        self.images[len(self.kept)] = image
        self.kept.append(row)

    def _difference(self, image: Tensor, where: str) -> str | None:
        if self.images is None:
            return None
        channels, height, width = self.images.shape[1:]
        if image.shape[0] != channels:
            return (
                f"All images must have the same channels; {self.first} has {channels} and {where} has "
                f"{image.shape[0]}. Convert them with --set data.channels=1 or --set data.channels=3."
            )
        if image.dtype != self.images.dtype:
            kinds = [str(kind).removeprefix("torch.") for kind in (self.images.dtype, image.dtype)]
            return (
                f"All images must have the same number type; {self.first} is {kinds[0]} and {where} is {kinds[1]}. "
                "Save them alike."
            )
        if image.shape[1:] != (height, width):
            side = max(8, min(self.sides))
            return (
                f"All images must have the same size; {self.first} is {height}x{width} and {where} is "
                f"{image.shape[1]}x{image.shape[2]} pixels. Resize them with --set data.image_size={side}."
            )
        return None


def _read_images(entries: Sequence[Entry], settings: DataSettings, problems: Problems) -> tuple[Tensor, list[int]]:
    """The images that can be used, stacked, and the rows they belong to."""
    stack = _Stack(len(entries), problems)
    remarks: Counter[str] = Counter()
    for row, (entry, found) in enumerate(zip(entries, _decode_all(entries), strict=True)):
        if isinstance(found, DataError):
            problems.fatal(str(found))
            continue
        remarks.update(found.remarks)
        image = with_channels(torch.from_numpy(found.pixels)[None], settings.channels)
        if settings.image_size is not None:
            image = resize(image, settings.image_size)
        stack.put(row, image[0], f"{entry.case.origin} ({entry.path.name})")
    if stack.images is None:
        raise DataError(f"A data set needs images that can be read; none of the {len(entries)} files can.")
    for remark, count in remarks.items():
        problems.caution(f"In {count} of {len(entries)} images {remark}.")
    return stack.images[: len(stack.kept)], stack.kept


def _decode_all(entries: Sequence[Entry]) -> Iterator[Decoded | DataError]:
    """The images in order, decoded a few at a time by some threads."""
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(entries), READ_AHEAD):
            yield from pool.map(_decode_or_error, entries[start : start + READ_AHEAD])


def _decode_or_error(entry: Entry) -> Decoded | DataError:
    if not entry.path.is_file():
        return DataError(
            f"Every image must exist; {entry.case.origin} names {entry.path}, which does not. Correct the path (a path "
            "in a table counts from the table's folder)."
        )
    try:
        return decode(entry.path, entry.case.origin)
    except DataError as error:
        return error


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """Images [case, channel, *space] as grey (1) or RGB (3), in the same number type; DataError if they are neither."""
    if channels is None or images.shape[1] == channels:
        return images
    if images.shape[1] not in (1, 3):
        raise DataError(
            f"data.channels converts between grey and RGB; the images have {images.shape[1]} channels. Leave it out."
        )
    if channels == 3:
        return images.expand(-1, 3, *images.shape[2:]).contiguous()
    luma = LUMA.view(1, 3, *(1,) * (images.ndim - 2))
    grey = (images.to(torch.float32) * luma).sum(1, keepdim=True)
    return (grey if images.is_floating_point() else grey.round()).to(images.dtype)
