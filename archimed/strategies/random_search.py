"""Random search: the baseline that any strategy has to beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.strategies.protocol import Canonical, as_it_is
from archimed.strategies.unique import RETRIES, draw_unique


@dataclass
class RandomSearch:
    """A given number of different genotypes; all that can be measured survive.

    Attributes:
        choices: the decisions of the search space.
        count: different genotypes to ask for in all; fewer if the space has fewer.
        rng: the one source of chance.
        canonical: genotypes it maps to the same one count once.
        draw: how one is drawn; None draws each gene uniformly.
        batch_size: genotypes asked for at a time.
        retries: how often duplicates are drawn again.
        survivors: everything told that was not dropped, in order.
    """

    choices: tuple[Choice, ...]
    count: int
    rng: np.random.Generator
    canonical: Canonical = as_it_is
    draw: Callable[[np.random.Generator], Genotype] | None = None
    batch_size: int = 40
    retries: int = RETRIES
    survivors: list[Candidate] = field(default_factory=list)
    _asked: set[Genotype] = field(default_factory=set, init=False, repr=False)  # canonical forms

    def ask(self) -> list[Genotype]:
        """The next batch of genotypes, none of which was asked for before; none once `count` were."""
        wanted = min(self.batch_size, self.count - len(self._asked))
        batch = draw_unique(self._random, wanted, self._asked, self.canonical, self.retries) if wanted > 0 else []
        self._asked.update(map(self.canonical, batch))
        return batch

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Keep what was not dropped."""
        self.survivors.extend(candidate for candidate in evaluated if candidate.dropped is None)

    def _random(self, count: int) -> list[Genotype]:
        draw = self.draw or partial(random_genotype, self.choices)
        return [draw(self.rng) for _ in range(count)]
