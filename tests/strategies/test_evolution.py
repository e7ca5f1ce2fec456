"""Evolution by mutation: what is bred, what survives, what is never asked for."""

import numpy as np
import pytest

from archimed.candidate import Candidate
from archimed.genotype import Genotype
from archimed.objectives import SignedSums
from archimed.strategies import Evolution

HIGHEST = 20


def step(genotype: Genotype, rng: np.random.Generator) -> Genotype:
    """One of three genes a step up or down."""
    changed = list(genotype)
    changed[int(rng.integers(3))] += int(rng.choice([-1, 1]))
    return tuple(min(max(gene, 0), HIGHEST) for gene in changed)


def evolution(**named: object) -> Evolution:
    defaults: dict[str, object] = {
        "draw": lambda rng: tuple(int(gene) for gene in rng.integers(0, 4, size=3)),
        "mutate": step,
        "admits": lambda genotype: sum(genotype) <= 30,
        "objectives": SignedSums(("height",)),
        "rng": np.random.default_rng(0),
        "count": 400,
        "population_size": 12,
        "first_size": 8,
        "offspring_size": 3,
    }
    return Evolution(**{**defaults, **named})  # type: ignore[arg-type]


def climb(strategy: Evolution) -> list[Genotype]:
    asked: list[Genotype] = []
    while batch := strategy.ask():
        asked += batch
        strategy.tell([Candidate(one, 0, {"height": float(one[0] + 2 * one[1] + one[2])}) for one in batch])
    return asked


def test_climbs_to_the_best_that_is_admitted() -> None:
    strategy = evolution()
    asked = climb(strategy)
    assert len(asked) == len(set(asked)) <= 400
    assert all(sum(genotype) <= 30 for genotype in asked)
    best = strategy.survivors[0].measurements["height"]
    assert best == 2 * HIGHEST + 10  # the second gene is worth twice the others, which share what is left of 30
    heights = [one.measurements["height"] for one in strategy.survivors]
    assert len(heights) == 12
    assert heights == sorted(heights, reverse=True)


def test_children_differ_from_a_survivor_in_one_gene() -> None:
    strategy = evolution(count=60)
    while batch := strategy.ask():
        parents = [one.genotype for one in strategy.survivors]
        for child in batch if parents else []:
            assert min(sum(a != b for a, b in zip(child, parent, strict=True)) for parent in parents) == 1
        strategy.tell([Candidate(one, 0, {"height": float(sum(one))}) for one in batch])


def test_of_equals_the_older_survive_and_the_dropped_never() -> None:
    strategy = evolution(population_size=2)
    same = [Candidate((0, 0, k), 0, {"height": 1.0}) for k in range(3)]
    strategy.tell([Candidate((9, 9, 9), 0, dropped="failed"), *same])
    assert strategy.survivors == same[:2]
    strategy.tell([Candidate((5, 5, 5), 0, dropped="failed")])
    assert strategy.survivors == same[:2]


def test_ends_where_nothing_new_is_admitted() -> None:
    asked = climb(evolution(admits=lambda genotype: max(genotype) <= 1, draw=lambda _: (0, 0, 0), retries=30))
    assert {genotype for genotype in asked if max(genotype) <= 1} == set(asked)
    assert len(asked) <= 8


def test_sizes_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        evolution(population_size=0)
