"""The loop of a search by weight sharing: train and measure all paths, keep the best, renew (EMARS, Alg. 1)."""

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from archimed.candidate import Candidate
from archimed.errors import SearchError
from archimed.evaluators.shared_weights import PathSteps, SharedWeights
from archimed.methods.finalists import ShortTraining, choose
from archimed.methods.path_data import PathCases
from archimed.methods.path_settings import PathSettings
from archimed.methods.path_state import Generation, PathFolder, PathState
from archimed.methods.protocol import Journal
from archimed.methods.rivals import parameter_count
from archimed.methods.training_free import canonical_form
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.protocol import RelaxableSpace
from archimed.strategies.nsga3 import Nsga3
from archimed.strategies.pnsga3 import Pnsga3
from archimed.strategies.renewal import Renewal
from archimed.training.progress import EpochRecord
from archimed.training.recipe import Recipe
from archimed.training.steps import refuse_batches_of_one

FINALIST_SHARE = 0.3  # of the time left, for the short trainings after the evolution
PERCENTILES = (30, 70)  # of the individuals' accuracies in an epoch (EMARS, Figure 5)


def evolve_paths(
    name: str, space: RelaxableSpace, settings: PathSettings, recipe: Recipe, data: PathCases, journal: Journal
) -> dict[str, Any]:
    """Let paths evolve while their shared weights learn, train the best on their own for a while, choose one of them.

    A search that was cut off at any moment is simply begun again with the same journal; on a CPU it gives the log and
    the choice of an unbroken one. One completed there before is returned at once.

    Args:
        name: of the search; each draws paths of its own.
        space: gives the supernet.
        settings: `search.*`.
        recipe: of the short trainings, at most `search.finalist_epochs` long.
        data: what paths learn from and what judges them.
        journal: where the state is kept, and who hears of candidates and epochs.

    Returns:
        `genotype`; `measurements` of it; `rule`; `unique_candidates`: different paths that were measured; `cautions`.

    Raises:
        SearchError: a loss was not a number before paths were measured, or no path could be.
        SettingsError: batches of one with batch normalisation.
        DataError: too few patients to hold some out, or no validation images.
        RunError: the folder belongs to a search with other settings.
    """
    with ExitStack() as stack:
        path = journal.folder or Path(stack.enter_context(TemporaryDirectory()))
        folder = PathFolder(path, fingerprint(space, settings, recipe, data))
        if finished := folder.finished():
            return finished
        stack.enter_context(data.problem.machine.session())
        return _Evolution(name, space, settings, recipe, data, journal, folder).run()


