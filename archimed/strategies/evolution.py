"""Evolution of a population by mutation alone, within constraints (Zen-NAS, Algorithm 2)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from archimed.candidate import Candidate
from archimed.genotype import Genotype
from archimed.objectives import Objectives
from archimed.strategies.protocol import Canonical, as_it_is
from archimed.strategies.unique import RETRIES, draw_unique

FIRST = 10  # individuals that are drawn before any descends from another (Zen-NAS, released code)


@dataclass
class Evolution:
    """A survivor, drawn among all alike, is mutated; the child is measured, and the worst of the population goes.

    Children that are not admitted are drawn again before anything is measured. No network is asked for twice.

    Attributes:
        draw: a random genotype that is admitted.
        mutate: a genotype with one block changed.
        admits: whether a genotype keeps its constraints.
        objectives: what to minimise, one column, as a function of a whole population.
        rng: the one source of chance.
        count: different genotypes to ask for in all; fewer if no new ones are found.
        canonical: genotypes it maps to the same one are duplicates, and removed.
        population_size: survivors kept at most.
        first_size: random genotypes to begin with.
        offspring_size: genotypes asked for at a time; one is the paper's, more let workers share them.
        retries: how often duplicates and what is not admitted are drawn again.
        survivors: the population, the best first.
    """

    draw: Callable[[np.random.Generator], Genotype]
    mutate: Callable[[Genotype, np.random.Generator], Genotype]
    admits: Callable[[Genotype], bool]
    objectives: Objectives
    rng: np.random.Generator
    count: int
    canonical: Canonical = as_it_is
    population_size: int = 512  # Zen-NAS
    first_size: int = FIRST
    offspring_size: int = 1  # Zen-NAS
    retries: int = RETRIES
    survivors: list[Candidate] = field(default_factory=list)
    _asked: set[Genotype] = field(default_factory=set, init=False, repr=False)  # canonical forms

    def __post_init__(self) -> None:
        if min(self.population_size, self.first_size, self.offspring_size, self.count) < 1:
            raise ValueError(
                "A population, its first members, its offspring and what is asked for are at least 1; got "
                f"{self.population_size}, {self.first_size}, {self.offspring_size} and {self.count}."
            )

    def ask(self) -> list[Genotype]:
        """Random genotypes while nothing survived; then children of survivors; none once `count` were asked for."""
        size, draw = (self.offspring_size, self._children) if self.survivors else (self.first_size, self._random)
        wanted = min(size, self.count - len(self._asked))
        batch = draw_unique(draw, wanted, self._asked, self.canonical, self.retries) if wanted > 0 else []
        self._asked.update(map(self.canonical, batch))
        return batch

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Keep the best of population and newcomers; of equals the older ones."""
        pool = self.survivors + [candidate for candidate in evaluated if candidate.dropped is None]
        if pool:
            best = np.argsort(self.objectives(pool)[:, 0], kind="stable")[: self.population_size]
            self.survivors = [pool[row] for row in best.tolist()]

    def _random(self, count: int) -> list[Genotype]:
        return [self.draw(self.rng) for _ in range(count)]

    def _children(self, count: int) -> list[Genotype]:
        parents = self.rng.integers(len(self.survivors), size=count).tolist()
        children = [self.mutate(self.survivors[row].genotype, self.rng) for row in parents]
        return [child for child in children if self.admits(child)]
