"""Zen-NAS: evolution of residual stages that maximises the Zen score within budgets (Lin et al., 2021; X-ray study).

Where paper and released code differ, or are silent: one block changes at a time (the code changes up to two); the
first individuals are drawn within the budgets, not made from one small structure; MACs, parameters and layers are the
network's own, where the code leaves out projection shortcuts that it then builds; a candidate is scored on 16 noise
images once (the code: 64).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.errors import SettingsError
from archimed.genotype import Genotype
from archimed.methods.budget_settings import BudgetSettings, drawing, no_costs
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem, Selection
from archimed.methods.random_search import FROM_RANDOM_POOL, RandomSearch, random_search_beside
from archimed.methods.training_free import ScoringSettings, canonical_form, score_candidates, scoring_seconds
from archimed.search import select_best
from archimed.seeding import numpy_generator
from archimed.spaces import SearchSpace
from archimed.spaces.budgets import SHOWN, Budgets
from archimed.spaces.protocol import BudgetedSpace
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.strategies import Evolution
from archimed.training.recipe import Recipe
from archimed.userfile import is_user_object


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ZenNasSearch(BudgetSettings, ScoringSettings):
    """How Zen-NAS searches."""

    indicators: tuple[str, ...] = Field(
        default=("zen_score",),
        min_length=1,
        description="training-free indicators that are measured (Zen-NAS: zen_score); see: archimed list indicators",
    )
    objectives: tuple[str, ...] | None = Field(
        default=None,
        description="one signed sum of measurements to maximise, each rescaled over the population; empty: the "
        "indicator (Zen-NAS)",
    )
    batch_size: int = Field(
        default=16, ge=2, description="images that candidates are scored on; the Zen score takes noise in their place"
    )
    candidates: int = Field(
        default=500, ge=1, description="different networks that are scored (Zen-NAS, released code: 480,000 tries)"
    )
    population_size: int = Field(default=64, ge=1, description="networks that survive (Zen-NAS: 512)")
    first_candidates: int = Field(
        default=20, ge=1, description="networks that are drawn before others descend from them (released code: 10)"
    )
    offspring_size: int = Field(
        default=4, ge=1, description="children that are scored before the worst networks go (Zen-NAS: 1)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.objective_functions().expressions) != 1:
            raise SettingsError(
                f"Zen-NAS maximises one objective; got {', '.join(self.objective_functions().expressions)}. Write one "
                "signed sum with --set search.objectives=zen_score+naswot."
            )

    @property
    def planned_candidates(self) -> int:
        """Candidates that the search will score at most."""
        return self.candidates


@dataclass(frozen=True)
class ZenNas:
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=ResidualStagesSpace)
    search: ZenNasSearch = field(default_factory=ZenNasSearch)
    training: Recipe = field(default_factory=Recipe)

    name: ClassVar[str] = "zen-nas"
    spreads_its_search: ClassVar[bool] = True
    searched_baselines: ClassVar[tuple[str, ...]] = FROM_RANDOM_POOL
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "search.candidates": 60,
            "search.population_size": 16,
            "search.first_candidates": 10,
            "training.epochs": 6,
            "training.batch_size": 32,
        },
        "paper": {
            "search.as_large_as": "resnet50",
            "search.candidates": 480_000,
            "search.population_size": 512,
            "search.first_candidates": 10,
            "search.offspring_size": 1,
            "training.early_stop_patience": None,
        },
    }

    def __post_init__(self) -> None:
        if not isinstance(self.space, BudgetedSpace):
            raise no_costs(self.space)

    def pool(self, unique_candidates: int) -> RandomSearch:
        """Random search by the same indicators within the same budgets, with as many unique candidates."""
        return random_search_beside(self, unique_candidates)

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long it takes to score all candidates."""
        return scoring_seconds(self.space, self.search, problem)

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Evolve within the budgets, then take the network of the highest objective."""
        search, space, task = self.search, self._budgeted, problem.task
        budgets, objectives = search.budgets(task), search.objective_functions()

        def admits(genotype: Genotype) -> bool:
            return budgets.admits(space.cost(genotype, task))

        strategy = Evolution(
            draw=drawing(space, search, task),
            mutate=space.mutated,
            admits=admits,
            objectives=objectives,
            rng=numpy_generator(problem.seed, "zen-nas"),
            count=search.candidates,
            canonical=canonical_form(space),
            population_size=search.population_size,
            first_size=search.first_candidates,
            offspring_size=search.offspring_size,
        )
        result = score_candidates(space, strategy, search, problem, journal, generations=None)
        best = select_best(result.survivors, lambda candidates: -objectives(candidates)[:, 0])
        end = "lowest" if is_user_object(objectives.expressions[0]) else "highest"
        rule = f"{end} {objectives.expressions[0]} of {result.unique_candidates} networks{within(budgets)}"
        selection = Selection(self.name, self.space, best.genotype, rule, best.measurements)
        return SearchOutcome((selection,), result.unique_candidates)

    @cached_property
    def _budgeted(self) -> BudgetedSpace:
        assert isinstance(self.space, BudgetedSpace)  # noqa: S101 (see __post_init__)
        return self.space


def within(budgets: Budgets) -> str:
    """Budgets as the end of a sentence; empty without any."""
    told = [f"{limit:,} {SHOWN[name]}" for name, limit in budgets.limits.items()]
    return f" within {', '.join(told)}" if told else ""
