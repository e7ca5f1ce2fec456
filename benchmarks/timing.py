"""Timing that survives a busy machine: arms in turn within one run, medians, and what the machine was doing."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Arm = Callable[[], object]


def interleaved(arms: Mapping[str, Arm], repeats: int, seconds: float = float("inf")) -> dict[str, float]:
    """Median wall-clock seconds of each arm; all arms run once per round.

    The first round warms up and does not count, unless the time is up after it. Later rounds end when it is.
    """
    start = time.perf_counter()
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats + 1):
        for name, arm in arms.items():
            began = time.perf_counter()
            arm()
            times[name].append(time.perf_counter() - began)
        if time.perf_counter() - start > seconds:
            break
    return {name: statistics.median(values[1:] or values) for name, values in times.items()}


def machine() -> str:
    """One line on processor, cores, load, threads and versions."""
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{_processor()}, {os.cpu_count()} cores, load {load}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} with {capability}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
