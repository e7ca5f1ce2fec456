"""NSGA-II over genotypes, with the settings of NSGA-Net that MSTF-NAS uses."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.objectives import Objectives, Scores
from archimed.strategies.dominance import crowding_distances, dominates, non_dominated_fronts
from archimed.strategies.protocol import Canonical, as_it_is
from archimed.strategies.unique import RETRIES, draw_unique
from archimed.strategies.variation import polynomial_mutation, two_point_crossover


@dataclass
class Nsga2:
    """Elitist multi-objective evolution (Deb et al., 2002), asked and told, never in charge.

    Parents win binary tournaments by dominance, then by crowding. Objectives are computed on parents and offspring
    merged, once per survival; the tournaments that follow use the same scores.

    Attributes:
        choices: the decisions of the search space.
        objectives: what to minimise, as a function of a whole population.
        rng: the one source of chance.
        canonical: genotypes it maps to the same one are duplicates, and removed.
        population_size: survivors kept, and random genotypes to begin with.
        offspring_size: genotypes asked for in each later generation.
        mutation_eta: distribution index of the polynomial mutation.
        mutation_rate: probability of a gene to mutate; None for one gene in expectation.
        retries: how often duplicates are replaced before fewer genotypes are asked for.
        survivors: the population, best front first.
    """

    choices: tuple[Choice, ...]
    objectives: Objectives
    rng: np.random.Generator
    canonical: Canonical = as_it_is
    population_size: int = 40  # MSTF-NAS: as NSGA-Net
    offspring_size: int = 40  # NSGA-Net
    mutation_eta: float = 3.0  # NSGA-Net
    mutation_rate: float | None = None  # NSGA-Net: 1 / genes
    retries: int = RETRIES  # NSGA-Net
    survivors: list[Candidate] = field(default_factory=list)
    _scores: Scores = field(init=False, repr=False)  # of the survivors, as the last survival saw them
    _crowding: Float[np.ndarray, " survivor"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.population_size, self.offspring_size) < 1:
            raise ValueError(
                f"A population and its offspring have at least 1 member; got {self.population_size} and "
                f"{self.offspring_size}. Choose larger sizes."
            )
        self._survive(self.survivors)

    def ask(self) -> list[Genotype]:
        """Random genotypes while there are no survivors, then offspring of these; all new to the population."""
        draw, count = (self._offspring, self.offspring_size) if self.survivors else (self._random, self.population_size)
        elders = [self.canonical(candidate.genotype) for candidate in self.survivors]
        return draw_unique(draw, count, elders, self.canonical, self.retries)

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Keep the best of parents and offspring, by front and then by crowding."""
        self._survive([*self.survivors, *(candidate for candidate in evaluated if candidate.dropped is None)])

    def _survive(self, pool: Sequence[Candidate]) -> None:
        kept: list[int] = []
        crowding: list[float] = []
        scores = self.objectives(pool) if pool else np.zeros((0, 1))
        for front in non_dominated_fronts(scores) if pool else []:
            distances = crowding_distances(scores[front])
            room = self.population_size - len(kept)
            # The front that does not fit whole gives its least crowded members; equals stay in order of age.
            best = np.arange(len(front)) if len(front) <= room else np.argsort(-distances, kind="stable")[:room]
            kept.extend(front[best].tolist())
            crowding.extend(distances[best].tolist())
        self.survivors = [pool[row] for row in kept]
        self._scores, self._crowding = scores[kept], np.array(crowding)

    def _random(self, count: int) -> list[Genotype]:
        return [random_genotype(self.choices, self.rng) for _ in range(count)]

    def _offspring(self, count: int) -> list[Genotype]:
        options = tuple(len(choice.options) for choice in self.choices)
        rate = 1 / max(len(options), 1) if self.mutation_rate is None else self.mutation_rate
        matings = -(-count // 2)
        parents = [self.survivors[self._winner(one, other)].genotype for one, other in self._pairs(2 * matings)]
        children = [
            child
            for mother, father in zip(parents[::2], parents[1::2], strict=True)
            for child in two_point_crossover(mother, father, self.rng)
        ]
        return [polynomial_mutation(child, options, self.mutation_eta, rate, self.rng) for child in children]

    def _pairs(self, count: int) -> list[tuple[int, int]]:
        """Opponents of `count` tournaments; over many, every survivor competes equally often."""
        size = len(self.survivors)
        rounds = -(-2 * count // size)
        entrants = np.concatenate([self.rng.permutation(size) for _ in range(rounds)]).tolist()
        return list(zip(entrants[0 : 2 * count : 2], entrants[1 : 2 * count : 2], strict=True))

    def _winner(self, one: int, other: int) -> int:
        if dominates(self._scores[one], self._scores[other]):
            return one
        if dominates(self._scores[other], self._scores[one]):
            return other
        if self._crowding[one] != self._crowding[other]:
            return one if self._crowding[one] > self._crowding[other] else other
        return (one, other)[int(self.rng.integers(2))]
