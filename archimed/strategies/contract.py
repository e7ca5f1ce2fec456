"""What every search strategy promises, as a check that anyone can run on their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from archimed.candidate import Candidate
from archimed.errors import ContractError, GenotypeError
from archimed.genotype import Choice, Genotype, check_genotype
from archimed.strategies.protocol import Strategy


def check_strategy(
    make_strategy: Callable[[np.random.Generator], Strategy],
    choices: Sequence[Choice],
    measure: Callable[[Genotype], Mapping[str, float]],
    population_size: int,
    generations: int = 4,
) -> None:
    """Run a strategy on made-up measurements and see whether it keeps its promises.

    It asks for valid genotypes; given equal generators and answers it asks for the same ones; survivors are at most
    `population_size` of the candidates it was told and none that was dropped, even if all of a generation were.

    Args:
        make_strategy: makes the strategy from its generator.
        choices: the choices it was made for.
        measure: the measurements that its objectives need, for any genotype.
        population_size: the most survivors it may keep.
        generations: how often to ask.

    Raises:
        ContractError: a promise is broken; the message says which.
    """
    for drops in (_none, _every_other, _first_generation):
        one, twin = (make_strategy(np.random.default_rng(0)) for _ in range(2))
        _require(
            isinstance(one, Strategy), "A strategy has ask, tell and survivors (archimed.strategies.protocol)", one
        )
        told: list[Candidate] = []
        for generation in range(generations):
            asked, twin_asked = one.ask(), twin.ask()
            _require(bool(asked) or generation > 0, "A strategy asks for something at first", asked)
            _require(
                asked == twin_asked,
                "Equal generators and answers give equal genotypes, so all chance comes from the rng it was made with",
                (asked, twin_asked),
            )
            _check_genotypes(asked, choices)
            answers = [
                Candidate(genotype, generation, dropped="made up")
                if drops(generation, row)
                else Candidate(genotype, generation, measure(genotype))
                for row, genotype in enumerate(asked)
            ]
            one.tell(answers)
            twin.tell(answers)
            told.extend(answers)
            _check_survivors(one.survivors, told, population_size)


def _check_genotypes(asked: Sequence[Any], choices: Sequence[Choice]) -> None:
    for genotype in asked:
        _require(
            type(genotype) is tuple and all(type(gene) is int for gene in genotype),
            "A genotype is a tuple of int, not of numpy's integers: write int(...)",
            genotype,
        )
        try:
            check_genotype(genotype, choices)
        except GenotypeError as error:
            raise ContractError(f"A strategy asks for genotypes of its choices; got {genotype}. {error}") from error


def _check_survivors(survivors: Sequence[Candidate], told: Sequence[Candidate], population_size: int) -> None:
    _require(len(survivors) <= population_size, f"At most {population_size} candidates survive", len(survivors))
    for survivor in survivors:
        _require(
            survivor.dropped is None,
            "No dropped candidate survives, as it has no measurements: skip those whose `dropped` is not None",
            survivor,
        )
        _require(
            any(survivor is candidate for candidate in told),
            "Survivors are among those told, the same objects",
            survivor,
        )
    if any(candidate.dropped is None for candidate in told):
        _require(len(survivors) > 0, "Something survives once a candidate could be measured", survivors)


def _require(kept: bool, promise: str, found: object) -> None:
    if not kept:
        raise ContractError(f"{promise}; got {found!r}.")


def _none(_generation: int, _row: int) -> bool:
    return False


def _every_other(_generation: int, row: int) -> bool:
    return row % 2 == 0


def _first_generation(generation: int, _row: int) -> bool:
    return generation == 0
