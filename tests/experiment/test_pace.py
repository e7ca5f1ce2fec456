"""The time left, foretold in searches on a clock that is set by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from archimed.experiment.pace import MOST_POINTS, Pace
from archimed.experiment.progress import Silent
from archimed.experiment.search_stage import progress_within

UNITS = 1240  # candidates of MSTF-NAS
Costs = Callable[[np.random.Generator], np.ndarray]


def constant(_rng: np.random.Generator) -> np.ndarray:
    return np.ones(UNITS)


def scattered(rng: np.random.Generator) -> np.ndarray:
    return rng.lognormal(0.0, 1.0, UNITS)


def growing(rng: np.random.Generator) -> np.ndarray:
    """Evolution towards dearer networks: on BreastMNIST those of generation 8 have 1.3 times the MACs of the first."""
    return np.linspace(1.0, 1.7, UNITS) * rng.lognormal(0.0, 0.3, UNITS)


def settling(rng: np.random.Generator) -> np.ndarray:
    """The first generation is drawn at random and cheap; the others cost twice as much."""
    return np.where(np.arange(UNITS) < 40, 1.0, 2.0) * rng.lognormal(0.0, 0.3, UNITS)


def warming_up(_rng: np.random.Generator) -> np.ndarray:
    """The first candidates wait for libraries to load."""
    return np.where(np.arange(UNITS) < 5, 30.0, 1.0)


def getting_cheaper(_rng: np.random.Generator) -> np.ndarray:
    """More and more of what is asked for was measured before, and takes no time."""
    return np.where(np.arange(UNITS) % 3 == 0, 0.0, 1.0)


@pytest.mark.parametrize("costs", [constant, scattered, growing, settling, warming_up, getting_cheaper])
def test_after_a_tenth_the_time_left_is_right_within_a_factor(costs: Costs) -> None:
    for seed in range(20):
        seconds = costs(np.random.default_rng(seed))
        pace, clock = Pace(), 1000.0
        for unit in range(UNITS):
            clock += seconds[unit]
            pace.add(unit + 1, clock)
            if UNITS / 10 <= unit + 1 < 0.95 * UNITS:
                told, true = pace.left(UNITS), seconds[unit + 1 :].sum()
                assert told is not None
                assert 1 / 1.5 < told / true < 1.5, (seed, unit)


def test_what_was_done_before_an_interruption_is_no_sign_of_pace() -> None:
    pace = Pace()
    pace.add(900, 0.0)
    assert pace.left(1000) is None
    pace.add(910, 20.0)
    assert pace.left(1000) == pytest.approx(180.0)
    assert pace.left(910) is None


def test_units_that_do_not_advance_and_very_many_of_them_are_no_trouble() -> None:
    pace = Pace()
    for unit in range(3 * MOST_POINTS):
        pace.add(unit, float(unit))
        pace.add(unit, float(unit))
    assert pace.left(4 * MOST_POINTS) == pytest.approx(MOST_POINTS, rel=0.01)


class Heard(Silent):
    def __init__(self) -> None:
        self.told: list[tuple[float, float]] = []

    def progress(self, done: float, total: float, note: str) -> None:  # noqa: ARG002 - as observers have it
        self.told.append((done, total))


@pytest.mark.parametrize(("seconds", "total"), [(100.0, 100), (5000.0, 1240), (float("inf"), 1240)])
def test_with_a_budget_progress_is_towards_what_will_be_done_in_time(
    seconds: float, total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("archimed.experiment.search_stage.time.monotonic", lambda: clock[0])
    heard = Heard()
    progress = progress_within(heard, lambda: seconds - clock[0])
    for done in range(1, 50):
        clock[0] += 1.0
        progress(done, 1240, "candidates")
    assert heard.told[-1] == (49, pytest.approx(total, abs=1))
