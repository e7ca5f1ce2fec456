"""Comparisons with a reference against brute force, SciPy, and Holm by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from archimed.evaluation.bootstrap import bootstrap_metrics
from archimed.evaluation.pairs import (
    cliffs_delta,
    compare_with_reference,
    effect_word,
    rank_matrix,
    smallest_all_pairs,
)
from archimed.evaluation.significance import rank_test, scores_by_seed
from tests.evaluation.predictions import repeat, task_of

BINARY = task_of("binary", 2)
TARGET = np.arange(300) % 2


def network(name, share, seeds=5, spread=0.0):
    """A network that is right in a share of the cases; each seed errs on cases of its own."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    repeats = []
    for seed in range(seeds):
        right = rng.random(len(TARGET)) < share + spread * rng.normal()
        score = np.where(right == (TARGET == 1), 0.8, 0.2)
        repeats.append(repeat(TARGET, np.stack([1 - score, score], 1), seed=seed))
    return bootstrap_metrics(BINARY, repeats, 0, name, 400)


@pytest.fixture(scope="module")
def networks():
    shares = {"resnet50": 0.7, "better": 0.85, "alike": 0.7, "worse": 0.6}
    return {name: network(name, share) for name, share in shares.items()}


def test_each_network_is_compared_with_the_reference_in_each_metric(networks):
    rows = compare_with_reference("resnet50", networks, ["better", "alike", "worse"], ["accuracy", "auc"])
    assert [(row["metric"], row["network"]) for row in rows] == list(
        product(["accuracy", "auc"], ["better", "alike", "worse"])
    )
    better, alike, worse = rows[:3]
    assert better["value"] == pytest.approx(
        networks["better"].values["accuracy"] - networks["resnet50"].values["accuracy"]
    )
    assert better["value"] > 0 > worse["value"]
    assert better["beyond_noise"]
    assert worse["beyond_noise"]
    assert not alike["beyond_noise"]
    assert better["low"] < better["value"] < better["high"]


def test_ranks_agree_with_scipy_and_are_corrected_by_hand(networks):
    rows = compare_with_reference("resnet50", networks, ["better", "alike", "worse"], ["accuracy"])
    reference = scores_by_seed(networks["resnet50"], "accuracy")
    for row in rows:
        own = scores_by_seed(networks[row["network"]], "accuracy")
        if len(set(own + reference)) == 10:
            assert row["rank_p"] == pytest.approx(stats.mannwhitneyu(own, reference, method="exact").pvalue)
        assert row["u"] == stats.mannwhitneyu(own, reference).statistic
    ordered = sorted(rows, key=lambda row: row["rank_p"])
    reached = 0.0
    for factor, row in zip((3, 2, 1), ordered, strict=True):
        reached = max(reached, min(1.0, factor * row["rank_p"]))
        assert row["rank_p_holm"] == pytest.approx(reached)
    assert rows[0]["rank_smallest_p"] == pytest.approx(2 / 252)
    assert rows[0]["rank_smallest_p_holm"] == pytest.approx(6 / 252)


def test_cliffs_delta_counts_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, 5).astype(float), rng.integers(0, 6, 7).astype(float)
    by_hand = np.mean([np.sign(a - b) for a, b in product(first, second)])
    test = rank_test(list(first), list(second))
    assert cliffs_delta(test, 5, 7) == pytest.approx(by_hand)
    assert [effect_word(delta) for delta in (0.1, -0.2, 0.4, -1.0)] == ["negligible", "small", "medium", "large"]


def test_one_seed_has_no_ranks():
    networks = {name: network(name, 0.8, seeds=1) for name in ("resnet50", "other")}
    [row] = compare_with_reference("resnet50", networks, ["other"], ["accuracy"])
    assert row["p"] is not None
    assert [row[key] for key in ("u", "rank_p", "rank_p_holm", "rank_smallest_p_holm", "delta", "effect")] == [None] * 6
    assert not row["rank_beyond_noise"]
    assert rank_matrix(networks, "accuracy") == [[None, None], [None, None]]
    assert smallest_all_pairs([1, 1]) == (0, None)


def test_the_matrix_of_all_pairs_is_symmetric_and_that_of_scipy(networks):
    matrix = rank_matrix(networks, "accuracy")
    names = list(networks)
    for i, j in product(range(4), repeat=2):
        assert matrix[i][j] == matrix[j][i]
        if i == j:
            assert matrix[i][j] is None
            continue
        scores = [scores_by_seed(networks[names[k]], "accuracy") for k in (i, j)]
        if len({*scores[0], *scores[1]}) == 10:
            assert matrix[i][j] == pytest.approx(stats.mannwhitneyu(*scores, method="exact").pvalue)


def test_five_seeds_and_five_networks_cannot_reach_five_percent_over_all_pairs():
    assert smallest_all_pairs([5] * 4) == (6, pytest.approx(6 * 2 / 252))
    pairs, smallest = smallest_all_pairs([5] * 5)
    assert pairs == 10
    assert smallest == pytest.approx(10 * 2 / 252)
    assert smallest > 0.05
