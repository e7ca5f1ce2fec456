import numpy as np
import pytest
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.util.nds.fast_non_dominated_sort import fast_non_dominated_sort

from archimed.candidate import Candidate
from archimed.objectives import SignedSums
from archimed.strategies.dominance import crowding_distances, dominates, non_dominated_fronts, pareto_front


def brute_fronts(scores: np.ndarray) -> list[list[int]]:
    """Peel off what nothing left dominates, comparing every pair."""
    left, fronts = set(range(len(scores))), []
    while left:
        front = sorted(
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(scores[j], scores[i], strict=True))
                and any(a < b for a, b in zip(scores[j], scores[i], strict=True))
                for j in left
            )
        )
        fronts.append(front)
        left -= set(front)
    return fronts


def brute_crowding(front: np.ndarray) -> list[float]:
    """Deb et al. (2002), Sec. III-B, divided by the number of objectives as pymoo does."""
    distance = [0.0] * len(front)
    for m in range(front.shape[1]):
        order = sorted(range(len(front)), key=lambda i: front[i, m])
        span = front[order[-1], m] - front[order[0], m]
        distance[order[0]] = distance[order[-1]] = np.inf
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            distance[i] += (front[after, m] - front[before, m]) / span / front.shape[1]
    return distance


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("levels", [4, 10**6])  # few levels: many equal scores
@pytest.mark.parametrize("seed", range(3))
def test_fronts_equal_brute_force_and_pymoo(objectives: int, levels: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(levels, size=(60, objectives)).astype(float)
    fronts = [front.tolist() for front in non_dominated_fronts(scores)]
    assert fronts == brute_fronts(scores)
    assert fronts == [sorted(front) for front in fast_non_dominated_sort(scores)]


@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_crowding_equals_brute_force_and_pymoo(objectives: int, seed: int) -> None:
    front = np.random.default_rng(seed).random((25, objectives))
    np.testing.assert_allclose(crowding_distances(front), brute_crowding(front))
    np.testing.assert_allclose(crowding_distances(front), calc_crowding_distance(front))


@pytest.mark.parametrize("members", [1, 2])
def test_a_front_of_one_or_two_is_not_crowded(members: int) -> None:
    assert np.isinf(crowding_distances(np.ones((members, 2)))).all()


def test_crowding_of_equal_scores_is_a_number() -> None:
    assert not np.isnan(crowding_distances(np.ones((5, 2)))).any()


def test_dominates() -> None:
    assert dominates(np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    assert not dominates(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert not dominates(np.array([0.0, 3.0]), np.array([0.0, 2.0]))
    assert not dominates(np.array([0.0, 3.0]), np.array([1.0, 2.0]))


def test_pareto_front_keeps_order() -> None:
    points = [(1.0, 4.0), (0.0, 0.0), (3.0, 3.0), (2.0, 1.0), (4.0, 0.0)]
    candidates = [Candidate((n,), 0, {"a": a, "b": b}) for n, (a, b) in enumerate(points)]
    front = pareto_front(candidates, SignedSums(("a", "b")))
    assert [candidate.genotype for candidate in front] == [(0,), (2,), (4,)]
    assert pareto_front([], SignedSums(("a", "b"))) == []
