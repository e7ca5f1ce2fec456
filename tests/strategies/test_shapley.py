"""Shapley values against brute force on toy games, and the step on alpha against a computation by hand."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from archimed.genotype import Choice
from archimed.methods.shapley_nas import ShapleyNasSearch
from archimed.strategies.mixtures import draw_alpha
from archimed.strategies.shapley import Estimate, drops, shapley_optimizer, shapley_values, standardised

PLAYERS = 5


def game(seed: int) -> Callable[[frozenset[int]], float]:
    """Any value for each coalition."""
    rng = np.random.default_rng(seed)
    values = {frozenset(members): float(rng.normal()) for members in subsets(range(PLAYERS))}
    return values.__getitem__


def subsets(players: Any) -> list[tuple[int, ...]]:
    every = list(players)
    return [one for size in range(len(every) + 1) for one in itertools.combinations(every, size)]


def exact(value: Callable[[frozenset[int]], float], player: int) -> float:
    """Shapley's own formula, over coalitions, not permutations (1953)."""
    others = [one for one in range(PLAYERS) if one != player]
    total = 0.0
    for members in subsets(others):
        weight = math.factorial(len(members)) * math.factorial(PLAYERS - len(members) - 1) / math.factorial(PLAYERS)
        total += weight * (value(frozenset({*members, player})) - value(frozenset(members)))
    return total


@pytest.mark.parametrize("seed", range(3))
def test_over_all_permutations_the_mean_is_the_shapley_value(seed: int) -> None:
    value = game(seed)
    found = shapley_values(value, list(itertools.permutations(range(PLAYERS))))
    assert found.mean.tolist() == pytest.approx([exact(value, player) for player in range(PLAYERS)], abs=1e-12)
    assert float(found.mean.sum()) == pytest.approx(value(frozenset(range(PLAYERS))) - value(frozenset()))


def test_the_value_is_the_mean_less_the_deviation_over_permutations() -> None:
    value = game(7)
    orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]]
    every = np.empty((len(orders), PLAYERS))
    for row, order in enumerate(orders):
        for place, player in enumerate(order):
            every[row, player] = value(frozenset(order[place:])) - value(frozenset(order[place + 1 :]))
    found = shapley_values(value, orders)
    assert found.value.tolist() == pytest.approx((every.mean(0) - every.std(0)).tolist(), abs=1e-12)
    assert Estimate.of([torch.ones(2)]).value.tolist() == [1, 1]  # a single permutation has no spread


@pytest.mark.parametrize(
    ("stop_below", "ground", "asked", "expected"),
    [
        (None, 0.0, 5, [1, 1, 1, 1]),
        (0.0, 0.0, 5, [1, 1, 1, 1]),
        (0.5, 0.0, 4, [1, 1, 1, 0]),  # 2 is the half of 4, and not below it
        (0.6, 0.0, 3, [1, 1, 0, 0]),
        (0.5, 2.0, 3, [1, 1, 0, 0]),  # 3 is half-way
        (1.0, 0.0, 2, [1, 0, 0, 0]),
    ],
)
def test_a_permutation_ends_below_a_share_of_the_start(
    stop_below: float | None, ground: float, asked: int, expected: list[float]
) -> None:
    calls = []

    def value(coalition: frozenset[int]) -> float:
        calls.append(coalition)
        return float(len(coalition))

    assert drops(value, [0, 1, 2, 3], stop_below, ground).tolist() == expected
    assert len(calls) == asked


def test_each_cell_type_is_standardised_by_itself_and_one_without_differences_is_zero() -> None:
    values = {
        "normal.node1.input1": torch.tensor([1.0, 2.0]),
        "reduction.node1.input1": torch.tensor([3.0, 3.0]),
        "normal.node1.input2": torch.tensor([3.0, 6.0]),
    }
    found = standardised(values)
    spread = np.std([1, 2, 3, 6], ddof=1)
    assert found["normal.node1.input1"].tolist() == pytest.approx([-2 / spread, -1 / spread])
    assert found["normal.node1.input2"].tolist() == pytest.approx([0.0, 3 / spread])
    assert found["reduction.node1.input1"].tolist() == [0, 0]
    assert standardised({"normal": torch.tensor([5.0])})["normal"].tolist() == [0]


def test_alpha_follows_the_running_average() -> None:
    """S <- .8 s + .2 x, alpha <- alpha + .1 s, twice, from s = 0."""
    settings = ShapleyNasSearch()
    alpha = draw_alpha((Choice("normal.node1.input1", ("a", "b", "c")),), torch.Generator().manual_seed(0))
    (numbers,) = alpha.values()
    optimizer = shapley_optimizer(alpha, settings)
    by_hand, average = numbers.detach().double().numpy().copy(), np.zeros(3)
    for wanted in ([1.0, -1.0, 0.5], [0.2, 0.4, -2.0]):
        average = 0.8 * average + 0.2 * np.array(wanted)
        by_hand += 0.1 * average
        numbers.grad = -torch.tensor(wanted)
        optimizer.step()
        assert numbers.tolist() == pytest.approx(by_hand.tolist(), abs=1e-6)
