"""Differences of results on different cases have the limits that theory and statsmodels give."""

import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from archimed.evaluation.unpaired import difference


def share(hits: int, cases: int) -> dict[str, float]:
    low, high = proportion_confint(hits, cases, method="wilson")
    return {"value": hits / cases, "low": float(low), "high": float(high)}


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (9, 10, 3, 10), (5, 5, 0, 7)])
def test_of_two_shares_they_are_those_of_newcombe(counts: tuple[int, int, int, int]) -> None:
    found = difference(share(*counts[:2]), share(*counts[2:]))
    limits = confint_proportions_2indep(*counts, method="newcomb", compare="diff")
    assert found["value"] == counts[0] / counts[1] - counts[2] / counts[3]
    assert (found["low"], found["high"]) == pytest.approx(tuple(map(float, limits)), abs=1e-12)


def test_what_is_undefined_stays_so() -> None:
    whole = {"value": 0.8, "low": 0.7, "high": 0.9}
    assert difference(whole, {}) == difference({"value": None}, whole) == {"value": None, "low": None, "high": None}
    alone = difference(whole, {"value": 0.5, "low": None, "high": None})
    assert alone == {"value": pytest.approx(0.3), "low": None, "high": None}
