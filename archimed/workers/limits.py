"""What one piece of work may take of memory and time, and how too much of it is told."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
import torch

CGROUP = Path("/sys/fs/cgroup")
GIB = 2**30
SHARE_OF_FREE = 0.95  # beyond which the system begins to end processes
OUT_OF_MEMORY = "out of memory"
SAYINGS = (OUT_OF_MEMORY, "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")


class TimeUpError(BaseException):
    """Raised within a piece of work that takes too long; no `except Exception` in it catches this."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was lacking, on a CPU or a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error).lower() for saying in SAYINGS)


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


def most_data(gib: float | None) -> int | None:
    """What this process may hold in all if one piece of work may take so many GiB, None: what is free now.

    None where that cannot be limited: off Linux, and for a limit of infinity.
    """
    if gib == math.inf or sys.platform != "linux":
        return None
    more = free_bytes("cpu") * SHARE_OF_FREE if gib is None else gib * GIB
    return int(psutil.Process().memory_info().data + more)


@contextmanager
def memory_limit(most: int | None) -> Iterator[None]:
    """Within it, an allocation that takes the private memory of this process above so many bytes fails.

    It then raises as any failed allocation does, where the system would end the process. None is no limit.
    """
    if most is None:
        yield
        return
    import resource  # not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [most, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Within it, TimeUpError is raised once the time is up, between two steps of Python.

    Only the main thread of a system with timers has it; elsewhere nothing ends the work. A timer that was set before
    goes on.
    """
    able = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not able or seconds == math.inf:
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeUpError

    before, began = signal.signal(signal.SIGALRM, end), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 1e-3), interval)


def offer_to_be_ended() -> None:
    """Should memory run out, the system ends this process before the one that leads it."""
    with suppress(OSError):
        Path(f"/proc/{os.getpid()}/oom_score_adj").write_text("500", encoding="ascii")
