"""Evolution in which every survivor is measured again: what its strategies share but the selection (EMARS, Alg. 1)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.objectives import TargetsAndSize
from archimed.strategies.protocol import Canonical, as_it_is
from archimed.strategies.unique import RETRIES, draw_unique
from archimed.strategies.variation import resampled, uniform_crossover


@dataclass
class Renewal(ABC):
    """Keeps the best of a population, asks for them again, and fills up with newcomers and offspring.

    Weights that candidates share drift, so an old score says little: a survivor is known by its latest measurement
    alone, which `tell` takes from the candidate that carries it.

    Attributes:
        choices: the decisions of the search space.
        objectives: what to raise and what to lower.
        rng: the one source of chance.
        canonical: genotypes it maps to the same one are duplicates, and removed.
        first_size: random genotypes to begin with, of which the best `population_size` are the first population.
        population_size: genotypes asked for in each later generation, the survivors among them.
        keep: survivors of each later generation.
        newcomer_rate: share of new genotypes that are drawn at random; the others descend from survivors.
        crossover_rate: probability of each gene of a child to be the second parent's.
        mutation_rate: probability of each gene of a child to become another option.
        retries: how often duplicates are replaced before fewer genotypes are asked for.
        survivors: as measured last, the best first.
    """

    choices: tuple[Choice, ...]
    objectives: TargetsAndSize
    rng: np.random.Generator
    canonical: Canonical = as_it_is
    first_size: int = 20
    population_size: int = 20  # EMARS
    keep: int = 10  # EMARS
    newcomer_rate: float = 0.5  # EMARS
    crossover_rate: float = 0.3  # EMARS
    mutation_rate: float = 0.2  # EMARS
    retries: int = RETRIES
    survivors: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.population_size <= self.first_size:
            raise ValueError(
                f"Survivors are at most the population, and this at most the first draws; got {self.keep}, "
                f"{self.population_size} and {self.first_size}. Choose sizes that rise."
            )

    @abstractmethod
    def select(self, candidates: Sequence[Candidate], room: int) -> list[int]:
        """Positions of the best `room` candidates, the best first."""

    def ask(self) -> list[Genotype]:
        """Random genotypes while there are no survivors; then the survivors, and new ones up to the population."""
        if not self.survivors:
            return draw_unique(self._random, self.first_size, (), self.canonical, self.retries)
        elders = [candidate.genotype for candidate in self.survivors]
        taken = map(self.canonical, elders)
        room = self.population_size - len(elders)
        return [*elders, *draw_unique(self._new, room, taken, self.canonical, self.retries)]

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Keep the best of what was just measured; earlier scores of survivors count no more."""
        pool = [candidate for candidate in evaluated if candidate.dropped is None]
        if pool:
            room = self.keep if self.survivors else self.population_size
            self.survivors = [pool[row] for row in self.select(pool, min(room, len(pool)))]

    def _random(self, count: int) -> list[Genotype]:
        return [random_genotype(self.choices, self.rng) for _ in range(count)]

    def _new(self, count: int) -> list[Genotype]:
        return [self._newcomer_or_child() for _ in range(count)]

    def _newcomer_or_child(self) -> Genotype:
        if self.rng.random() < self.newcomer_rate:
            return random_genotype(self.choices, self.rng)
        rows = self.rng.permutation(len(self.survivors))
        mother, father = (self.survivors[row].genotype for row in (rows[0], rows[-1]))
        child = uniform_crossover(mother, father, self.crossover_rate, self.rng)
        return resampled(child, tuple(len(choice.options) for choice in self.choices), self.mutation_rate, self.rng)
