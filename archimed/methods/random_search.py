"""Random search: the baseline every search must beat, and the pool from which size-only rankings are picked.

MSTF-NAS's own runner-up (Tables II-III, X) draws 100 architectures at random and ranks them by Eq. 5, whose two
objectives add up to the sum of the two indicators.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.candidate import Candidate
from archimed.methods.budget_settings import BudgetSettings, drawing
from archimed.methods.protocol import Journal, Method, SearchOutcome, SearchProblem, Selection
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
from archimed.strategies import RandomSearch as RandomStrategy
from archimed.training.recipe import Recipe

PAPER_CANDIDATES = 100  # MSTF-NAS, Sec. IV-E4
FROM_RANDOM_POOL = ("random-search", "random-search-100", "parameters", "macs")  # networks that one pool gives


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RandomSearchSettings(BudgetSettings, ScoringSettings):
    """How many architectures are drawn, and what ranks them."""

    candidates: int = Field(
        default=1240, ge=1, description="unique architectures drawn (40 x 31, as many as mstf-nas scores)"
    )

    @property
    def planned_candidates(self) -> int:
        """Candidates that the search will score at most."""
        return self.candidates


@dataclass(frozen=True)
class RandomSearch:
    """Draw unique architectures, rank them by training-free indicators."""

    space: SearchSpace = field(default_factory=MultiscaleCellSpace)
    search: RandomSearchSettings = field(default_factory=RandomSearchSettings)
    training: Recipe = field(default_factory=Recipe)

    name: ClassVar[str] = "random-search"
    searched_baselines: ClassVar[tuple[str, ...]] = FROM_RANDOM_POOL
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {"space.width": 32, "search.candidates": 50, "training.epochs": 6, "training.batch_size": 32},
        "paper": {
            "search.candidates": PAPER_CANDIDATES,
            "search.indicators": ["naswot", "synflow"],
            "training.early_stop_patience": None,
        },
    }

    def pool(self, unique_candidates: int) -> None:
        """None: this search gives the baselines itself."""

    def search_seconds(self, problem: SearchProblem) -> float:
        """How long it takes to score all candidates."""
        return scoring_seconds(self.space, self.search, problem)

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Score the draws; choose the best by indicators of all and of the first 100, the largest, the costliest."""
        strategy = RandomStrategy(
            choices=self.space.choices,
            rng=numpy_generator(problem.seed, "random search"),
            count=self.search.candidates,
            canonical=canonical_form(self.space),
            draw=drawing(self.space, self.search, problem.task),
        )
        result = score_candidates(self.space, strategy, self.search, problem, journal, generations=None)
        pool = [candidate for candidate in result.candidates if candidate.dropped is None]
        return SearchOutcome(self.selections(pool), result.unique_candidates)

    def selections(self, pool: list[Candidate]) -> tuple[Selection, ...]:
        """The networks that one pool of random architectures gives."""
        names = self.search.measured
        score = names[0] if len(names) == 1 else f"sum of {' and '.join(names)}, each rescaled to 0..1,"
        chosen = {
            self.name: (
                best_by_indicators(pool, names),
                f"highest {score} among {len(pool)} random architectures",
            ),
            "random-search-100": (
                best_by_indicators(pool[:PAPER_CANDIDATES], names),
                f"the same among the first {len(pool[:PAPER_CANDIDATES])} of them",
            ),
            "parameters": (
                max(pool, key=lambda candidate: candidate.measurements["parameters"]),
                f"most parameters among {len(pool)} random architectures",
            ),
            "macs": (
                max(pool, key=lambda candidate: candidate.measurements["macs"]),
                f"most MACs among {len(pool)} random architectures",
            ),
        }
        return tuple(
            Selection(name, self.space, candidate.genotype, rule, candidate.measurements)
            for name, (candidate, rule) in chosen.items()
        )


def random_search_beside(method: Method, unique_candidates: int) -> RandomSearch:
    """Random search in a method's space, by its indicators, with as many unique candidates as the method scored."""
    defaults, own = RandomSearchSettings(), method.search
    kept = [one.name for one in fields(BudgetSettings)] if isinstance(own, BudgetSettings) else []
    return RandomSearch(
        space=method.space,
        search=RandomSearchSettings(
            indicators=getattr(own, "indicators", defaults.indicators),
            objectives=getattr(own, "objectives", None),
            batch_size=getattr(own, "batch_size", defaults.batch_size),
            image_size=own.image_size,
            candidates=unique_candidates,
            **{name: getattr(own, name) for name in kept},
        ),
        training=method.training,
    )
