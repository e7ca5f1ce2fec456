"""Trainings of networks, folds and seeds side by side, on the workers of the run."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from archimed.errors import RunError
from archimed.experiment.budget import Budget, TimeShare
from archimed.experiment.progress import Silent
from archimed.experiment.settings import Experiment
from archimed.experiment.train_stage import (
    Job,
    begin_with_weights,
    check_own_network,
    described,
    jobs,
    train_one,
)
from archimed.experiment.tuned import recipe_of
from archimed.experiment.workbench import Workbench
from archimed.runs import RunDirectory
from archimed.training.machine import Machine
from archimed.training.progress import TrainingError
from archimed.workers import Lost, spread


def train_together(bench: Workbench, budget: Budget) -> None:
    """Train what is not trained yet on the workers of the run, if there are several and so are the trainings.

    Not where torchrun started a team, whose processes train one network at a time. Each training is that of
    `train_one`, in its own folder; what fails there is told by `train_all`, which follows and finds the others done.

    Raises:
        RunError: the search is not complete, or a worker died over the same training again.
    """
    crew = bench.experiment.crew
    if crew.alone or bench.team.several:
        return
    every = jobs(bench)
    check_own_network(bench, every, "Training needs the networks that the search chooses")
    todo = untrained(bench, every)
    if len(todo) < 2:
        return
    beginners = frozenset(begin_with_weights(bench, every))
    bench.observer.stage(f"train: {len(todo)} networks, folds and seeds, {min(crew.workers, len(todo))} at a time")
    left = math.inf if budget.seconds is None else budget.left_for_training()
    make = partial(trainer, bench.run, bench.experiment, bench.machine, beginners, left)
    gpu = bench.machine.device.startswith("cuda")
    with spread(make, crew.unlimited(), bench.machine.threads, gpu=gpu) as answers:
        for done, answer in enumerate(answers(todo), start=1):
            if isinstance(answer, Lost):
                raise RunError(
                    f"A training needs a worker that lives; {every[todo[done - 1]].folder.path.name}: {answer.reason}. "
                    f"Then go on with: archimed resume {bench.run.path}"
                )
            bench.observer.progress(done, len(todo), "trainings")


def untrained(bench: Workbench, every: list[Job]) -> list[int]:
    """Places of the trainings to do in the list of all, equal ones once: the others take over its result."""
    found: dict[str, int] = {}
    for number, job in enumerate(every):
        recipe = recipe_of(bench, job.selection.network, job.repeat)
        alike = json.dumps([repr(job.repeat), repr(recipe), described(bench, job, recipe)], sort_keys=True)
        found.setdefault(alike, number)
    return [number for number in found.values() if not every[number].folder.training.exists()]


@dataclass(frozen=True)
class Trainer:
    """One worker's view of the run."""

    bench: Workbench
    every: list[Job]
    beginners: frozenset[str]
    time: TimeShare

    def __call__(self, number: int) -> None:
        """Train one network; its failure is in its folder."""
        job = self.every[number]
        with suppress(TrainingError):
            train_one(self.bench, job, [], job.selection.network in self.beginners, self.time.is_over)


def trainer(
    run: RunDirectory, experiment: Experiment, machine: Machine, beginners: frozenset[str], seconds_left: float
) -> Callable[[int], None]:
    """Open the run in a worker: its folder and data are read there anew."""
    bench = Workbench(run, experiment, Silent(), machine)
    return Trainer(bench, jobs(bench), beginners, TimeShare.of(seconds_left, [1.0]))
