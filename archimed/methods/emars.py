"""EMARS: paths of one supernet of MBConv blocks evolve while its weights learn (He et al., 2021), in 2D and 3D.

The paper names NSGA-III and its code has what CARS calls pNSGA-III; both are here (`search.strategy`). Paths are
measured on a part of the training fold held out by patient, every survivor anew in each epoch.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from archimed.errors import SettingsError
from archimed.genotype import random_genotype
from archimed.methods.bilevel_data import require_validation
from archimed.methods.path_data import PathCases
from archimed.methods.path_evolution import evolve_paths, fresh_evaluator
from archimed.methods.path_settings import PathSettings
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem, Selection
from archimed.seeding import numpy_generator
from archimed.spaces import SearchSpace
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from archimed.spaces.protocol import RelaxableSpace
from archimed.training.losses import class_weights
from archimed.training.recipe import Recipe

TRIAL_PATHS = 4


@dataclass(frozen=True)
class Emars:
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=MbconvStagesSpace)
    search: PathSettings = field(default_factory=PathSettings)
    training: Recipe = field(
        default_factory=lambda: Recipe(
            epochs=60, batch_size=32, schedule="cosine", weight_decay=5e-4, augment_flips=True
        )
    )

    name: ClassVar[str] = "emars"
    named_baselines: ClassVar[tuple[str, ...]] = ("resnet101", "densenet121", "mc3-18")
    searched_baselines: ClassVar[tuple[str, ...]] = ("random-search",)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "space.blocks": [1, 2, 2],
            "space.widths": [16, 24, 40],
            "space.head_width": 160,
            "search.rounds": 1,
            "search.population_size": 8,
            "search.keep": 4,
            "search.first_candidates": 12,
            "search.warmup_epochs": 3,
            "search.epochs": 5,
            "search.finalists": 3,
            "search.finalist_epochs": 2,
            "training.epochs": 6,
            "training.batch_size": 32,
        },
        "paper": {
            "space.strides": "paper",
            "search.warmup_epochs": 5,
            "search.epochs": 100,
            "search.learning_rate": 1e-3,
            "search.least_learning_rate": 1e-3,
            "search.first_candidates": 20,
            "search.rounds": None,
            "search.held_out_cases": None,
            "search.statistics_cases": 0,
            "search.finalists": 10,
            "search.finalist_epochs": 5,
            "search.finalist_weights": "fresh",
            "search.image_size": 64,
            "training.epochs": 200,
            "training.early_stop_patience": None,
        },
    }

    def __post_init__(self) -> None:
        if not isinstance(self.space, RelaxableSpace):
            raise SettingsError(
                f"A search by weight sharing needs a space with a supernet; {type(self.space).__name__} has none. Use "
                "--set space.name=mbconv_stages, or another method."
            )

    def pool(self, unique_candidates: int) -> "RandomPaths":
        """As many random paths as this search measured, on weights that learnt as long on paths drawn uniformly."""
        search = self.search
        newcomers = max(1, search.population_size - search.keep)
        rounds = max(0, unique_candidates - search.first_candidates) / newcomers
        full = unique_candidates >= 0.9 * search.planned_candidates
        epochs = search.epochs if full else min(search.epochs, 1 + round(rounds))
        objectives = tuple(name for name in search.objectives if name != "potential")
        known = objectives if "accuracy" in objectives else ("accuracy", *objectives)
        count = max(unique_candidates, 2)
        drawn = replace(
            search,
            objectives=known,
            first_candidates=count,
            population_size=min(search.population_size, count),
            keep=min(search.keep, count),
            warmup_epochs=search.warmup_epochs + epochs,
            epochs=0,
        )
        return RandomPaths(self.space, drawn, self.training)

    def check_problem(self, problem: SearchProblem) -> None:
        """DataError unless cases can be held out and some judge the finalists."""
        require_validation(problem)
        self._data(problem).sizes  # noqa: B018

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long the search takes to its end, from a few steps and measurements of random paths."""
        search, data = self.search, self._data(problem)
        rng = numpy_generator(problem.seed, "trial paths")
        with problem.machine.session():
            evaluator = fresh_evaluator(self._relaxable, search, data)
            loads = data.batches(1, search.population_size)
            steps, measurements = [], []
            for _ in range(TRIAL_PATHS + 1):
                path, started = random_genotype(self.space.choices, rng), time.perf_counter()
                float(evaluator.step(loads[0](), path))  # reading the loss waits for a GPU
                steps.append(time.perf_counter() - started)
                measurements.append(evaluator.measure(path).seconds)
        step, measurement = statistics.mean(steps[1:]), statistics.mean(measurements[1:])
        measured = search.first_candidates + search.epochs * search.population_size
        per_image = step / min(search.batch_size, data.sizes[0])
        short = search.finalists * search.finalist_epochs * (len(problem.train) + len(problem.validation) / 3)
        return search.all_epochs * len(loads) * step + measured * measurement + short * per_image

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Evolve, train the survivors for a while, take the best on the validation part."""
        require_validation(problem)
        own = None if journal.folder is None else journal.folder / self.name
        found = evolve_paths(
            self.name, self._relaxable, self.search, self.training, self._data(problem), replace(journal, folder=own)
        )
        genotype = tuple(found["genotype"])
        selection = Selection(self.name, self.space, genotype, found["rule"], found["measurements"])
        return SearchOutcome((selection,), found["unique_candidates"])

    @property
    def _relaxable(self) -> RelaxableSpace:
        assert isinstance(self.space, RelaxableSpace)  # noqa: S101 (see __post_init__)
        return self.space

    def _data(self, problem: SearchProblem) -> PathCases:
        weights = class_weights(problem.train.target, problem.task.num_outputs, self.training)
        return PathCases(
            problem,
            weights,
            batch_size=self.search.batch_size,
            fraction=self.search.held_out,
            most=self.search.held_out_cases,
            rounds=self.search.rounds,
            statistics=self.search.statistics_cases,
        )


@dataclass(frozen=True)
class RandomPaths(Emars):
    """Random search with shared weights: what stands beside EMARS (Li and Talwalkar, 2019)."""

    name: ClassVar[str] = "random-search"
