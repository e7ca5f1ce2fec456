"""Whole searches side by side, on the workers of the run: of methods that measure one candidate after the other.

Each search works in `search/apart/fold<k>.seed<s>`, a run folder of its own, from which it goes on if it is cut off;
what it logged, its state and its choices then join those of the run, in the order in which one worker would write them.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from archimed.errors import RunError
from archimed.experiment.budget import Budget
from archimed.experiment.progress import Silent
from archimed.experiment.search_stage import (
    add_selections,
    missing_of,
    place,
    restore_lines,
    search_once,
    search_scope,
    where,
)
from archimed.experiment.settings import Experiment
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import read_lines
from archimed.methods.protocol import spreads_its_search
from archimed.runs import RunDirectory, place_name
from archimed.training.machine import Machine
from archimed.workers import Lost, spread


def search_together(bench: Workbench, budget: Budget) -> None:
    """Search in the folds and for the seeds that are left, several at a time; alone, only what was begun apart.

    Does nothing for one search, for a method whose search has the workers itself, and with a budget of time, of which
    every search gets its share in turn.

    Raises:
        RunError: a worker died over the same search again.
    """
    crew, repeats = bench.experiment.crew, bench.searches()
    todo = [number for number, repeat in enumerate(repeats) if missing_of(bench, repeat)]
    begun = [number for number in todo if apart(bench, repeats[number]).path.exists()]
    if budget.seconds is not None or spreads_its_search(bench.experiment.method):
        return
    todo = begun if crew.alone or len(todo) < 2 else todo
    if not todo:
        return
    at_once = min(crew.workers, len(todo))
    bench.observer.stage(f"search: {bench.experiment.method.name}, {len(todo)} folds and seeds, {at_once} at a time")
    make = partial(searcher, bench.run, bench.experiment, bench.machine)
    gpu = bench.machine.device.startswith("cuda")
    with spread(make, crew.unlimited(), bench.machine.threads, gpu=gpu) as answers:
        for done, answer in enumerate(answers(todo), start=1):
            repeat = repeats[todo[done - 1]]
            if isinstance(answer, Lost):
                raise RunError(
                    f"A search needs a worker that lives; {apart(bench, repeat).path.name}: {answer.reason}. "
                    f"Then go on with: archimed resume {bench.run.path}"
                )
            for sentence in answer:
                bench.observer.say(f"{bench.experiment.method.name}{where(bench, repeat, None)}: {sentence}")
            join(bench, repeat)
            bench.observer.progress(done, len(todo), "searches")


def apart(bench: Workbench, repeat: Repeat) -> RunDirectory:
    """Where a search works by itself."""
    name = place_name(repeat.fold, repeat.seed, search_scope(bench, repeat))
    return RunDirectory(bench.run.path / "search" / "apart" / name)


def join(bench: Workbench, repeat: Repeat) -> None:
    """Make what a search left apart part of the run; a crash at any instant leaves what can be joined again."""
    part, run, scope = apart(bench, repeat), bench.run, search_scope(bench, repeat)
    for own, log in ((part.candidates, run.candidates), (part.search_epochs, run.search_epochs)):
        restore_lines(log, place(repeat, scope), read_lines(own))
    kept, state = (one.search_state(repeat.fold, repeat.seed, scope) for one in (part, run))
    if kept.exists():
        shutil.rmtree(state, ignore_errors=True)
        state.parent.mkdir(parents=True, exist_ok=True)
        kept.rename(state)
    add_selections(run, bench.experiment.method.name, part.selections())
    shutil.rmtree(part.path)
    if not any(part.path.parent.iterdir()):
        part.path.parent.rmdir()


class Listening(Silent):
    """Keeps the sentences that a person should know."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        """Keep it."""
        self.sentences.append(sentence)


@dataclass(frozen=True)
class Searcher:
    """One worker's view of the run."""

    bench: Workbench

    def __call__(self, number: int) -> list[str]:
        """Search in one fold and for one seed, in its own folder, or go on there; what a person should know of it."""
        repeat, listening = self.bench.searches()[number], Listening()
        part = apart(self.bench, repeat)
        bench = replace(self.bench, run=part, observer=listening)
        if missing := missing_of(self.bench, repeat) & missing_of(bench, repeat):
            search_once(bench, repeat, missing, Budget(None))
        return listening.sentences


def searcher(run: RunDirectory, experiment: Experiment, machine: Machine) -> Callable[[int], list[str]]:
    """Open the run in a worker, which has no workers of its own: its data are read there anew."""
    alone = replace(experiment, machine=replace(experiment.machine, workers=1, cluster=None))
    return Searcher(Workbench(run, alone, Silent(), machine))
