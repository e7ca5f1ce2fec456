"""A listing of files to a `Dataset`: every case read and prepared once, compared with the first, and kept."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Literal, TypeVar

import torch
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset
from archimed.data.listing import Entry, Listing
from archimed.data.natural import natural
from archimed.data.preparation.cache import prepared
from archimed.data.preparation.case import PreparedCase, extent, prepare
from archimed.data.preparation.common_grid import CommonGrid, Extent, common_grid
from archimed.data.preparation.store import Facts, Prepared, Sink
from archimed.data.privacy import hidden
from archimed.data.problems import Problems
from archimed.data.readers.any_image import is_dicom_image
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from archimed.task import ImagingTask, TaskKind

READERS = 4  # threads at most: decoders release the interpreter
MOST_CLASSES = 32  # of masks whose classes nothing names: more values are rather an instance map

T = TypeVar("T")
Progress = Callable[[int, int], None]  # cases read so far, of how many


def assemble(listing: Listing, settings: DataSettings, problems: Problems, progress: Progress | None = None) -> Dataset:
    """Read the images of a listing; flaws of cases go to `problems`; DataError if none of them can be used."""
    settings = replace(settings, region_channel=_gives_regions(listing, settings, problems))
    found = prepared(listing, settings, problems, lambda sink: _read(listing, settings, problems, sink, progress))
    facts, images = found.facts, found.images
    for remark, count in facts.remarks.items():
        problems.caution(f"In {count} of {len(listing.entries)} images {remark}.")
    entries = [listing.entries[row] for row in facts.rows]
    kind, class_names, target, masks = _target(entries, listing, found, settings, problems)
    sizes = images.shapes
    largest = tuple(max(shape[axis] for shape in sizes) for axis in range(len(sizes[0])))
    patients_known = listing.patients_known or all(facts.patients)
    return Dataset(
        name=listing.name,
        source_kind=listing.source_kind,
        task=ImagingTask(kind, class_names, largest[0], largest[1:]),
        cases=tuple(_cases(entries, facts, listing.patients_known)),
        images=images,
        target=target,
        masks=masks,
        channel_names=facts.channel_names,
        channel_kinds=facts.channel_kinds,
        spacing=tuple(facts.spacing) if any(facts.spacing) else (),
        patients_known=patients_known,
        notes=listing.notes,
        grid=None if facts.grid is None else CommonGrid.from_json(facts.grid),
        regions=all(entry.region is not None for entry in entries),
    )


def _gives_regions(listing: Listing, settings: DataSettings, problems: Problems) -> bool:
    """Whether regions become a channel: if asked for, and every case has one."""
    count = sum(entry.region is not None for entry in listing.entries)
    if settings.region_channel and 0 < count < len(listing.entries):
        problems.caution(
            f"Only {count} of {len(listing.entries)} cases have a region, so regions are no channel of the images."
        )
    return settings.region_channel and count == len(listing.entries)


def _cases(entries: Sequence[Entry], facts: Facts, patients_known: bool) -> Iterator[Case]:
    """The cases, with the patients that DICOM files name where the source names none for all."""
    from_files = not patients_known and all(facts.patients)
    for entry, patient in zip(entries, facts.patients, strict=True):
        case = replace(entry.case, from_dicom=any(path is not None and is_dicom_image(path) for path in entry.images))
        yield replace(case, patient=patient) if from_files and patient else case


def _read(listing: Listing, settings: DataSettings, problems: Problems, sink: Sink, progress: Progress | None) -> Facts:
    """Prepare every case and keep those that agree with the first."""
    first: tuple[PreparedCase, str] | None = None
    facts = Facts()
    remarks: Counter[str] = Counter()
    sides: set[int] = set()
    if grid := _common_grid(listing, settings):
        settings = grid.asked_by(settings)
        facts.grid = grid.to_json()
    for row, (entry, found) in enumerate(zip(listing.entries, _prepared(listing, settings), strict=True)):
        if progress is not None:
            progress(row + 1, len(listing.entries))
        if isinstance(found, DataError):
            problems.fatal(str(found))
            continue
        remarks.update(found.remarks)
        path = next(path for path in entry.images if path is not None)
        where = f"{entry.case.origin} ({path.name})" if path.name not in entry.case.origin else entry.case.origin
        first = first or (found, where)
        sides |= set(found.image.shape[1:])
        if flaw := _difference(*first, found, where, min(sides)):
            problems.fatal(flaw)
            continue
        sink.put(found.image, found.mask)
        facts.rows.append(row)
        facts.spacing.append(found.spacing and tuple(map(float, found.spacing)))
        facts.patients.append(found.patient and hidden(found.patient))
        values = [] if found.mask is None else torch.bincount(found.mask.reshape(-1)).nonzero().flatten().tolist()
        facts.mask_values.append(values)
    if first is None or not facts.rows:
        raise DataError(f"A data set needs images that can be read; none of the {len(listing.entries)} files can.")
    facts.channel_names, facts.channel_kinds = first[0].channel_names, first[0].channel_kinds
    facts.remarks = dict(remarks)
    return facts


def _common_grid(listing: Listing, settings: DataSettings) -> CommonGrid | None:
    """The grid that `data.image_size=auto` asks for; cases that cannot be read are told of later."""
    if settings.image_size != "auto" or any(entry.mask is not None for entry in listing.entries):
        return None
    found = _ahead(listing, lambda entry: extent(entry, settings))
    if isinstance(first := next(found, None), DataError) or first is None:  # pictures are not read twice
        return None
    extents = [first, *(one for one in found if isinstance(one, Extent))]
    return common_grid(extents, settings)


def _prepared(listing: Listing, settings: DataSettings) -> Iterator[PreparedCase | DataError]:
    """The cases in order."""
    return _ahead(listing, lambda entry: prepare(entry, listing.modalities, settings))


def _ahead(listing: Listing, read: Callable[[Entry], T]) -> Iterator[T | DataError]:
    """What is read of each case, or why it cannot be, in order; some threads read a few ahead."""

    def found(entry: Entry) -> T | DataError:
        try:
            return read(entry)
        except DataError as error:
            return error

    threads = min(READERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(listing.entries)
        ahead = [pool.submit(found, entry) for entry in islice(waiting, 2 * threads)]
        while ahead:
            yield ahead.pop(0).result()
            ahead.extend(pool.submit(found, entry) for entry in islice(waiting, 1))


def _difference(first: PreparedCase, first_where: str, found: PreparedCase, where: str, side: int) -> str | None:
    """What forbids to put a case beside the first one; cases to segment may differ in size."""
    if first.image.ndim != found.image.ndim:
        return (
            f"All images must have the same number of axes; {first_where} has {first.image.ndim - 1} and {where} has "
            f"{found.image.ndim - 1}. Leave one kind out."
        )
    if len(first.image) != len(found.image):
        return (
            f"All images must have the same channels; {first_where} has {len(first.image)} and {where} has "
            f"{len(found.image)}. Convert them with --set data.channels=1 or --set data.channels=3."
        )
    if first.image.dtype != found.image.dtype:
        kinds = [str(image.dtype).removeprefix("torch.") for image in (first.image, found.image)]
        return (
            f"All images must have the same number type; {first_where} is {kinds[0]} and {where} is {kinds[1]}. "
            "Save them alike."
        )
    if first.channel_kinds != found.channel_kinds:
        kinds = [", ".join(one.channel_kinds) for one in (first, found)]
        return (
            f"A channel must be of one kind in all images; {first_where} is {kinds[0]} and {where} is {kinds[1]}. "
            "Leave one kind out."
        )
    if first.mask is None and first.image.shape != found.image.shape:
        sizes = ["x".join(map(str, image.shape[1:])) for image in (first.image, found.image)]
        return (
            f"All images must have the same size; {first_where} is {sizes[0]} and {where} is {sizes[1]} pixels. "
            f"Resize them with --set data.image_size={max(8, side)}."
        )
    return None


def _target(
    entries: Sequence[Entry], listing: Listing, found: Prepared, settings: DataSettings, problems: Problems
) -> tuple[TaskKind, tuple[str, ...], Tensor, Arrays | None]:
    """Kind of task, classes, target and masks with class numbers."""
    if found.masks is not None:
        values = found.facts.mask_values
        return segmentation(found.masks, values, listing.mask_names, settings.mask_values, problems)
    if listing.label_names:
        labels = torch.tensor([entry.label for entry in entries], dtype=torch.float32)
        return "multi-label", listing.label_names, labels, None
    words = [str(entry.label) for entry in entries]
    names = sorted(set(words), key=natural)
    if len(names) > max(2, len(words) // 2):
        problems.fatal(
            f"Labels must be classes that repeat; there are {len(names)} different ones in {len(words)} cases, for "
            f"example {names[0]!r}. Give class names or whole numbers."
        )
    positive = settings.positive_class
    if positive is not None and len(names) == 2:
        if positive not in names:
            problems.fatal(f"data.positive_class must be one of {names}; got {positive!r}. Name one of them.")
        names.sort(key=lambda name: name == positive)
    number = {name: index for index, name in enumerate(names)}
    kind: TaskKind = "binary" if len(names) == 2 else "ordinal" if listing.ordinal else "multi-class"
    return kind, tuple(names), torch.tensor([number[word] for word in words], dtype=torch.int64), None


def segmentation(
    masks: Arrays,
    values_of_case: Sequence[Sequence[int]],
    mask_names: tuple[str, ...],
    mask_values: Literal["auto", "classes", "foreground"],
    problems: Problems,
) -> tuple[TaskKind, tuple[str, ...], Tensor, Arrays]:
    """Mask values as consecutive class numbers, and which of them occur in each case.

    Args:
        masks: of each case.
        values_of_case: the values that each mask holds.
        mask_names: classes by their values, the background first; empty where nothing names them.
        mask_values: the setting `data.mask_values`; with `foreground`, masks hold zeros and ones.
        problems: flaws go there.
    """
    occurs = torch.zeros(len(masks), 256, dtype=torch.bool)
    for case, present in enumerate(values_of_case):
        occurs[case, present] = True
    values = torch.nonzero(occurs.any(0)).flatten().tolist()
    if mask_values == "foreground":
        foreground = mask_names[1] if len(mask_names) == 2 else "foreground"
        return "segmentation", ("background", foreground), occurs[:, :2].float(), masks
    if mask_names:
        unknown = [value for value in values if value >= len(mask_names)]
        if unknown:
            problems.fatal(
                f"Masks hold only the classes that are named, 0 to {len(mask_names) - 1}; "
                f"some hold {unknown[0]}. Name the class or repair the masks."
            )
        return "segmentation", mask_names, occurs[:, : len(mask_names)].float(), masks
    if mask_values == "auto" and len(values) > MOST_CLASSES:
        problems.fatal(
            f"Masks of classes have at most {MOST_CLASSES} values; these have {len(values)}. If all above zero is one "
            "class: --set data.mask_values=foreground; else --set data.mask_values=classes."
        )
    values = sorted({0, *values})
    if values != list(range(len(values))):
        number = {value: index for index, value in enumerate(values)}
        masks = masks.recoded(bytes(number.get(value, 0) for value in range(256)))
    if len(values) <= 2:
        return "segmentation", ("background", "foreground"), occurs[:, [0, values[-1] or 1]].float(), masks
    names = ("background", *(f"value {value}" for value in values[1:]))
    return "segmentation", names, occurs[:, values].float(), masks
