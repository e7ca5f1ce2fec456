"""The images or masks of a data set: one array per case, in memory or mapped from a file, of one shape or of several."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from archimed.errors import DataError

Shape = tuple[int, ...]


class Arrays:
    """One array per case, all of one number type, laid end to end in one flat tensor.

    The flat tensor may be mapped from a file, so that only what is read takes memory.
    """

    def __init__(self, flat: Shaped[Tensor, " element"], shapes: Sequence[Shape], offsets: Sequence[int]) -> None:
        """Arrays of these shapes that begin at these elements of `flat`."""
        self._flat = flat
        self.shapes: tuple[Shape, ...] = tuple(shapes)
        self._offsets: NDArray[np.int64] = np.asarray(offsets, dtype=np.int64)

    @classmethod
    def of(cls, images: "Shaped[Tensor, 'case *shape'] | Sequence[Tensor] | Arrays") -> "Arrays":
        """Arrays in memory: of a stacked tensor (shared, not copied) or of one tensor per case (copied)."""
        if isinstance(images, Arrays):
            return images
        if isinstance(images, Tensor):
            shape = tuple(images.shape[1:])
            step = prod(shape)
            return cls(images.contiguous().view(-1), [shape] * len(images), [row * step for row in range(len(images))])
        shapes = [tuple(image.shape) for image in images]
        sizes = [prod(shape) for shape in shapes]
        flat = torch.cat([image.reshape(-1) for image in images]) if images else torch.empty(0)
        return cls(flat, shapes, np.cumsum([0, *sizes])[:-1].tolist())

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, row: int) -> Tensor:
        """The array of one case; a view."""
        start = int(self._offsets[row])
        return self._flat[start : start + prod(self.shapes[row])].view(self.shapes[row])

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
                f"Images in one batch must have one size; theirs are {' and '.join(self._extremes())}. Resize them with "
                "--set data.image_size=N, or give all one grid with data.spacing_mm and data.fit=crop-or-pad."
            )
        index = torch.as_tensor(rows, dtype=torch.int64)
        size = prod(self.shape)
        starts = torch.from_numpy(self._offsets)[index]
        if self._flat.numel() % max(size, 1) == 0 and not (starts % max(size, 1)).any():
            return self._flat.view(-1, *self.shape)[starts // max(size, 1)]
        return torch.stack([self[int(row)] for row in index]) if len(index) else self._flat.new_empty(0, *self.shape)

    def all(self) -> Shaped[Tensor, "case *shape"]:
        """All arrays stacked: the tensor itself where they lie in order, else a copy."""
        if self.shape is not None and len(self) and self._flat.numel() == len(self) * prod(self.shape):
            steps = np.arange(len(self)) * prod(self.shape)
            if np.array_equal(self._offsets, steps):
                return self._flat.view(len(self), *self.shape)
        return self.take(range(len(self)))

    def select(self, rows: Sequence[int]) -> "Arrays":
        """Some of the arrays, in that order, over the same memory."""
        return Arrays(self._flat, [self.shapes[row] for row in rows], self._offsets[list(rows)].tolist())

    def parts(self, size: int) -> Iterator[Shaped[Tensor, "case *shape"]]:
        """Stacked copies of `size` consecutive arrays at a time; one at a time where shapes differ."""
        step = size if self.shape is not None else 1
        for start in range(0, len(self), step):
            rows = range(start, min(start + step, len(self)))
            yield self.take(rows) if self.shape is not None else self[start][None].clone()

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(prod(shape) for shape in self.shapes) * self._flat.element_size()

    def _extremes(self) -> list[str]:
        ordered = sorted(set(self.shapes), key=prod)
        return ["x".join(map(str, shape)) for shape in (ordered[0], ordered[-1])]
