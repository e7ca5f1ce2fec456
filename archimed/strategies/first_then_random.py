"""A genotype that was worked out, then random ones to compare it with."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from archimed.candidate import Candidate
from archimed.genotype import Genotype
from archimed.strategies.random_search import RandomSearch


@dataclass
class FirstThenRandom:
    """One genotype, then those of a random search.

    Attributes:
        first: asked for alone.
        random: asked afterwards.
    """

    first: Genotype
    random: RandomSearch
    _begun: bool = field(default=False, init=False, repr=False)

    @property
    def survivors(self) -> Sequence[Candidate]:
        """Everything that was told."""
        return self.random.survivors

    def ask(self) -> list[Genotype]:
        """The first alone; then as `RandomSearch`."""
        if self._begun:
            return self.random.ask()
        self._begun = True
        return [self.first]

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Keep it."""
        self.random.tell(evaluated)
