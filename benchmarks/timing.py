"""Timing that survives a busy machine: arms in turn within one run, medians, and what the machine was doing."""

import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TypeVar

import torch

from archimed.processor import keep_freed_memory

Arm = Callable[[], object]
T = TypeVar("T")
SETTLING = 2  # untimed rounds in which kept memory finds its places, as it has after a search's first candidates


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


def apart(make: Callable[[], Mapping[str, Arm]], *, ours: bool, settling: int = SETTLING) -> dict[str, Arm]:
    """Arms that run in a process of their own, which waits while others run.

    Args:
        make: makes the arms there; a function that can be imported, or a `partial` of one.
        ours: whether freed memory is kept, as archimed does while it computes, or handled as Python starts.
        settling: untimed rounds of ours, in which kept memory finds its places.
    """
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=_serve, args=(there, make, ours, settling, torch.get_num_threads()), daemon=True).start()
    there.close()

    def ask(name: str) -> None:
        here.send(name)
        here.recv()

    names: list[str] = here.recv()
    return {name: (lambda name=name: ask(name)) for name in names}


def in_turn(items: Sequence[T], *, ours: bool) -> Iterator[T]:
    """What an arm takes call by call: ours first some for its settling rounds, so that all arms then take the same."""
    return iter([*items[:SETTLING], *items] if ours else items)


def _serve(pipe: Connection, make: Callable[[], Mapping[str, Arm]], ours: bool, settling: int, threads: int) -> None:
    """Run the arms that are asked for; what fails ends this process, and with it the benchmark."""
    torch.set_num_threads(threads)
    if ours:
        keep_freed_memory()
    arms = make()
    for _ in range(settling if ours else 0):
        for arm in arms.values():
            arm()
    pipe.send(list(arms))
    with suppress(EOFError):  # the benchmark is over
        while True:
            arms[pipe.recv()]()
            pipe.send(None)


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
