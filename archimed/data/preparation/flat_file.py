"""Numbers of one type, end to end in a file, of which any part is read when it is needed.

Parts are copied from the operating system's cache of the file, and so count as memory of this process only while they
are used. A mapping would count every page ever read, is slower to gather from, and ends the process where the file
breaks off.
"""

import os
import weakref
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from archimed.errors import DataError


class FlatFile:
    """An open file of numbers; may be used by threads, forked and (by its path) spawned processes at once."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self.path = path
        self.dtype = dtype
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> tuple[type["FlatFile"], tuple[Path, torch.dtype]]:
        return FlatFile, (self.path, self.dtype)

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return os.fstat(self._descriptor).st_size

    def read(self, starts: Int64[np.ndarray, " part"], shape: tuple[int, ...]) -> Shaped[Tensor, "part *shape"]:
        """The parts of one shape that begin at these numbers; neighbours are read in one go.

        Raises:
            DataError: the file ends too early or cannot be read.
        """
        parts = torch.empty((len(starts), *shape), dtype=self.dtype)
        if not parts.numel():
            return parts
        size = prod(shape)
        buffer = parts.view(-1).view(torch.uint8).numpy().data
        firsts = np.flatnonzero(np.diff(starts, prepend=starts[0] - size - 1) != size)
        lasts = np.append(firsts[1:], len(starts))
        step = size * self.dtype.itemsize
        for first, last, start in zip(firsts.tolist(), lasts.tolist(), starts[firsts].tolist(), strict=True):
            self._fill(buffer[first * step : last * step], start * self.dtype.itemsize)
        return parts

    def _fill(self, buffer: memoryview, position: int) -> None:
        done = 0
        try:
            while done < len(buffer):
                count = os.preadv(self._descriptor, [buffer[done:]], position + done)
                if count == 0:
                    raise OSError("it ends too early")
                done += count
        except OSError as error:
            raise DataError(
                f"Prepared images must be readable; {self.path} is not ({error.strerror or error}). "
                "Have them prepared anew: archimed data cache --clear"
            ) from error
