"""Kendall's tau and its intervals against SciPy, resample by resample."""

import numpy as np
import pytest
from scipy import stats

from archimed.evaluation.agreement import kendall_tau, rank_agreement, weighted_tau


@pytest.mark.parametrize("decimals", [8, 1])
def test_tau_is_that_of_scipy_also_with_ties(decimals):
    rng = np.random.default_rng(0)
    first = rng.normal(size=40).round(decimals)
    second = (first + rng.normal(size=40)).round(decimals)
    assert kendall_tau(first, second) == pytest.approx(stats.kendalltau(first, second).statistic, abs=1e-12)


def test_a_resample_is_what_scipy_gives_for_the_networks_drawn():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=12).round(1), rng.normal(size=12)
    weights = rng.multinomial(12, np.full(12, 1 / 12), 20).T.astype(float)
    by_hand = []
    for column in weights.T:
        drawn = np.repeat(np.arange(12), column.astype(int))
        by_hand.append(stats.kendalltau(first[drawn], second[drawn]).statistic)
    assert weighted_tau(first, second, weights) == pytest.approx(by_hand, abs=1e-12)


def test_a_constant_indicator_has_no_tau():
    quality = np.arange(10.0)
    found = rank_agreement({"macs": quality, "flat": np.ones(10)}, quality, "macs", 0, 200)
    assert found["flat"]["tau"]["value"] is None
    assert found["flat"]["distinct"] == 1
    assert found["flat"]["above"] is None
    assert found["macs"]["tau"]["value"] == 1.0
    assert found["macs"]["above"] is None


def test_networks_without_a_finite_value_are_left_out_and_counted():
    rng = np.random.default_rng(2)
    quality = rng.normal(size=30)
    quality[0] = np.nan
    values = quality + rng.normal(size=30)
    values[[1, 2]] = [np.inf, np.nan]
    found = rank_agreement({"macs": rng.normal(size=30), "mine": values}, quality, "macs", 0, 400)["mine"]
    assert (found["networks"], found["not_finite"]) == (27, 2)
    assert found["tau"]["value"] == pytest.approx(stats.kendalltau(values[3:], quality[3:]).statistic)
    assert found["tau"]["low"] < found["tau"]["value"] < found["tau"]["high"]


def test_an_indicator_that_ranks_better_than_macs_is_above_it():
    rng = np.random.default_rng(3)
    quality = rng.normal(size=60)
    found = rank_agreement(
        {"macs": rng.normal(size=60), "good": quality + 0.1 * rng.normal(size=60)}, quality, "macs", 0
    )
    assert found["good"]["above"]["low"] > 0


def test_the_interval_holds_the_truth_in_about_95_percent():
    rng = np.random.default_rng(4)
    correlation = 0.6
    truth = 2 / np.pi * np.arcsin(correlation)  # of normal numbers
    hits = 0
    for k in range(200):
        first = rng.normal(size=50)
        second = correlation * first + np.sqrt(1 - correlation**2) * rng.normal(size=50)
        row = rank_agreement({"macs": first}, second, "macs", k, 300)["macs"]["tau"]
        hits += row["low"] <= truth <= row["high"]
    assert 0.90 <= hits / 200 <= 0.99
