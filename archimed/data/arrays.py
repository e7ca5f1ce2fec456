"""The images or masks of a data set: one array per case, in memory or in a file, of one shape or of several."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from archimed.data.preparation.flat_file import FlatFile
from archimed.errors import DataError

Shape = tuple[int, ...]
PART = 2**22  # numbers that `parts` copies at once


class Arrays:
    """One array per case, all of one number type, laid end to end in one flat tensor or file.

    What is read from a file is a copy, so only that takes memory, and nothing can change the file.
    """

    def __init__(
        self,
        flat: Shaped[Tensor, " element"] | FlatFile,
        shapes: Sequence[Shape],
        offsets: Sequence[int] | NDArray[np.int64],
        codes: bytes | None = None,
    ) -> None:
        """Arrays of these shapes that begin at these elements of `flat`; see `recoded` for `codes`."""
        self._flat = flat
        self.shapes: tuple[Shape, ...] = tuple(shapes)
        self._offsets: NDArray[np.int64] = np.asarray(offsets, dtype=np.int64)
        self._codes = codes

    @classmethod
    def of(cls, images: "Shaped[Tensor, 'case *shape'] | Sequence[Tensor] | Arrays") -> "Arrays":
        """Arrays in memory: of a stacked tensor (shared, not copied) or of one tensor per case (copied)."""
        if isinstance(images, Arrays):
            return images
        if isinstance(images, Tensor):
            return cls.end_to_end(images.contiguous().view(-1), [tuple(images.shape[1:])] * len(images))
        flat = torch.cat([image.reshape(-1) for image in images]) if images else torch.empty(0)
        return cls.end_to_end(flat, [tuple(image.shape) for image in images])

    @classmethod
    def end_to_end(cls, flat: Shaped[Tensor, " element"] | FlatFile, shapes: Sequence[Shape]) -> "Arrays":
        """Arrays of these shapes that follow each other without gaps."""
        return cls(flat, shapes, np.cumsum([0, *map(prod, shapes)], dtype=np.int64)[:-1])

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, row: int) -> Tensor:
        """The array of one case: a view of memory, or a copy of what is in a file."""
        start, shape = int(self._offsets[row]), self.shapes[row]
        if isinstance(self._flat, FlatFile):
            found = self._flat.read(self._offsets[[row]], shape)[0]
        else:
            found = self._flat[start : start + prod(shape)].view(shape)
        return found if self._codes is None else _translated(found, self._codes)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[row] for row in range(len(self)))

    @property
    def dtype(self) -> torch.dtype:
        """The number type as stored."""
        return self._flat.dtype

    @cached_property
    def shape(self) -> Shape | None:
        """The shape that all arrays have; None if they differ."""
        shapes = set(self.shapes)
        return self.shapes[0] if len(shapes) == 1 else None

    def take(self, rows: Sequence[int] | NDArray[np.int64] | Tensor) -> Shaped[Tensor, "case *shape"]:
        """A stacked copy of some arrays; DataError if the arrays have several shapes."""
        if self.shape is None:
            raise DataError(
                f"Images in one batch must have one size; theirs are {' and '.join(self._extremes())}. Resize them "
                "with --set data.image_size=N, or give all one grid with data.spacing_mm and data.fit=crop-or-pad."
            )
        starts = self._offsets[np.asarray(rows, dtype=np.int64)]
        if isinstance(self._flat, FlatFile):
            found = self._flat.read(starts, self.shape)
        else:
            found = _gathered(self._flat, starts, self.shape)
        return found if self._codes is None else _translated(found, self._codes)

    def all(self) -> Shaped[Tensor, "case *shape"]:
        """All arrays stacked: the tensor itself where they lie in order in memory, else a copy."""
        if self.shape is not None and isinstance(self._flat, Tensor) and self._codes is None:
            in_order = np.arange(len(self)) * prod(self.shape)
            if self._flat.numel() == len(self) * prod(self.shape) and np.array_equal(self._offsets, in_order):
                return self._flat.view(len(self), *self.shape)
        return self.take(range(len(self)))

    def select(self, rows: Sequence[int]) -> "Arrays":
        """Some of the arrays, in that order, over the same memory or file."""
        return Arrays(self._flat, [self.shapes[row] for row in rows], self._offsets[list(rows)], self._codes)

    def recoded(self, codes: bytes) -> "Arrays":
        """The arrays, which are uint8, with each value replaced by the one at its place in `codes`, on reading."""
        codes = codes if self._codes is None else self._codes.translate(codes)
        return Arrays(self._flat, self.shapes, self._offsets, codes)

    def parts(self, size: int) -> Iterator[Shaped[Tensor, "case *shape"]]:
        """Stacked copies of up to `size` consecutive arrays, fewer where they are large; one where shapes differ."""
        step = 1 if self.shape is None else max(1, min(size, PART // max(1, prod(self.shape))))
        for start in range(0, len(self), step):
            rows = range(start, min(start + step, len(self)))
            yield self.take(rows) if self.shape is not None else self[start][None].clone()

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(map(prod, self.shapes)) * self.dtype.itemsize

    def _extremes(self) -> list[str]:
        ordered = sorted(set(self.shapes), key=prod)
        return ["x".join(map(str, shape)) for shape in (ordered[0], ordered[-1])]


def _gathered(
    flat: Shaped[Tensor, " element"], starts: NDArray[np.int64], shape: Shape
) -> Shaped[Tensor, "row *shape"]:
    """Copies of the parts of one shape that begin at these elements; PyTorch indexes several times slower."""
    size = prod(shape)
    if size and flat.numel() % size == 0 and not (starts % size).any():
        return flat.view(-1, size).index_select(0, torch.from_numpy(starts // size)).view(-1, *shape)
    parts = [flat[start : start + size] for start in starts.tolist()]
    return torch.stack(parts).view(len(parts), *shape) if parts else flat.new_empty(0, *shape)


def _translated(values: Shaped[Tensor, "*shape"], codes: bytes) -> Shaped[Tensor, "*shape"]:
    translated = bytearray(values.contiguous().numpy().data).translate(codes)
    return torch.frombuffer(translated, dtype=torch.uint8).view(values.shape) if translated else values.clone()
