"""Calibration against scikit-learn's calibration curve and hand-made predictions."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from archimed.evaluation.calibration import calibration, expected_calibration_error, reliability_bins
from archimed.evaluation.metrics import metrics
from tests.evaluation.predictions import draw_classes, draw_labels, repeat, task_of


@pytest.mark.parametrize(("binning", "strategy"), [("equal mass", "quantile"), ("equal width", "uniform")])
@pytest.mark.parametrize("decimals", [None, 1])
def test_bins_equal_scikit_learn(binning, strategy, decimals):
    rng = np.random.default_rng(0)
    probability = rng.beta(0.6, 1.2, size=300)
    came_true = rng.random(300) < probability
    if decimals is not None:
        probability = probability.round(decimals)
    observed, predicted = calibration_curve(came_true, probability, n_bins=8, strategy=strategy)
    bins = reliability_bins(came_true, probability, 8, binning)
    assert [b.observed for b in bins] == pytest.approx(list(observed), abs=1e-12)
    assert [b.predicted for b in bins] == pytest.approx(list(predicted), abs=1e-12)
    assert sum(b.count for b in bins) == 300


def test_equal_mass_bins_hold_equal_counts():
    probability = np.random.default_rng(0).random(100)
    assert {b.count for b in reliability_bins(probability > 0.5, probability, 10)} == {10}


def test_the_calibration_error_by_hand():
    probability = np.array([0.2] * 10 + [0.9] * 30)
    came_true = np.array([True] * 5 + [False] * 5 + [True] * 24 + [False] * 6)
    bins = reliability_bins(came_true, probability, 10, "equal width")
    assert expected_calibration_error(bins) == pytest.approx(0.25 * abs(0.2 - 0.5) + 0.75 * abs(0.9 - 0.8))
    assert expected_calibration_error(()) is None


def test_honest_probabilities_have_a_small_error_and_overconfident_ones_a_large():
    rng = np.random.default_rng(0)
    probability = rng.random(20_000)
    came_true = rng.random(20_000) < probability
    assert expected_calibration_error(reliability_bins(came_true, probability)) < 0.02
    shouted = np.where(probability > 0.5, 0.99, 0.01)
    assert expected_calibration_error(reliability_bins(came_true, shouted)) > 0.2


@pytest.mark.parametrize(("kind", "classes"), [("binary", 2), ("multi-class", 3), ("multi-label", 3)])
def test_the_summary_holds_means_over_repeats_and_pooled_bins(kind, classes):
    rng = np.random.default_rng(0)
    draw = draw_labels if kind == "multi-label" else draw_classes
    task = task_of(kind, classes)
    repeats = [repeat(*draw(rng, 60, classes), fold=fold) for fold in range(2)]
    found = calibration(task, repeats, bins=5)
    judged = sum(int((~np.isnan(r.target)).sum()) for r in repeats) if kind == "multi-label" else 120
    assert sum(b["count"] for b in found["bins"]) == judged
    singles = [calibration(task, [r], bins=5)["expected_calibration_error"] for r in repeats]
    assert found["expected_calibration_error"] == pytest.approx(np.mean(singles))
    assert found["brier"] == pytest.approx(
        np.mean([metrics(task, r.target, r.probabilities)["brier"] for r in repeats])
    )


def test_multi_class_calibration_judges_the_likeliest_class():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    found = calibration(task_of("multi-class", 3), [repeat(np.array([0, 1, 0]), probabilities)], bins=1)
    assert found["bins"][0]["predicted"] == pytest.approx((0.7 + 0.8 + 0.4) / 3)
    assert found["bins"][0]["observed"] == pytest.approx(2 / 3)
