"""What training-free searches share: the batch they score on, the scoring itself, and selection by indicators."""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.batch import Batch
from archimed.candidate import Candidate
from archimed.errors import SettingsError
from archimed.evaluators.training_free import ALWAYS, TrainingFree
from archimed.evaluators.workers import spread_candidates
from archimed.indicators import Indicator, find_indicators
from archimed.methods.budget_settings import drawing
from archimed.methods.protocol import Journal, SearchProblem
from archimed.objectives import SignedSums, WrittenObjectives, capability, eq5
from archimed.processor import computing
from archimed.search import SearchResult, search_population, select_best
from archimed.seeding import numpy_generator, torch_generator
from archimed.spaces import SearchSpace, canonical
from archimed.strategies import Strategy
from archimed.training.patches import PatchSampler, patch_size
from archimed.training.recipe import Recipe
from archimed.userfile import part_name
from archimed.workers import Crew

TRIAL_CANDIDATES = 3
EFFICIENCY = 0.95  # of workers on cores of their own (benchmarks/RESULTS.md)


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ScoringSettings:
    """How candidates are measured without training."""

    indicators: tuple[str, ...] = Field(
        default=("naswot", "log_synflow"),
        min_length=1,
        description="training-free indicators whose sum ranks candidates (MSTF-NAS: jacob_cov and synflow, which are "
        "naswot and synflow here); see: archimed list indicators, or path/file.py:function of your own",
    )
    objectives: tuple[str, ...] | None = Field(
        default=None,
        description="signed sums of measurements to maximise, each rescaled over the population, for example "
        "-macs,naswot+synflow (MSTF-NAS, Table IX), or path/file.py:function of your own, minimised; empty: the "
        "indicator, or Eq. 5 of two",
    )
    batch_size: int = Field(
        default=64, ge=2, description="training images that candidates are scored on (Abdelfattah 2021)"
    )
    image_size: int | None = Field(
        default=None,
        ge=8,
        description="pixels per side during the search (MSTF-NAS: 224 for mammograms); empty: as the data",
    )

    def __post_init__(self) -> None:
        self.indicator_functions()
        self.objective_functions()

    @property
    def planned_candidates(self) -> int:
        """Candidates that the search will score at most."""
        return 0

    @property
    def measured(self) -> tuple[str, ...]:
        """What the indicators' measurements are called."""
        return tuple(part_name(name) for name in self.indicators)

    def objective_functions(self) -> SignedSums | WrittenObjectives:
        """The objectives asked for, or the one indicator, or Eq. 5 of two.

        Raises:
            SettingsError: an objective names what is not measured, or Eq. 5 is wanted of more than two indicators.
        """
        if self.objectives is None:
            if len(self.indicators) == 1:
                return SignedSums(self.measured)
            if len(self.indicators) > 2:
                raise SettingsError(
                    f"Eq. 5 of MSTF-NAS takes two indicators; got {len(self.indicators)}. Name two with --set "
                    "search.indicators=A,B or write the objectives with --set search.objectives=A,B."
                )
            return eq5(*self.measured)
        written = WrittenObjectives(self.objectives)
        written.check([*self.measured, *ALWAYS])
        return written

    def indicator_functions(self) -> Mapping[str, Indicator]:
        """The indicators by name."""
        return find_indicators(self.indicators)


def scoring_batch(problem: SearchProblem, size: int) -> Batch:
    """One mini-batch of training images, drawn once per search (Abdelfattah et al., 2021, use one too).

    Images with masks give a patch each, of the size that training takes by itself.
    """
    count = min(size, len(problem.train))
    drawn = numpy_generator(problem.seed, "scoring batch").choice(len(problem.train), size=count, replace=False)
    rows = np.sort(drawn)
    images, masks = problem.train.images, problem.train.masks
    if masks is None:
        return Batch(problem.normalise(images.take(rows)), problem.train.target[rows])
    sampler = PatchSampler(images, masks, patch_size(images.shapes, Recipe()), foreground_share=0.0)
    found, target = sampler.take(torch.from_numpy(rows), torch_generator(problem.seed, "scoring patches"))
    return Batch(problem.normalise(found), target.long())


def evaluator_of(
    space: SearchSpace, settings: ScoringSettings, problem: SearchProblem
) -> functools.partial[TrainingFree]:
    """Makes the evaluator of a search; picklable, so that worker processes can make their own."""
    return functools.partial(
        TrainingFree,
        space,
        problem.task,
        scoring_batch(problem, settings.batch_size),
        settings.indicator_functions(),
        problem.seed,
    )


def score_candidates(
    space: SearchSpace,
    strategy: Strategy,
    settings: ScoringSettings,
    problem: SearchProblem,
    journal: Journal,
    generations: int | None,
) -> SearchResult:
    """Run the search loop with training-free scoring; the result depends on the seed alone."""
    make_evaluator = evaluator_of(space, settings, problem)

    def progress(done: int, planned: int | None, generation: int) -> None:
        journal.progress(done, planned or settings.planned_candidates, f"candidates, generation {generation}")

    gpu = problem.machine.device.startswith("cuda")
    crew, threads = crew_of(problem)
    with spread_candidates(make_evaluator, crew, threads, gpu=gpu) as evaluate:
        return search_population(
            strategy,
            evaluate,
            canonical=canonical_form(space),
            generations=generations,
            known=journal.known,
            record=journal.record,
            progress=progress,
            stop=journal.stop,
        )


def crew_of(problem: SearchProblem) -> tuple[Crew, int]:
    """Who measures candidates, and the threads of each."""
    crew, machine = problem.crew, problem.machine
    if crew.alone and machine.candidates == "processes":
        return replace(crew, workers=machine.threads), 1
    return crew, machine.threads


def scoring_seconds(space: SearchSpace, settings: ScoringSettings, problem: SearchProblem) -> float:
    """How long it takes to score the planned candidates: each as long as the median of a few, the first left out.

    Workers are taken to share the candidates as well as they do on free cores.
    """
    rng = numpy_generator(problem.seed, "trial candidates")
    draw = drawing(space, settings, problem.task)
    genotypes = [draw(rng) for _ in range(TRIAL_CANDIDATES + 1)]
    crew, threads = crew_of(problem)
    with computing(threads):
        measured = list(evaluator_of(space, settings, problem)()(genotypes))[1:]
    each = statistics.median(one.seconds for one in measured)
    return settings.planned_candidates * each / (1 if crew.alone else crew.workers * EFFICIENCY)


def canonical_form(space: SearchSpace) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """The function that maps isomorphic genotypes of a space to one."""
    return functools.partial(canonical, space)


def best_by_indicators(population: Sequence[Candidate], indicators: Sequence[str]) -> Candidate:
    """The candidate with the highest sum of indicators, each rescaled over the population (MSTF-NAS, Sec. IV-B1)."""
    return select_best(population, lambda candidates: capability(candidates, indicators))
