"""How much memory a computation takes at its peak, counted tensor by tensor."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made within it, on the CPU, forward and backward; `peak` is the most at once.

    What libraries take within one operation is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf.untyped_storage())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        known = self._alive.get(address)
        if size == 0 or (known is not None and known() is not None):
            return

        def gone(reference: "weakref.ref[Any]") -> None:
            self._now -= size
            if self._alive.get(address) is reference:
                del self._alive[address]

        self._alive[address] = weakref.ref(storage, gone)
        self._now += size
        self.peak = max(self.peak, self._now)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes of new tensors that some work on the CPU holds at once."""
    with PeakMemory() as memory:
        work()
    peak: int = memory.peak
    return peak
