"""Many workers: what handing out and logging a candidate costs, where it ends, and two processes against one.

The work of the simulated workers is to sleep; all else is as in a search: genotypes are asked for by NSGA-II, handed
out by `archimed.workers.team`, told to the strategy in order and logged line by line.
"""

import argparse
import heapq
import math
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archimed.batch import Batch
from archimed.candidate import Candidate, Measurements
from archimed.evaluators.training_free import TrainingFree
from archimed.evaluators.workers import spread_candidates
from archimed.files import append_line
from archimed.genotype import Choice, Genotype, describe, random_genotype
from archimed.indicators import find_indicator
from archimed.objectives import SignedSums
from archimed.search import search_population
from archimed.seeding import torch_generator
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.strategies import Nsga2
from archimed.task import ImagingTask
from archimed.workers import Crew
from archimed.workers.crew import TimeLimit
from archimed.workers.team import answers_in_order
from benchmarks.timing import machine, markdown_table

CHOICES = tuple(Choice(f"gene_{number}", tuple("abcdefgh")) for number in range(30))


def odd_value(genotype: Genotype) -> float:
    """Something to maximise."""
    return float(sum(genotype)) + genotype[0] / 10


class SleepingTeam:
    """Simulated workers: each answers when its time has come, without a process of its own (see `Team`)."""

    def __init__(self, size: int, seconds: float, rng: np.random.Generator) -> None:
        self.size = size
        self._seconds = seconds
        self._rng = rng
        self._ends: list[tuple[float, int]] = []
        self._begun: dict[int, tuple[float, Any]] = {}
        self._ready: set[int] = set()
        self.busy_seconds = 0.0

    def begin(self, worker: int, item: Any) -> None:
        now, takes = time.monotonic(), self._seconds * float(self._rng.lognormal(0, 0.3))
        self._begun[worker] = now, item
        self.busy_seconds += takes
        heapq.heappush(self._ends, (now + takes, worker))

    def since(self, worker: int) -> float | None:
        return self._begun[worker][0]

    def ready(self, busy: Collection[int], timeout: float | None) -> list[int]:  # noqa: ARG002 - they know themselves
        if self._ends and (wait := self._ends[0][0] - time.monotonic()) > 0:
            time.sleep(min(wait, math.inf if timeout is None else timeout))
        while self._ends and self._ends[0][0] <= time.monotonic():
            self._ready.add(heapq.heappop(self._ends)[1])
        found = list(self._ready)
        self._ready.clear()
        return found

    def collect(self, worker: int) -> Any:
        genotype = self._begun[worker][1]
        return Measurements({"left": odd_value(genotype), "right": -odd_value(genotype[::-1])}, self._seconds)

    def stop(self, worker: int) -> None:
        self._begun.pop(worker, None)


@dataclass(frozen=True)
class Run:
    """One simulated search: wall clock and processor seconds of the head, and how busy its workers were."""

    candidates: int
    wall: float
    processor: float
    busy: float


