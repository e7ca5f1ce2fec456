"""How this process computes: PyTorch's threads, numbers too small to matter, and memory that is used again."""

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# names and numbers of glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
_LARGEST_INT = 2**31 - 1

_open: list[int] = []  # threads of the blocks that are running, outermost first; the last to end undoes all


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Run a block with so many threads, without denormal numbers, and with memory that is kept when it is freed.

    Adam's averages of gradients that became zero decay into denormals, which a CPU adds many times slower. Memory that
    tensors free would go back to the system, which clears every page of it before it hands it out again; where
    activations are large that took up to half of the time (docs/performance.md). After the block all is undone, and
    what is free goes back to the system.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    _open.append(threads)
    try:
        yield
    finally:
        _open.pop()
        torch.set_num_threads(before)
        if not _open:
            torch.set_flush_denormal(False)
            give_memory_back()


@functools.cache
def keep_freed_memory() -> None:
    """From now on this process takes all its memory from one heap, and keeps what is freed for what is asked next.

    Only the C library of most Linux systems (glibc) can be told so; elsewhere nothing changes.
    """
    with suppress(AttributeError):
        mallopt = _c_library().mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, _LARGEST_INT)


def give_memory_back() -> None:
    """Return to the system what is kept free."""
    with suppress(AttributeError):
        _c_library().malloc_trim(0)


@functools.cache
def _c_library() -> Any:
    """The C library of this process; an object without functions where it is not glibc's kind of system."""
    if sys.platform != "linux":
        return object()
    import ctypes

    return ctypes.CDLL(None)
