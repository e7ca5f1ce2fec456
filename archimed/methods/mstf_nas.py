"""MSTF-NAS: NSGA-II over multi-scale cells, guided by two training-free indicators and MACs (Wang et al.).

Where the paper is silent or contradicts itself: `naswot` is what it calls jacob_cov (Eq. 3-4); its FLOPs are MACs;
the exploitation step of Sec. III-C is in no code base and is left out; synflow enters by its logarithm, because raw
values span dozens of orders of magnitude and their min-max scaling is degenerate (`search.indicators=naswot,synflow`
restores the paper's).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem, Selection
from archimed.methods.random_search import FROM_RANDOM_POOL, RandomSearch, random_search_beside
from archimed.methods.training_free import (
    ScoringSettings,
    best_by_indicators,
    canonical_form,
    score_candidates,
    scoring_seconds,
)
from archimed.seeding import numpy_generator
from archimed.spaces import SearchSpace
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.strategies import Nsga2
from archimed.strategies.own import MakeStrategy, own_strategy
from archimed.training.recipe import Recipe


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MstfNasSearch(ScoringSettings):
    """How MSTF-NAS searches: "the NSGA-II settings are the same as those in NSGA-Net" (Sec. IV-B1)."""

    population_size: int = Field(default=40, ge=2, description="architectures that survive a generation (NSGA-Net)")
    offspring_size: int = Field(default=40, ge=1, description="new architectures per generation (NSGA-Net)")
    generations: int = Field(default=30, ge=0, description="generations after the first, random one (NSGA-Net)")
    mutation_eta: float = Field(
        default=3.0, gt=0, description="spread of polynomial mutation of nsga2, larger is closer (NSGA-Net)"
    )
    strategy: str = Field(
        default="nsga2",
        description="who proposes architectures: nsga2 (MSTF-NAS), or path/file.py:object of your own, which is called "
        "with choices, objectives, rng, population_size, offspring_size and canonical",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_strategy  # noqa: B018 - a file that cannot be used is told now

    @property
    def make_strategy(self) -> MakeStrategy:
        """What makes the strategy of a search.

        Raises:
            SettingsError: there is no strategy of this name.
        """
        if self.strategy == "nsga2":
            return partial(Nsga2, mutation_eta=self.mutation_eta)
        return own_strategy(self.strategy)

    @property
    def planned_candidates(self) -> int:
        """Candidates that the search will score at most."""
        return self.population_size + self.generations * self.offspring_size


@dataclass(frozen=True)
class MstfNas:
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=MultiscaleCellSpace)
    search: MstfNasSearch = field(default_factory=MstfNasSearch)
    training: Recipe = field(default_factory=Recipe)

    name: ClassVar[str] = "mstf-nas"
    spreads_its_search: ClassVar[bool] = True
    searched_baselines: ClassVar[tuple[str, ...]] = FROM_RANDOM_POOL
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "space.width": 32,
            "search.population_size": 10,
            "search.offspring_size": 10,
            "search.generations": 4,
            "training.epochs": 6,
            "training.batch_size": 32,
        },
        "paper": {
            "search.indicators": ["naswot", "synflow"],
            "training.early_stop_patience": None,
            "training.class_weights": "none",
        },
    }

    def pool(self, unique_candidates: int) -> RandomSearch:
        """Random search by the same indicators, with as many unique candidates."""
        return random_search_beside(self, unique_candidates)

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long it takes to score all candidates."""
        return scoring_seconds(self.space, self.search, problem)

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Evolve, then take the survivor with the highest sum of rescaled indicators (Sec. IV-B1)."""
        strategy = self.search.make_strategy(
            choices=self.space.choices,
            objectives=self.search.objective_functions(),
            rng=numpy_generator(problem.seed, "nsga2"),
            population_size=self.search.population_size,
            offspring_size=self.search.offspring_size,
            canonical=canonical_form(self.space),
        )
        result = score_candidates(
            self.space, strategy, self.search, problem, journal, generations=self.search.generations + 1
        )
        best = best_by_indicators(result.survivors, self.search.measured)
        rule = (
            f"highest sum of {' and '.join(self.search.measured)}, each rescaled to 0..1, "
            "among the survivors of the last generation"
        )
        selection = Selection(self.name, self.space, best.genotype, rule, best.measurements)
        return SearchOutcome((selection,), result.unique_candidates)