def fingerprint(space: RelaxableSpace, settings: PathSettings, recipe: Recipe, data: PathCases) -> str:
    """What must be the same for a search to go on."""
    facts = {
        "settings": TypeAdapter(type(settings)).dump_python(settings, mode="json"),
        "recipe": TypeAdapter(Recipe).dump_python(recipe, mode="json"),
        "choices": [asdict(choice) for choice in space.choices],
        "seed": data.problem.seed,
        "task": asdict(data.problem.task),
        **data.identity(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def fresh_evaluator(space: RelaxableSpace, settings: PathSettings, data: PathCases) -> SharedWeights:
    """The supernet with the first weights that belong to the seed, on the machine, and its optimizer."""
    problem = data.problem
    with torch_seed(problem.seed, "supernet"):
        supernet = space.supernet(problem.task).train()
    refuse_batches_of_one(supernet, min(settings.batch_size, data.sizes[0]), "search.batch_size")
    problem.machine.place_network(supernet)
    optimizer = torch.optim.SGD(
        supernet.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    if settings.momentum > 0:  # the fused step wants an average of every weight or of none; from zero it is the same
        for weight in supernet.parameters():
            optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    steps = PathSteps(settings.population_size, settings.clip, settings.learning_rate_at)
    parameters = partial(parameter_count, space, task=problem.task)
    return SharedWeights(space, supernet, optimizer, data, steps, parameters, problem.seed)


def fresh_strategy(space: RelaxableSpace, settings: PathSettings, rng: np.random.Generator) -> Renewal:
    """The strategy at its beginning."""
    return {"pnsga3": Pnsga3, "nsga3": Nsga3}[settings.strategy](
        choices=space.choices,
        objectives=settings.wanted,
        rng=rng,
        canonical=canonical_form(space),
        first_size=settings.first_candidates,
        population_size=settings.population_size,
        keep=settings.keep,
        newcomer_rate=settings.newcomer_rate,
        crossover_rate=settings.crossover_rate,
        mutation_rate=settings.mutation_rate,
    )


class _Evolution:
    """One search under way."""

    def __init__(
        self,
        name: str,
        space: RelaxableSpace,
        settings: PathSettings,
        recipe: Recipe,
        data: PathCases,
        journal: Journal,
        folder: PathFolder,
    ) -> None:
        self.name, self.space, self.settings, self.recipe, self.data = name, space, settings, recipe, data
        self.journal, self.folder = journal, folder
        self.logged = 0  # candidates in the log
        self.deadline = time.monotonic() + (1 - FINALIST_SHARE) * journal.seconds_left()
        self.units = settings.all_epochs + settings.finalists  # of progress: an epoch, a short training

    def run(self) -> dict[str, Any]:
        state = self.folder.restore(self._make, self.journal.say)
        self.journal.restore_epochs(state.records)
        self._log(state)
        while not self._is_over(state):
            if not self._epoch(state):
                break
        if not state.generations:
            self._measure(state, self._record(state, None, time.perf_counter()))
        self._caution_of_time(state)
        return self._finish(state)

    def _make(self) -> PathState:
        """The state before the first epoch."""
        evaluator = fresh_evaluator(self.space, self.settings, self.data)
        rng = numpy_generator(self.data.problem.seed, "paths", self.name)
        return PathState(evaluator, fresh_strategy(self.space, self.settings, rng))

    def _is_over(self, state: PathState) -> bool:
        trained = any("finalist" in record for record in state.records)
        return trained or state.evaluator.epoch >= self.settings.all_epochs

    def _epoch(self, state: PathState) -> bool:
        """One epoch of the warm-up or of the evolution; False if time or numbers ended it."""
        evaluator, started = state.evaluator, time.perf_counter()
        tell = partial(self._tell, state)
        warming_up = evaluator.epoch < self.settings.warmup_epochs
        population = [] if warming_up else state.strategy.ask()
        loss = evaluator.warm_up_epoch(tell) if warming_up else evaluator.train_epoch(population, tell)
        if loss is None:
            return False
        if not math.isfinite(loss):
            self._end_early(state)
            return False
        record = self._record(state, loss, started)
        if evaluator.epoch >= self.settings.warmup_epochs:
            self._measure(state, record, population)
        else:
            self._keep(state, record)
        return True

    def _tell(self, state: PathState, step: int, steps: int) -> bool:
        done = round(state.evaluator.epoch + step / steps, 3)
        best = max((c.measurements["accuracy"] for c in state.strategy.survivors), default=None)
        note = "epochs" if best is None else f"epochs, best accuracy of a path {best:.3f}"
        self.journal.progress(done, self.units, note)
        return not self._time_is_over()

    def _time_is_over(self) -> bool:
        return self.journal.stop() or time.monotonic() > self.deadline

    def _record(self, state: PathState, loss: float | None, started: float) -> dict[str, Any]:
        """What is told of an epoch, up to the end of its training."""
        epoch = state.evaluator.epoch
        return {
            "epoch": epoch,
            "warm_up": epoch <= self.settings.warmup_epochs,
            "learning_rate": self.settings.learning_rate_at(max(epoch, 1)),
            "batch_size": self.settings.batch_size,
            "weight_loss": loss,
            "seconds": time.perf_counter() - started,
        }

    def _measure(self, state: PathState, record: dict[str, Any], population: Sequence[Any] = ()) -> None:
        """Measure a whole generation, survivors too, and tell the strategy; each score goes with its own path."""
        asked = list(population) or state.strategy.ask()
        number = len(state.generations)
        found = zip(asked, state.evaluator(asked), strict=True)
        generation: Generation = tuple(
            Candidate(path, number, measured.values, measured.seconds, measured.failure) for path, measured in found
        )
        state.strategy.tell(generation)
        accuracies = [one.measurements["accuracy"] for one in generation if one.dropped is None]
        if not accuracies:
            raise SearchError(
                f"At least one path must be measurable; all {len(generation)} of generation {number} were dropped, the "
                f"first because: {generation[0].dropped}. Mend that cause, then search again in a new folder."
            )
        low, high = np.percentile(accuracies, PERCENTILES).tolist()
        state.generations.append(generation)
        self._keep(
            state,
            record
            | {
                "generation": number,
                "accuracy_low": low,
                "accuracy_high": high,
                "accuracy_median": float(np.median(accuracies)),
                "accuracy_best": max(accuracies),
                "survivors": [asked.index(one.genotype) for one in state.strategy.survivors],
            },
        )

    def _keep(self, state: PathState, record: dict[str, Any]) -> None:
        """Write the state, then the logs that tell of it."""
        state.records.append(record)
        self.folder.save(state)
        self._log(state)
        self.journal.record_epoch(record)

    def _log(self, state: PathState) -> None:
        """Add to the log of candidates what the state has beyond it.

        Raises:
            SearchError: the log holds others.
        """
        candidates, known = state.candidates, self.journal.known
        for measured, logged in zip(candidates, known, strict=False):
            if (measured.genotype, measured.generation) != (logged.genotype, logged.generation):
                raise SearchError(
                    f"A search continues its own log; candidate {logged.genotype} of generation {logged.generation} "
                    f"stands where {measured.genotype} of generation {measured.generation} was measured. Resume with "
                    "the settings that the log was written with, or choose a new folder."
                )
        self.logged = max(len(known), self.logged)
        for candidate in candidates[self.logged :]:
            self.journal.record(candidate)
            self.logged += 1

    def _end_early(self, state: PathState) -> None:
        told = f"The loss was not a number in epoch {state.evaluator.epoch}"
        if not state.generations:
            raise SearchError(
                f"A search needs losses that are numbers; {told[0].lower()}{told[1:]}, before a path was measured. "
                "Lower search.learning_rate or check the images."
            )
        self._caution(state, f"{told}; the search ends with the epoch before it.")

    def _caution_of_time(self, state: PathState) -> None:
        done, planned = state.evaluator.epoch, self.settings.all_epochs
        if done < planned and self._time_is_over():
            self._caution(state, f"The time budget ended the evolution of paths after {done} of {planned} epochs.")

    def _caution(self, state: PathState, sentence: str) -> None:
        state.cautions.append(sentence)
        self.journal.say(sentence)

    def _finish(self, state: PathState) -> dict[str, Any]:
        """Train the finalists that are not trained yet, choose one, write the result."""
        folder = self.folder.path / "finalists"
        settings = self.settings
        shared = state.evaluator.supernet if settings.finalist_weights == "shared" else None
        short = ShortTraining(self.space, self.data.problem, self.recipe, settings.finalist_epochs, folder, shared)
        survivors = state.strategy.survivors
        best = state.strategy.select(survivors, min(settings.finalists, len(survivors)))
        finalists = [survivors[row] for row in best]
        done = {record["finalist"] for record in state.records if "finalist" in record}
        for rank, finalist in enumerate(finalists):
            if rank in done:
                continue
            if self.journal.stop():
                self._caution(state, f"The time budget left {rank} of {len(finalists)} finalists trained.")
                break
            self._keep(state, short.train(finalist, rank, partial(self._tell_training, rank), self.journal.say))
        records = [record for record in state.records if "finalist" in record]
        result = {
            **chosen(choose(records, short.metric), finalists, settings, short.metric),
            "unique_candidates": len(state.evaluator.histories),
            "cautions": state.cautions,
        }
        self.folder.finish(result)
        shutil.rmtree(folder, ignore_errors=True)
        return result

    def _tell_training(self, rank: int, record: EpochRecord) -> None:
        done = self.settings.all_epochs + rank + record.epoch / self.settings.finalist_epochs
        self.journal.progress(round(done, 3), self.units, "short trainings of the best paths")


def chosen(
    best: Mapping[str, Any] | None, finalists: Sequence[Candidate], settings: PathSettings, metric: str
) -> dict[str, Any]:
    """Genotype, measurements and rule of the choice; by the accuracy with shared weights where none was trained."""
    if best is None:
        one = max(finalists, key=lambda candidate: candidate.measurements["accuracy"])
        rule = "the highest accuracy with shared weights among the survivors of the last epoch, none of them trained"
        return {"genotype": list(one.genotype), "measurements": dict(one.measurements), "rule": rule}
    one = finalists[best["finalist"]]
    rule = (
        f"the best validation {metric} after a training of {settings.finalist_epochs} epochs on its own, among "
        f"{len(finalists)} survivors of the last epoch by {', '.join(settings.objectives)}"
    )
    validation = {f"validation_{name}": value for name, value in best["validation"].items() if value is not None}
    told = {**one.measurements, "finalist": float(best["finalist"]), **validation}
    return {"genotype": list(one.genotype), "measurements": told, "rule": rule}
