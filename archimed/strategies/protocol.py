"""What a search strategy is: asked for genotypes and told what became of them."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from archimed.candidate import Candidate
from archimed.genotype import Genotype

Canonical = Callable[[Genotype], Genotype]  # the one genotype that stands for all that build the same network


@runtime_checkable
class Strategy(Protocol):
    """Proposes genotypes and keeps the best of what it is told; owns no data, no network and no loop.

    Given its generator and what it was told, a strategy asks for the same genotypes again: this is how a search is
    resumed from its log of candidates.
    """

    @property
    def survivors(self) -> Sequence[Candidate]:
        """The candidates kept so far; none of them was dropped."""
        ...

    def ask(self) -> list[Genotype]:
        """Genotypes to evaluate next; none if there is nothing left to ask."""
        ...

    def tell(self, evaluated: Sequence[Candidate]) -> None:
        """Take notice of what was asked for, in that order. Dropped candidates are to be passed over."""
        ...


def as_it_is(genotype: Genotype) -> Genotype:
    """The canonical form in a space where different genotypes are different networks."""
    return genotype
