from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest

from archimed.candidate import Candidate, Measurements
from archimed.errors import SearchError
from archimed.genotype import Choice, Genotype
from archimed.objectives import SignedSums, capability, column
from archimed.search import SearchResult, search_population, select_best
from archimed.strategies import Nsga2, RandomSearch, Strategy

CHOICES = tuple(Choice(f"gene_{n}", tuple("abcd")) for n in range(6))
GENERATIONS = 4


def identity(genotype: Genotype) -> Genotype:
    return genotype


def as_a_set(genotype: Genotype) -> Genotype:
    return tuple(sorted(genotype))


class Toy:
    """Measures a genotype by arithmetic on its canonical form, and remembers what it was asked."""

    def __init__(self, failures: Mapping[int, Measurements] | None = None) -> None:
        self.failures = failures or {}  # by how many were measured before
        self.asked: list[Genotype] = []

    def __call__(self, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        for genotype in genotypes:
            number = len(self.asked)
            self.asked.append(genotype)
            form = as_a_set(genotype)
            good = {"left": float(sum(form[:3])), "right": float(form[5] * form[4])}
            yield self.failures.get(number, Measurements(good, 0.5))


def evolution(seed: int = 0) -> Nsga2:
    return Nsga2(
        CHOICES,
        SignedSums(("left", "-right")),
        np.random.default_rng(seed),
        canonical=as_a_set,
        population_size=8,
        offspring_size=6,
    )


def search(
    strategy: Strategy, evaluate: Toy, known: Sequence[Candidate] = (), log: list[Candidate] | None = None
) -> SearchResult:
    return search_population(
        strategy,
        evaluate,
        canonical=as_a_set,
        generations=GENERATIONS,
        known=known,
        record=(log if log is not None else []).append,
    )


def test_every_candidate_is_recorded_once_in_order() -> None:
    log: list[Candidate] = []
    result = search(evolution(), Toy(), log=log)
    assert tuple(log) == result.candidates
    assert [one.generation for one in log] == sorted(one.generation for one in log)
    assert {one.generation for one in log} == set(range(GENERATIONS))
    assert all(any(survivor is one for one in log) for survivor in result.survivors)
    assert log[0].seconds == 0.5


def test_isomorphic_networks_are_scored_once() -> None:
    toy = Toy()
    strategy = evolution()
    strategy.canonical = identity  # so that it asks for isomorphic twins, which the loop has to notice
    result = search(strategy, toy)
    assert len({as_a_set(genotype) for genotype in toy.asked}) == len(toy.asked) == result.unique_candidates


def test_a_known_network_is_told_again() -> None:
    class Twins:
        survivors: Sequence[Candidate] = ()

        def __init__(self) -> None:
            self.told: list[list[Candidate]] = []

        def ask(self) -> list[Genotype]:
            return [(0, 0, 0, 0, 0, 1), (1, 0, 0, 0, 0, 0), (2, 2, 2, 2, 2, len(self.told))]

        def tell(self, evaluated: Sequence[Candidate]) -> None:
            self.told.append(list(evaluated))

    strategy, toy = Twins(), Toy()
    search(strategy, toy)
    assert toy.asked == [(0, 0, 0, 0, 0, 1), *((2, 2, 2, 2, 2, n) for n in range(GENERATIONS))]
    assert [[one.genotype[5] for one in told] for told in strategy.told] == [[1, 0], [1, 1], [1, 2], [1, 3]]
    assert [[one.generation for one in told] for told in strategy.told] == [[0, 0], [0, 1], [0, 2], [0, 3]]


def test_interrupted_anywhere_and_resumed_ends_alike() -> None:
    failures = {3: Measurements({}, 0.1, "out of memory"), 11: Measurements({"left": np.nan, "right": 1.0}, 0.1)}
    unbroken = search(evolution(), Toy(failures))
    total = unbroken.unique_candidates
    assert total > 2 * 8
    for cut in range(total + 1):
        later = {number - cut: failure for number, failure in failures.items()}
        toy = Toy(later)
        log: list[Candidate] = []
        resumed = search(evolution(), toy, unbroken.candidates[:cut], log)
        assert len(toy.asked) == total - cut
        assert resumed.survivors == unbroken.survivors
        assert resumed.populations == unbroken.populations
        assert repr(log) == repr(list(unbroken.candidates[cut:]))  # NaN differs from itself, its spelling does not


def test_what_an_interruption_leaves_is_what_a_resumed_search_needs() -> None:
    unbroken = search(evolution(), Toy())

    class Killed(Toy):
        def __call__(self, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
            for measured in super().__call__(genotypes):
                if len(self.asked) == 13:
                    raise KeyboardInterrupt
                yield measured

    log: list[Candidate] = []
    with pytest.raises(KeyboardInterrupt):
        search(evolution(), Killed(), log=log)
    assert len(log) == 12
    assert search(evolution(), Toy(), list(log), log) == unbroken
    assert tuple(log) == unbroken.candidates


def test_another_log_is_refused() -> None:
    log = search(evolution(seed=0), Toy()).candidates
    with pytest.raises(SearchError, match="belongs to other settings"):
        search(evolution(seed=1), Toy(), log)
    shifted = [Candidate(one.genotype, one.generation + 1, one.measurements) for one in log]
    with pytest.raises(SearchError, match="belongs to other settings"):
        search(evolution(seed=0), Toy(), shifted)


def test_a_log_longer_than_the_search_is_refused() -> None:
    log = search(evolution(), Toy()).candidates
    with pytest.raises(SearchError, match="log holds"):
        search(evolution(), Toy(), [*log, Candidate((0,) * 6, GENERATIONS)])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_one_candidate_that_is_not_finite_does_not_poison_its_generation(wrong: float) -> None:
    log: list[Candidate] = []
    result = search(evolution(), Toy({2: Measurements({"left": wrong, "right": 1.0}, 0.1)}), log=log)
    assert log[2].dropped == f"left is {wrong}"
    assert len(result.survivors) == 8
    assert [number for number, one in enumerate(log) if one.dropped] == [2]
    assert all(np.isfinite(list(one.measurements.values())).all() for one in result.survivors)


def test_one_failed_candidate_is_dropped_with_its_reason() -> None:
    log: list[Candidate] = []
    result = search(evolution(), Toy({5: Measurements({}, 0.1, "RuntimeError: out of memory")}), log=log)
    assert log[5].dropped == "RuntimeError: out of memory"
    assert log[5] not in result.survivors


def test_half_of_a_generation_may_be_dropped_but_not_more() -> None:
    reason = "RuntimeError: tried to allocate {} bytes"
    failures = {n: Measurements({}, 0.1, reason.format(100 + n)) for n in range(3)}
    failures[3] = Measurements({"left": float("nan")}, 0.1)
    assert search(evolution(), Toy(failures)).unique_candidates > 8
    failures[6] = Measurements({}, 0.1, "ValueError: no")
    log: list[Candidate] = []
    with pytest.raises(SearchError, match=r"5 of 8 .* generation 0 were dropped, 3 of them because: .* allocate 100"):
        search(evolution(), Toy(failures), log=log)
    assert len(log) == 7  # it does not go on once the outcome is clear, and what it knows is recorded


def test_a_small_last_batch_is_judged_by_a_full_one() -> None:
    failures = {10: Measurements({}, 0.1, "no")}
    strategy = RandomSearch(CHOICES, 11, np.random.default_rng(0), canonical=as_a_set, batch_size=5)
    result = search_population(strategy, Toy(failures), canonical=as_a_set, generations=None)
    assert result.unique_candidates == 11
    assert len(result.survivors) == 10


def test_without_a_number_of_generations_it_ends_when_nothing_is_asked() -> None:
    strategy = RandomSearch(CHOICES, 20, np.random.default_rng(0), canonical=as_a_set, batch_size=6)
    steps: list[tuple[int, int | None, int]] = []
    result = search_population(
        strategy,
        Toy(),
        canonical=as_a_set,
        generations=None,
        progress=lambda done, planned, generation: steps.append((done, planned, generation)),
    )
    assert result.unique_candidates == 20
    assert len(result.populations) == 4
    assert steps[-1] == (20, None, 3)


def test_progress_reaches_its_plan_on_a_resumed_search_too() -> None:
    known = search(evolution(), Toy()).candidates[:9]
    steps: list[tuple[int, int | None, int]] = []
    search_population(
        evolution(),
        Toy(),
        canonical=as_a_set,
        generations=GENERATIONS,
        known=known,
        progress=lambda done, planned, generation: steps.append((done, planned, generation)),
    )
    assert steps[0] == (1, 8 * GENERATIONS, 0)
    assert steps[-1][:2] == (8 + 6 * (GENERATIONS - 1),) * 2
    assert [done for done, _, _ in steps] == sorted({done for done, _, _ in steps})


def test_stops_between_two_candidates_and_tells_what_is_complete() -> None:
    for limit in range(8 + 6 + 3):
        toy = Toy()
        result = search_population(
            evolution(),
            toy,
            canonical=as_a_set,
            generations=GENERATIONS,
            stop=lambda toy=toy, limit=limit: len(toy.asked) == limit,
        )
        assert result.stopped
        assert result.unique_candidates == limit
        assert len(result.survivors) == min(limit, 8)


def test_known_candidates_are_used_before_stopping() -> None:
    known = search(evolution(), Toy()).candidates[:12]
    result = search_population(
        evolution(), Toy(), canonical=as_a_set, generations=GENERATIONS, known=known, stop=lambda: True
    )
    assert result.candidates == known
    assert len(result.survivors) == 8


def test_an_evaluator_that_gives_too_little_is_our_fault() -> None:
    with pytest.raises(ValueError, match="shorter"):
        search_population(evolution(), lambda _: iter([]), canonical=as_a_set, generations=1)


def test_select_best_by_capability_and_by_one_measurement() -> None:
    pool = [Candidate((n,), 0, {"a": a, "b": b}) for n, (a, b) in enumerate([(0.0, 30.0), (5.0, 10.0), (10.0, 15.0)])]
    broken = Candidate((9,), 0, {"a": float("nan")}, dropped="a is nan")
    assert select_best([*pool, broken], lambda some: capability(some, ("a", "b"))) is pool[2]
    assert select_best([broken, *pool], lambda some: column(some, "b")) is pool[0]


def test_of_equals_the_earliest_is_selected_in_any_order() -> None:
    pool = [Candidate((5,), 1, {"a": 2.0}), Candidate((7,), 0, {"a": 2.0}), Candidate((6,), 0, {"a": 2.0})]
    for order in (pool, pool[::-1], pool[1:] + pool[:1]):
        assert select_best(order, lambda some: column(some, "a")).genotype == (6,)


def test_nothing_to_select_from() -> None:
    with pytest.raises(SearchError, match="at least 1 measured"):
        select_best([Candidate((0,), 0, dropped="no")], lambda some: column(some, "a"))
