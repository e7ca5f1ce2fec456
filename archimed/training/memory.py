"""How much memory a computation takes at its peak, counted tensor by tensor, and how much there is."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CGROUP = Path("/sys/fs/cgroup")


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


def free_bytes(device: str) -> int:
    """Memory that this process may still take on a device: of the GPU, or of the machine and the process's group."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return min(int(psutil.virtual_memory().available), _left_to_group())


def _left_to_group() -> int:
    try:
        most = int((CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, most - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return 2**63
