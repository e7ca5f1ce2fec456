"""Grades in order: agreement and error against scikit-learn, and everything else as for classes."""

import dataclasses

import numpy as np
import pytest
import sklearn.metrics as oracle

from archimed.evaluation.calibration import calibration
from archimed.evaluation.cautions import better_baselines
from archimed.evaluation.curves import confusion_matrix
from archimed.evaluation.intervals import metric_intervals
from archimed.evaluation.medmnist import medmnist_metrics
from archimed.evaluation.metrics import metrics, weighted_metrics
from archimed.task import LOWER_IS_BETTER
from archimed.training.progress import EpochRecord, is_better
from tests.evaluation.predictions import draw_classes, repeat, task_of

GRADES = task_of("ordinal", 5)


@pytest.mark.parametrize("seed", range(6))
def test_agreement_and_error_equal_scikit_learn(seed):
    target, probabilities = draw_classes(np.random.default_rng(seed), 70, 5, signal=0.3 * seed)
    answers = probabilities.argmax(axis=1)
    found = metrics(GRADES, target, probabilities)
    assert found["quadratic_kappa"] == pytest.approx(
        oracle.cohen_kappa_score(target, answers, labels=range(5), weights="quadratic"), abs=1e-12
    )
    assert found["mean_absolute_error"] == pytest.approx(oracle.mean_absolute_error(target, answers), abs=1e-12)


def test_all_else_is_as_for_classes():
    target, probabilities = draw_classes(np.random.default_rng(0), 90, 5, decimals=1)
    classes = task_of("multi-class", 5)
    own = {"quadratic_kappa", "mean_absolute_error"}
    found = metrics(GRADES, target, probabilities)
    assert {name: value for name, value in found.items() if name not in own} == metrics(classes, target, probabilities)
    assert found.keys() >= own
    assert medmnist_metrics(GRADES, target, probabilities) == medmnist_metrics(classes, target, probabilities)
    assert np.array_equal(
        confusion_matrix(GRADES, target, probabilities), confusion_matrix(classes, target, probabilities)
    )
    one = [repeat(target, probabilities)]
    assert calibration(GRADES, one) == calibration(classes, one)


def test_perfect_guessed_and_reversed_answers():
    target = np.repeat(np.arange(5), 20)
    perfect = metrics(GRADES, target, np.eye(5)[target])
    assert (perfect["quadratic_kappa"], perfect["mean_absolute_error"]) == (1, 0)
    reverse = metrics(GRADES, target, np.eye(5)[4 - target])
    assert (reverse["quadratic_kappa"], reverse["mean_absolute_error"]) == (pytest.approx(-1), pytest.approx(2.4))
    constant = metrics(GRADES, target, np.eye(5)[np.full(100, 2)])
    assert (constant["quadratic_kappa"], constant["mean_absolute_error"]) == (0, pytest.approx(1.2))


def test_a_single_true_grade_leaves_the_agreement_undefined_but_not_the_error():
    target = np.full(10, 3)
    for answers in (np.full(10, 3), np.arange(10) % 5):
        found = metrics(GRADES, target, np.eye(5)[answers])
        assert found["quadratic_kappa"] is None
        assert found["mean_absolute_error"] == np.abs(answers - 3).mean()


def test_a_case_of_weight_two_counts_as_two_cases():
    rng = np.random.default_rng(3)
    target, probabilities = draw_classes(rng, 50, 5)
    weights = rng.integers(3, size=50)
    index = np.repeat(np.arange(50), weights)
    weighted = weighted_metrics(GRADES, target, probabilities, weights[:, None].astype(float))
    repeated = metrics(GRADES, target[index], probabilities[index])
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated, abs=1e-9)


def test_both_have_intervals():
    found = metric_intervals(GRADES, [repeat(*draw_classes(np.random.default_rng(1), 120, 5))], 0, 200)
    for name in ("quadratic_kappa", "mean_absolute_error"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]


@pytest.mark.parametrize(("metric", "better"), [("quadratic_kappa", 0.9), ("mean_absolute_error", 0.2), ("brier", 0.2)])
def test_the_better_epoch_has_the_lower_error_or_the_higher_agreement(metric, better):
    first = EpochRecord(1, 1e-3, 1.0, 1.0, {metric: 0.5}, 1.0)
    second = dataclasses.replace(first, epoch=2, validation={metric: better})
    undefined = dataclasses.replace(first, epoch=3, validation={metric: None})
    assert is_better(second, first, metric)
    assert not is_better(first, second, metric)
    assert is_better(first, undefined, metric)


def test_a_baseline_of_a_lower_error_is_the_better_one():
    assert "mean_absolute_error" in LOWER_IS_BETTER
    facts = {"metric": "mean_absolute_error", "network": "mstf-nas", "against": "resnet18", "inside_noise": False}
    [sentence] = better_baselines([facts | {"value": 0.2, "low": 0.1, "high": 0.3}])
    assert "its mean absolute error is lower by 0.200" in sentence
    assert better_baselines([facts | {"value": -0.2, "low": -0.3, "high": -0.1}]) == []
