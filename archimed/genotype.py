"""Genotypes: a network as one option per choice, a plain value that explains itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archimed.errors import GenotypeError

if TYPE_CHECKING:
    import numpy as np

Genotype = tuple[int, ...]  # one option index per choice, in the order of `space.choices`


@dataclass(frozen=True)
class Choice:
    """One discrete decision: a name and the options it may take."""

    name: str
    options: tuple[str, ...]


def describe(genotype: Genotype, choices: Sequence[Choice]) -> dict[str, str]:
    """Spell a genotype out as {choice name: option name}, the form written to disk.

    Raises:
        GenotypeError: the genotype has another length, or names an option that a choice does not have.
    """
    check_genotype(genotype, choices)
    return {choice.name: choice.options[gene] for choice, gene in zip(choices, genotype, strict=True)}


def parse(description: Mapping[str, str], choices: Sequence[Choice]) -> Genotype:
    """Read back what `describe` wrote.

    Raises:
        GenotypeError: a choice is missing or unknown, or an option is not one of its choice's.
    """
    names = {choice.name for choice in choices}
    if unlike := sorted(names.symmetric_difference(description)):
        raise GenotypeError(
            f"A genotype names each choice of its search space once; {unlike[0]!r} is "
            f"{'missing' if unlike[0] in names else 'unknown'}. Was it written by a different search space?"
        )
    genes = []
    for choice in choices:
        option = description[choice.name]
        if option not in choice.options:
            raise GenotypeError(
                f"Choice {choice.name!r} takes one of {', '.join(choice.options)}; got {option!r}. "
                "Was it written by a different search space?"
            )
        genes.append(choice.options.index(option))
    return tuple(genes)


def check_genotype(genotype: Genotype, choices: Sequence[Choice]) -> None:
    """Raise GenotypeError unless the genotype holds one valid option index per choice."""
    if len(genotype) != len(choices):
        raise GenotypeError(
            f"A genotype has one gene per choice: the space has {len(choices)} choices, the genotype "
            f"{len(genotype)} genes. Was it written by a different search space?"
        )
    for choice, gene in zip(choices, genotype, strict=True):
        if not 0 <= gene < len(choice.options):
            raise GenotypeError(
                f"Choice {choice.name!r} has {len(choice.options)} options; got option number {gene}. "
                "Was it written by a different search space?"
            )


def random_genotype(choices: Sequence[Choice], rng: "np.random.Generator") -> Genotype:
    """A genotype drawn uniformly, each gene by itself."""
    return tuple(int(rng.integers(len(choice.options))) for choice in choices)
