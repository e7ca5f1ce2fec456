"""Paired differences, rank tests and Holm against closed forms, brute force, SciPy and statsmodels."""

from itertools import combinations

import numpy as np
import pytest

from archimed.evaluation.bootstrap import bootstrap_metrics
from archimed.evaluation.significance import (
    Difference,
    compare_with,
    holm,
    inside_noise,
    paired_difference,
    rank_test,
    scores_by_seed,
    two_sided_p,
)
from tests.evaluation.predictions import draw_classes, repeat, softmax, task_of

BINARY = task_of("binary", 2)


def answers(right, target):
    """Probabilities that are right where told so."""
    score = np.where(right == (target == 1), 0.8, 0.2)
    return np.stack([1 - score, score], axis=1)


def network(name, right, target, seeds=1, resamples=1000):
    repeats = [repeat(target, answers(right, target), seed=seed) for seed in range(seeds)]
    return bootstrap_metrics(BINARY, repeats, 0, name, resamples)


def test_the_paired_interval_is_that_of_the_discordant_cases():
    rng = np.random.default_rng(0)
    target = np.arange(400) % 2
    first = rng.random(400) < 0.85
    second = first ^ (rng.random(400) < 0.1)  # they disagree on a tenth of the cases only
    found = paired_difference(network("a", first, target), network("b", second, target), "accuracy")
    gain = first.astype(float) - second
    error = gain.std() / np.sqrt(400)
    assert found.value == pytest.approx(gain.mean(), abs=1e-12)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    unpaired = np.sqrt(first.var() / 400 + second.var() / 400)
    assert found.high - found.low < 0.8 * 2 * 1.96 * unpaired


def test_two_equal_networks_do_not_differ():
    target, probabilities = draw_classes(np.random.default_rng(0), 60, 2)
    one, other = (bootstrap_metrics(BINARY, [repeat(target, probabilities)], 0, name, 200) for name in "ab")
    found = paired_difference(one, other, "auc")
    assert found == Difference(0.0, 0.0, 0.0, 1.0)
    assert inside_noise(found)


def test_a_clear_difference_is_found_and_its_sign_is_first_minus_second():
    target = np.arange(300) % 2
    good, bad = np.arange(300) % 10 != 0, np.arange(300) % 3 != 0
    found = paired_difference(network("a", good, target), network("b", bad, target), "accuracy")
    assert found.low > 0
    assert found.p == pytest.approx(2 / 1001)
    assert not inside_noise(found)
    back = paired_difference(network("b", bad, target), network("a", good, target), "accuracy")
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    alarms = 0
    for simulation in range(200):
        target = rng.integers(2, size=150)
        networks = []
        for name in "ab":
            logits = rng.normal(size=(150, 2)) + np.eye(2)[target]
            networks.append(bootstrap_metrics(BINARY, [repeat(target, softmax(logits))], simulation, name, 200))
        alarms += not inside_noise(paired_difference(*networks, "auc"))
    assert 0.01 <= alarms / 200 <= 0.10


def test_the_draws_of_seeds_of_two_networks_are_not_tied_together():
    target = np.arange(40) % 2
    levels = np.array([0.6, 0.8, 1.0])
    repeats = [repeat(target, answers(np.arange(40) < 40 * level, target), seed=s) for s, level in enumerate(levels)]
    one, other = (bootstrap_metrics(BINARY, repeats, 0, name, 500) for name in ("a", "b"))
    assert one.values == other.values
    difference = paired_difference(one, other, "accuracy")
    assert difference.low < -0.05 < 0.05 < difference.high


def test_networks_tested_on_other_cases_are_refused():
    target = np.arange(40) % 2
    one, other = network("a", target == 1, target), network("b", target[:30] == 1, target[:30])
    with pytest.raises(ValueError, match="same cases"):
        paired_difference(one, other, "accuracy")


def test_an_undefined_metric_has_no_difference():
    target = np.zeros(20, int)
    one, other = (network(name, target == 0, target) for name in "ab")
    found = paired_difference(one, other, "auc")
    assert found == Difference(None, None, None, None)
    assert inside_noise(found)


def test_the_p_value_agrees_with_the_interval():
    draws = np.concatenate([np.full(30, -1.0), np.full(969, 1.0)])
    assert two_sided_p(draws) == pytest.approx(2 * 31 / 1000)
    assert two_sided_p(np.zeros(99)) == 1.0


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_test_counts_every_arrangement(ties):
    rng = np.random.default_rng(0)
    first, second = rng.random(4), rng.random(5) + 0.3
    if ties:
        first, second = first.round(1), second.round(1)
    pooled = np.concatenate([first, second])

    def u(members):
        inside, outside = pooled[list(members)], np.delete(pooled, list(members))
        difference = inside[:, None] - outside[None]
        return (difference > 0).sum() + 0.5 * (difference == 0).sum()

    every = np.array([u(members) for members in combinations(range(9), 4)])
    observed = u(range(4))
    upper, lower = (every >= observed).mean(), (every <= observed).mean()
    found = rank_test(list(first), list(second))
    assert found.u == observed
    assert found.p == pytest.approx(min(1, 2 * min(upper, lower)), abs=1e-12)
    assert found.smallest_p == pytest.approx(2 / 126)


def test_three_seeds_against_three_reach_a_tenth_at_best():
    assert (
        rank_test([3.0, 4.0, 5.0], [0.0, 1.0, 2.0]).p
        == pytest.approx(0.1)
        == rank_test([3.0, 4.0, 5.0], [0.0, 1.0, 2.0]).smallest_p
    )
    assert rank_test([1.0], [2.0, 3.0]) is None
    assert rank_test([1.0] * 3, [1.0] * 3).p == 1.0


def test_many_seeds_take_the_normal_approximation():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    first, second = rng.random(30), rng.random(30) + 0.2
    assert rank_test(list(first), list(second)).p == mannwhitneyu(first, second).pvalue


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_equals_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    values = np.random.default_rng(0).random(12) ** 3
    assert holm(list(values)) == pytest.approx(list(multitest.multipletests(values, method="holm")[1]), abs=1e-12)


def test_the_chosen_network_is_compared_with_each_other_one():
    target = np.arange(200) % 2
    rng = np.random.default_rng(0)
    shares = {"mstf-nas": 0.9, "resnet18": 0.5, "macs": 0.88}
    networks = {name: network(name, rng.random(200) < share, target, seeds=2) for name, share in shares.items()}
    rows = compare_with("mstf-nas", networks, ["accuracy", "auc"])
    assert [(row["metric"], row["against"]) for row in rows] == [
        ("accuracy", "resnet18"),
        ("accuracy", "macs"),
        ("auc", "resnet18"),
        ("auc", "macs"),
    ]
    assert rows[0]["value"] > 0
    assert not rows[0]["inside_noise"]
    assert rows[1]["inside_noise"]
    assert rows[0]["p_holm"] == pytest.approx(2 * rows[0]["p"])
    assert rows[0]["rank_smallest_p"] == pytest.approx(1 / 3)


def test_scores_of_a_seed_are_averaged_over_its_folds():
    target = np.arange(20) % 2
    repeats = [
        repeat(target, answers(np.arange(20) < right, target), fold, seed)
        for (fold, seed), right in {(0, 0): 20, (1, 0): 10, (0, 1): 15, (1, 1): 15}.items()
    ]
    found = scores_by_seed(bootstrap_metrics(BINARY, repeats, 0, "a", 100), "accuracy")
    assert found == pytest.approx([0.75, 0.75])
