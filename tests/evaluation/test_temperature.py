"""A hidden temperature is found in made predictions; it agrees with a search over many, and keeps the order."""

from typing import Any

import numpy as np
import pytest

from archimed.evaluation.temperature import FEWEST, fit_temperature, tempered
from archimed.task import TaskKind

RNG = np.random.default_rng(0)


def drawn(cases: int, classes: int, hidden: float) -> tuple[np.ndarray, np.ndarray]:
    """Classes drawn from probabilities, and the probabilities of a network whose logits are `hidden` times as large."""
    logits = RNG.normal(size=(cases, classes)) * 1.5
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (true.cumsum(1) < RNG.uniform(size=(cases, 1))).sum(1)
    said = np.exp(hidden * logits)
    return target, (said / said.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("hidden", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("classes", [2, 5])
def test_a_hidden_temperature_is_found(classes: int, hidden: float) -> None:
    target, said = drawn(6000, classes, hidden)
    kind: TaskKind = "binary" if classes == 2 else "multi-class"
    found = fit_temperature(kind, target, said)
    assert found == pytest.approx(hidden, rel=0.08)
    assert (tempered(kind, said, found).argmax(1) == said.argmax(1)).all()
    assert tempered(kind, said, 1.0) == pytest.approx(said, abs=1e-6)


def test_it_is_the_least_loss_on_platts_targets() -> None:
    target, said = drawn(60, 2, 2.0)
    positives, negatives = int((target == 1).sum()), int((target == 0).sum())
    wanted = np.where(target == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))  # Platt (1999)

    def loss(temperature: float) -> float:
        given = tempered("binary", said, temperature)[:, 1]
        return float(-(wanted * np.log(given) + (1 - wanted) * np.log(1 - given)).mean())

    grid = np.geomspace(0.3, 8, 1001)
    best = grid[np.argmin([loss(one) for one in grid])]
    assert fit_temperature("binary", target, said) == pytest.approx(best, rel=0.005)


def test_labels_share_one_and_unknown_ones_do_not_count() -> None:
    probabilities = RNG.uniform(0.02, 0.98, (4000, 3))
    target = (RNG.uniform(size=probabilities.shape) < probabilities).astype(np.float32)
    odds = np.log(probabilities / (1 - probabilities))
    said = 1 / (1 + np.exp(-2.0 * odds))
    target[RNG.uniform(size=target.shape) < 0.3] = np.nan
    assert fit_temperature("multi-label", target, said) == pytest.approx(2.0, rel=0.08)
    assert tempered("multi-label", said, 2.0) == pytest.approx(probabilities, abs=1e-6)


def test_all_answered_right_does_not_ask_for_certainty() -> None:
    target = np.arange(40) % 2
    said = np.where(target[:, None] == np.arange(2), 0.9, 0.1)
    found = fit_temperature("binary", target, said)
    assert found is not None
    assert tempered("binary", said, found).max() == pytest.approx(21 / 22, abs=1e-4)  # as (n + 1) / (n + 2) of 20


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("binary", np.arange(FEWEST - 1) % 2),
        ("binary", np.zeros(FEWEST, int)),
        ("multi-label", np.full((FEWEST, 2), np.nan)),
    ],
)
def test_cases_that_cannot_tell_give_none(kind: Any, target: np.ndarray) -> None:
    assert fit_temperature(kind, target, np.full((len(target), 2), 0.5)) is None