def simulated(workers: int, population: int, generations: int, seconds: float) -> Run:
    team = SleepingTeam(workers, seconds, np.random.default_rng(1))
    strategy = Nsga2(CHOICES, SignedSums(("left", "right")), np.random.default_rng(0), population_size=population)
    strategy.offspring_size = population
    limit = TimeLimit(None)

    def evaluate(genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        return answers_in_order(genotypes, team, limit, lambda _: False)

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "candidates.jsonl"

        def record(candidate: Candidate) -> None:
            line = {"genotype": describe(candidate.genotype, CHOICES), "measurements": dict(candidate.measurements)}
            append_line(log, line | {"generation": candidate.generation, "seconds": candidate.seconds, "dropped": None})

        began, spent = time.perf_counter(), time.process_time()
        result = search_population(
            strategy, evaluate, canonical=lambda one: one, generations=generations, record=record
        )
        wall, processor = time.perf_counter() - began, time.process_time() - spent
    return Run(len(result.candidates), wall, processor, team.busy_seconds / (workers * wall))


def simulate(seconds: float) -> None:
    print(f"\n## Simulated workers, candidates of {seconds:g} s\n\n{machine()}\n")
    rows = []
    for workers, population, generations in (
        *((10, 100, 4), (100, 1000, 3), (1000, 40, 5), (1000, 1000, 3), (1000, 4000, 2)),
    ):
        run = simulated(workers, population, generations, seconds)
        each = 1000 * run.processor / run.candidates
        rows.append(
            [
                *(f"{workers}", f"{population}", f"{run.candidates}", f"{run.wall:.1f}"),
                *(f"{each:.2f}", f"{100 * run.busy:.0f} %", f"{1000 / each:.0f}"),
            ]
        )
    header = ["workers", "generation", "candidates", "seconds", "ms of the head per candidate", "workers busy"]
    print(markdown_table([*header, "candidates per second at most"], rows))


def evaluator(size: int) -> TrainingFree:
    task = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(28, 28))
    images = torch.randn(64, 1, 28, 28, generator=torch_generator(0, "images"))
    indicators = {name: find_indicator(name) for name in ("naswot", "log_synflow")}
    space = MultiscaleCellSpace(width=size)
    return TrainingFree(space, task, Batch(images, torch.arange(64) % 2), indicators, 0)


def pairs(width: int, candidates: int) -> None:
    """Two workers of one thread against one such worker, and one of two threads; processors must be free for it."""
    print(f"\n## Two workers of one thread against one, and one of two, width {width}\n\n{machine()}\n")
    rng, make = np.random.default_rng(0), partial(evaluator, width)
    genotypes = [random_genotype(make().space.choices, rng) for _ in range(candidates)]
    seconds = {}
    for name, workers, threads in (("one", 1, 1), ("two", 2, 1), ("threads", 1, 2)):
        with spread_candidates(make, Crew(workers), threads) as evaluate:
            list(evaluate(genotypes[: 2 * workers]))  # workers start, and kernels are set up
            began = time.perf_counter()
            list(evaluate(genotypes))
            seconds[name] = time.perf_counter() - began
    efficiency = seconds["one"] / (2 * seconds["two"])
    rows = [[f"{candidates}", *(f"{seconds[name]:.1f}" for name in ("one", "two", "threads")), f"{efficiency:.2f}"]]
    header = ["candidates", "one worker, s", "two workers, s", "one of two threads, s", "efficiency of two workers"]
    print(markdown_table(header, rows))


@dataclass(frozen=True)
class Nothing:
    """Work that costs nothing, so that all that is measured is the way to a process and back."""

    def __call__(self, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        return (Measurements({"left": odd_value(genotype)}, 0.0) for genotype in genotypes)


def way_to_a_process(candidates: int) -> None:
    print(f"\n## The way to another process and back\n\n{machine()}\n")
    genotypes = [(number % 8,) * 30 for number in range(candidates)]
    with spread_candidates(Nothing, Crew(2), 1) as evaluate:
        list(evaluate(genotypes[:4]))
        began, spent = time.perf_counter(), time.process_time()
        list(evaluate(genotypes))
        wall, processor = time.perf_counter() - began, time.process_time() - spent
    rows = [[f"{candidates}", f"{1000 * wall / candidates:.2f}", f"{1000 * processor / candidates:.2f}"]]
    print(markdown_table(["candidates", "ms per candidate", "of which the head computes, ms"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a simulated candidate")
    parser.add_argument("--width", type=int, default=64, help="channels of the real candidates")
    parser.add_argument("--candidates", type=int, default=40, help="real candidates")
    arguments = parser.parse_args()
    simulate(arguments.seconds)
    way_to_a_process(2000)
    if (os.cpu_count() or 1) >= 2:
        pairs(arguments.width, arguments.candidates)


if __name__ == "__main__":
    main()
