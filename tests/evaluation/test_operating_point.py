"""Thresholds against an exhaustive search, and that they come from validation alone."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve, recall_score

from archimed.evaluation.metrics import metrics
from archimed.evaluation.operating_point import operating_point, threshold_for_sensitivity, threshold_of_best_f1
from tests.evaluation.predictions import draw_classes, repeat, task_of

BINARY = task_of("binary", 2)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("required", [0.5, 0.8, 0.95, 1.0])
def test_the_threshold_is_the_highest_that_finds_enough(required, decimals):
    rng = np.random.default_rng(0)
    positive = rng.random(70) < 0.4
    scores = rng.random(70) if decimals is None else rng.random(70).round(decimals)
    threshold = threshold_for_sensitivity(positive, scores, required)
    assert recall_score(positive, scores > threshold) >= required
    higher = [t for t in scores if t > threshold]
    assert all(recall_score(positive, scores > t) < required for t in higher)


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_best_f1_is_that_of_the_precision_recall_curve(decimals):
    rng = np.random.default_rng(1)
    positive = rng.random(90) < 0.3
    scores = np.clip(rng.random(90) * 0.7 + positive * 0.3, 0, 1)
    scores = scores if decimals is None else scores.round(decimals)
    precision, recall, _ = precision_recall_curve(positive, scores)
    best = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert f1_score(positive, scores > threshold_of_best_f1(positive, scores)) == pytest.approx(best, abs=1e-9)


def test_thresholds_at_the_edges():
    positive = np.array([True, True, False])
    assert threshold_for_sensitivity(positive, np.zeros(3), 1.0) < 0
    assert 0 < threshold_for_sensitivity(positive, np.array([0.2, 0.4, 0.6]), 1.0) < 0.2
    assert threshold_for_sensitivity(positive, np.array([0.2, 0.4, 0.6]), 0.5) == pytest.approx(0.3)
    assert threshold_for_sensitivity(~positive & False, np.zeros(3), 0.9) is None
    assert threshold_of_best_f1(~positive & False, np.zeros(3)) is None
    near = np.array([0.5, np.nextafter(0.5, 1)])
    assert (near > threshold_for_sensitivity(np.array([False, True]), near, 1.0)).tolist() == [False, True]
    with pytest.raises(ValueError, match="above 0"):
        threshold_for_sensitivity(positive, np.zeros(3), 1.5)


def test_the_threshold_is_chosen_on_validation_and_only_applied_to_test():
    rng = np.random.default_rng(0)
    validation = [repeat(*draw_classes(rng, 100, 2), seed=seed) for seed in range(2)]
    target, _ = draw_classes(rng, 80, 2)
    test = [repeat(target, draw_classes(rng, 80, 2)[1], seed=seed) for seed in range(2)]
    point = operating_point(BINARY, validation, test, 0.9, 0, resamples=100)
    flipped = [repeat(1 - t.target, t.probabilities, seed=t.seed) for t in test]
    assert operating_point(BINARY, validation, flipped, 0.9, 0, resamples=100).thresholds == point.thresholds
    assert point.validation["sensitivity"]["value"] >= 0.9
    expected = [
        metrics(BINARY, t.target, t.probabilities, row["threshold"])["specificity"]
        for t, row in zip(test, point.thresholds, strict=True)
    ]
    assert point.test["specificity"]["value"] == pytest.approx(np.mean(expected))
    assert point.test["specificity"]["low"] < point.test["specificity"]["value"]
    assert "90.0%" in point.rule


def test_other_tasks_and_validation_without_positives_have_no_operating_point():
    drawn = repeat(*draw_classes(np.random.default_rng(0), 30, 3))
    assert operating_point(task_of("multi-class", 3), [drawn], [drawn], 0.9, 0) is None
    negatives = repeat(np.zeros(10, int), np.full((10, 2), 0.5))
    assert operating_point(BINARY, [negatives], [negatives], None, 0) is None
