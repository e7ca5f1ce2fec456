import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.indicators.hv import HV
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

from archimed.candidate import Candidate
from archimed.genotype import Choice, Genotype
from archimed.objectives import SignedSums
from archimed.strategies import Nsga2, RandomSearch, Strategy
from archimed.strategies.dominance import crowding_distances, non_dominated_fronts

WEIGHTS = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0])
OPTIONS = 4
CHOICES = tuple(Choice(f"gene_{n}", tuple("abcd")) for n in range(len(WEIGHTS)))


def toy_scores(genotypes: np.ndarray) -> np.ndarray:
    """Cost grows with each option; so does benefit, with diminishing returns that differ by gene."""
    cost = genotypes @ WEIGHTS
    benefit = np.sqrt(genotypes) @ WEIGHTS[::-1] + (genotypes[:, 1:] == genotypes[:, :-1]).sum(axis=1)
    return np.stack([cost, -benefit], axis=1)


def toy_objectives(candidates: Sequence[Candidate]) -> np.ndarray:
    return toy_scores(np.array([candidate.genotype for candidate in candidates], dtype=float))


def evolve(strategy: Strategy, rounds: int) -> list[Genotype]:
    """Every genotype that was asked for."""
    asked: list[Genotype] = []
    for generation in range(rounds):
        batch = strategy.ask()
        strategy.tell([Candidate(genotype, generation) for genotype in batch])
        asked.extend(batch)
    return asked


@pytest.mark.parametrize("seed", range(3))
def test_comes_near_the_true_front_and_beats_random_search(seed: int) -> None:
    every = toy_scores(np.array(list(itertools.product(range(OPTIONS), repeat=len(CHOICES))), dtype=float))
    volume = HV(ref_point=every.max(axis=0) + 1)
    best = volume(every[non_dominated_fronts(every)[0]])

    evolution = Nsga2(CHOICES, toy_objectives, np.random.default_rng(seed))
    asked = evolve(evolution, rounds=16)
    random = RandomSearch(CHOICES, len(asked), np.random.default_rng(seed))
    drawn = evolve(random, rounds=99)

    assert len(drawn) == len(asked) == 640  # of 16,384
    found = volume(toy_objectives(evolution.survivors))
    assert found > 0.98 * best
    assert found > volume(toy_objectives(random.survivors)) + 0.01 * best


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_survival_is_that_of_pymoo(objectives: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random((60, objectives))
    names = tuple("abc")[:objectives]
    told = [Candidate((row,), 0, dict(zip(names, line.tolist(), strict=True))) for row, line in enumerate(scores)]
    strategy = Nsga2(
        (Choice("row", tuple(map(str, range(60)))),),
        SignedSums(tuple(f"-{name}" for name in names)),
        np.random.default_rng(0),
        population_size=25,
    )
    strategy.tell(told)
    survived = RankAndCrowding().do(
        Problem(n_var=1, n_obj=objectives),
        Population.new(X=np.arange(60)[:, None], F=scores),
        n_survive=25,
        random_state=np.random.default_rng(0),
    )
    place = {  # rank and crowding of each row; those equal in both, the ends of a front, are interchangeable
        int(row): (rank, float(distance))
        for rank, front in enumerate(non_dominated_fronts(scores))
        for row, distance in zip(front, crowding_distances(scores[front]), strict=True)
    }
    ours = [place[one.genotype[0]] for one in strategy.survivors]
    theirs = [place[int(row)] for row in survived.get("X")[:, 0]]
    assert sorted(ours) == sorted(theirs)
    assert len({one.genotype for one in strategy.survivors}) == 25


def test_parents_and_offspring_are_normalised_together() -> None:
    pools = []

    def objectives(candidates: Sequence[Candidate]) -> np.ndarray:
        pools.append(len(candidates))
        return toy_objectives(candidates)

    evolve(Nsga2(CHOICES, objectives, np.random.default_rng(0), population_size=10, offspring_size=6), rounds=3)
    assert pools == [10, 16, 16]


def test_asks_what_is_new_to_the_population() -> None:
    strategy = Nsga2(CHOICES, toy_objectives, np.random.default_rng(0), population_size=12, offspring_size=9)
    for generation in range(8):
        asked = strategy.ask()
        assert len(asked) == (9 if generation else 12)
        assert len({*asked, *(one.genotype for one in strategy.survivors)}) == len(asked) + len(strategy.survivors)
        strategy.tell([Candidate(genotype, generation) for genotype in asked])


def test_isomorphic_genotypes_are_duplicates() -> None:
    def canonical(genotype: Genotype) -> Genotype:
        return tuple(sorted(genotype))

    strategy = Nsga2(CHOICES, toy_objectives, np.random.default_rng(0), canonical=canonical, population_size=20)
    for generation in range(5):
        asked = strategy.ask()
        forms = {canonical(genotype) for genotype in (*asked, *(one.genotype for one in strategy.survivors))}
        assert len(forms) == len(asked) + len(strategy.survivors)
        strategy.tell([Candidate(genotype, generation) for genotype in asked])


def test_a_space_smaller_than_the_population_is_asked_for_once() -> None:
    strategy = Nsga2(CHOICES[:1], toy_objectives_of_one, np.random.default_rng(0), population_size=10)
    asked = strategy.ask()
    assert sorted(asked) == [(0,), (1,), (2,), (3,)]
    strategy.tell([Candidate(genotype, 0) for genotype in asked])
    assert strategy.ask() == []


def toy_objectives_of_one(candidates: Sequence[Candidate]) -> np.ndarray:
    return np.array([[candidate.genotype[0], -candidate.genotype[0]] for candidate in candidates], dtype=float)


def offspring_of(points: Sequence[tuple[float, float]]) -> set[int]:
    """First genes of the offspring, which stay together with their parent's number: no mutation, one marked gene."""
    choices = (Choice("parent", tuple(map(str, range(len(points))))), *CHOICES)
    strategy = Nsga2(
        choices,
        SignedSums(("-first", "-second")),
        np.random.default_rng(0),
        population_size=len(points),
        offspring_size=200,
        mutation_rate=0.0,
    )
    rng = np.random.default_rng(1)
    strategy.tell(
        [
            Candidate((row, *rng.integers(OPTIONS, size=len(CHOICES)).tolist()), 0, {"first": a, "second": b})
            for row, (a, b) in enumerate(points)
        ]
    )
    return {genotype[0] for genotype in strategy.ask()}


def test_tournaments_go_by_dominance() -> None:
    # Each of the first two dominates the last, which therefore beats nobody; they do not dominate each other.
    assert offspring_of([(0.0, 1.0), (1.0, 0.0), (0.5, 0.4), (2.0, 2.0)]) == {0, 1, 2}


def test_equally_good_go_by_crowding() -> None:
    # One front; the third is the most crowded.
    assert offspring_of([(0.0, 10.0), (4.0, 4.0), (5.0, 3.5), (6.0, 3.0), (10.0, 0.0), (1.0, 8.0)]) == {0, 1, 3, 4, 5}


def test_dropped_candidates_take_no_part() -> None:
    strategy = Nsga2(CHOICES, toy_objectives, np.random.default_rng(0), population_size=4)
    strategy.tell([Candidate((0,) * 7, 0, dropped="nan"), Candidate((1,) * 7, 0)])
    assert [one.genotype for one in strategy.survivors] == [(1,) * 7]


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Nsga2(CHOICES, toy_objectives, np.random.default_rng(0), population_size=0)
