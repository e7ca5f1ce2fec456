"""Prepared images and masks, kept one after the other while a data set is read: in memory, or in a file each."""

import errno
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import psutil
import torch
from torch import Tensor

from archimed.data.arrays import Arrays, Shape
from archimed.data.preparation.flat_file import FlatFile
from archimed.data.volume import ChannelKind
from archimed.errors import DataError

IMAGES, MASKS = "images.bin", "masks.bin"


@dataclass
class Facts:
    """What is known of prepared cases besides their pixels; lists have one item for each case that was kept.

    Attributes:
        channel_names: what each channel shows; empty where the source does not say.
        channel_kinds: what the values of each channel are.
        rows: places of the cases in the listing.
        spacing: millimetres along each axis; None where unknown.
        patients: who it is by the image files, hidden (see `privacy`); None where they do not say.
        mask_values: the values that occur in the mask; none without masks.
        remarks: what was changed on reading, and in how many images.
        grid: the grid to which all cases came if one was chosen for them (`CommonGrid.to_json`).
    """

    channel_names: tuple[str, ...] = ()
    channel_kinds: tuple[ChannelKind, ...] = ()
    rows: list[int] = field(default_factory=list)
    spacing: list[tuple[float, ...] | None] = field(default_factory=list)
    patients: list[str | None] = field(default_factory=list, repr=False)
    mask_values: list[list[int]] = field(default_factory=list)
    remarks: dict[str, int] = field(default_factory=dict)
    grid: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Facts":
        """The facts whose fields, once written as JSON, are these."""
        names, kinds = tuple(values["channel_names"]), tuple(values["channel_kinds"])
        spacing = [None if sizes is None else tuple(sizes) for sizes in values["spacing"]]
        return cls(**{**values, "channel_names": names, "channel_kinds": kinds, "spacing": spacing})


@dataclass(frozen=True)
class Prepared:
    """All cases that were kept."""

    facts: Facts
    images: Arrays
    masks: Arrays | None


class Sink(Protocol):
    """Takes the prepared cases in order, and hands them back as arrays."""

    def put(self, image: Tensor, mask: Tensor | None) -> None:
        """Keep one case."""

    def images(self) -> Arrays:
        """All images so far."""

    def masks(self) -> Arrays | None:
        """All masks so far; None if there are none."""


class MemorySink:
    """Keeps cases in memory, as long as that is far from full."""

    def __init__(self, cases: int) -> None:
        """A sink for about that many cases."""
        self._cases = cases
        self._room = psutil.virtual_memory().available // 2  # they are laid end to end in a second copy
        self._images: list[Tensor] = []
        self._masks: list[Tensor] = []

    def put(self, image: Tensor, mask: Tensor | None) -> None:
        """Keep one case; DataError if all of them would not fit."""
        size = image.nbytes + (0 if mask is None else mask.nbytes)
        if size * max(1, self._cases - len(self._images)) > self._room:
            raise DataError(
                "Images must fit into half of the free memory, or be kept on the disk (data.cache=true); "
                f"{self._cases} cases like the last take {size * self._cases / 2**30:.1f} GiB. Make room on the disk, "
                "set ARCHIMED_CACHE to a folder with room, or make images smaller with data.image_size."
            )
        self._room -= size
        self._images.append(image)
        if mask is not None:
            self._masks.append(mask)

    def images(self) -> Arrays:
        """All images so far."""
        return Arrays.of(self._images)

    def masks(self) -> Arrays | None:
        """All masks so far; None if there are none."""
        return Arrays.of(self._masks) if self._masks else None


@dataclass
class _Flat:
    """A file of numbers under way."""

    path: Path
    dtype: torch.dtype | None = None
    shapes: list[Shape] = field(default_factory=list)
    _file: IO[bytes] | None = None

    def write(self, array: Tensor) -> None:
        if self._file is None:
            self._file, self.dtype = self.path.open("xb", buffering=0), array.dtype
        rest = array.contiguous().view(-1).view(torch.uint8).numpy().data
        while rest:
            rest = rest[self._file.write(rest) :]
        self.shapes.append(tuple(array.shape))

    def sync(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def arrays(self) -> Arrays | None:
        return None if self.dtype is None else Arrays.end_to_end(FlatFile(self.path, self.dtype), self.shapes)


class FileSink:
    """Writes cases to two files in a folder; OSError as soon as they cannot be written."""

    def __init__(self, folder: Path, cases: int) -> None:
        """A sink for about that many cases."""
        self._cases = cases
        self._images, self._masks = _Flat(folder / IMAGES), _Flat(folder / MASKS)

    def put(self, image: Tensor, mask: Tensor | None) -> None:
        """Write one case; before the first, see that there is room for all."""
        if not self._images.shapes:
            size = image.nbytes + (0 if mask is None else mask.nbytes)
            if size * self._cases > shutil.disk_usage(self._images.path.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._images.write(image)
        if mask is not None:
            self._masks.write(mask)

    def images(self) -> Arrays:
        """All images so far."""
        return self._images.arrays() or Arrays.of([])

    def masks(self) -> Arrays | None:
        """All masks so far; None if there are none."""
        return self._masks.arrays()

    def sync(self) -> None:
        """Return when all is on the disk."""
        self._images.sync()
        self._masks.sync()

    def close(self) -> None:
        """End writing."""
        self._images.close()
        self._masks.close()
