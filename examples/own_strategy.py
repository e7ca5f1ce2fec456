"""A search strategy of your own: each of the best architectures changes in one gene.

archimed run mstf-nas --data phantom:lesions2d --out runs/local \\
    --set search.strategy=examples/own_strategy.py:LocalSearch
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.objectives import Objectives
from archimed.strategies.protocol import Canonical


@dataclass
class LocalSearch:
    """Asked for genotypes and told what became of them; it owns no data and no loop.

    All chance comes from `rng`: given the same answers it asks the same again, which is how a search is resumed.
    """

    choices: tuple[Choice, ...]
    objectives: Objectives
    rng: np.random.Generator
    population_size: int
    offspring_size: int
    canonical: Canonical
    survivors: list[Candidate] = field(default_factory=list)

    def ask(self) -> list[Genotype]:
        """Random genotypes at first, then neighbours of the survivors, the best first."""
        if not self.survivors:
            return [random_genotype(self.choices, self.rng) for _ in range(self.population_size)]
        return [self._neighbour(self.survivors[n % len(self.survivors)].genotype) for n in range(self.offspring_size)]

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Keep those with the lowest sum of objectives; dropped candidates have no measurements and never stay."""
        known = {self.canonical(one.genotype): one for one in (*self.survivors, *evaluated) if one.dropped is None}
        if known:
            candidates = list(known.values())
            order = np.argsort(self.objectives(candidates).sum(axis=1), kind="stable")
            self.survivors = [candidates[row] for row in order[: self.population_size]]

    def _neighbour(self, genotype: Genotype) -> Genotype:
        place = int(self.rng.integers(len(genotype)))
        option = int(self.rng.integers(len(self.choices[place].options)))
        return (*genotype[:place], option, *genotype[place + 1 :])


if __name__ == "__main__":
    from archimed.objectives import SignedSums
    from archimed.testing import check_strategy

    layers = tuple(Choice(f"layer{n}", ("3", "5", "7")) for n in range(4))
    check_strategy(
        lambda rng: LocalSearch(
            layers, SignedSums(("first", "-second")), rng, 4, 4, canonical=lambda genotype: genotype
        ),
        layers,
        measure=lambda genotype: {"first": float(sum(genotype)), "second": float(genotype[0])},
        population_size=4,
    )
    print("the strategy keeps its contract")
