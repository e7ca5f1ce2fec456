"""Curves and the confusion matrix against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics as oracle

from archimed.evaluation.curves import class_curves, confusion_matrix, precision_recall_curve, roc_curve
from tests.evaluation.predictions import draw_classes, draw_labels, task_of


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_roc_curve_equals_scikit_learn(decimals):
    target, probabilities = draw_classes(np.random.default_rng(0), 150, 2, decimals=decimals)
    curve = roc_curve(target == 1, probabilities[:, 1], most_points=1000)
    false_rate, true_rate, _ = oracle.roc_curve(target, probabilities[:, 1], drop_intermediate=False)
    assert oracle.auc(curve.x, curve.y) == pytest.approx(oracle.roc_auc_score(target, probabilities[:, 1]), abs=1e-9)
    every = set(zip(false_rate, true_rate, strict=True))
    assert all((x, y) in every for x, y in zip(curve.x, curve.y, strict=True))
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_precision_recall_curve_equals_scikit_learn(decimals):
    target, probabilities = draw_classes(np.random.default_rng(1), 60, 2, decimals=decimals)
    curve = precision_recall_curve(target == 1, probabilities[:, 1], most_points=1000)
    precision, recall, _ = oracle.precision_recall_curve(target, probabilities[:, 1])
    every = {(round(r, 9), round(p, 9)) for r, p in zip(recall, precision, strict=True)}
    assert all((round(x, 9), round(y, 9)) in every for x, y in zip(curve.x, curve.y, strict=True))
    assert (curve.x[0], curve.y[0], curve.x[-1]) == (0, 1, 1)


def test_thinning_keeps_the_area_and_the_ends():
    target, probabilities = draw_classes(np.random.default_rng(0), 20_000, 2)
    curve = roc_curve(target == 1, probabilities[:, 1])
    assert len(curve.x) <= 200
    assert oracle.auc(curve.x, curve.y) == pytest.approx(oracle.roc_auc_score(target, probabilities[:, 1]), abs=1e-3)
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert curve.as_json()["x"] == curve.x.tolist()


def test_one_class_has_no_curve():
    scores = np.array([0.1, 0.5])
    assert roc_curve(np.array([False, False]), scores) is None
    assert roc_curve(np.array([True, True]), scores) is None
    assert precision_recall_curve(np.array([False, False]), scores) is None


def test_each_class_has_its_curve():
    binary = class_curves(task_of("binary", 2), *draw_classes(np.random.default_rng(0), 40, 2), roc_curve)
    assert list(binary) == ["class 1"]
    target, probabilities = draw_labels(np.random.default_rng(0), 50, 3, unknown=0.4)
    target[:, 2] = np.nan
    labels = class_curves(task_of("multi-label", 3), target, probabilities, roc_curve)
    known = ~np.isnan(target[:, 0])
    assert oracle.auc(labels["class 0"].x, labels["class 0"].y) == pytest.approx(
        oracle.roc_auc_score(target[known, 0], probabilities[known, 0])
    )
    assert labels["class 2"] is None


def test_the_confusion_matrix_equals_scikit_learn():
    target, probabilities = draw_classes(np.random.default_rng(0), 80, 4)
    target[target == 3] = 0
    found = confusion_matrix(task_of("multi-class", 4), target, probabilities)
    assert (found == oracle.confusion_matrix(target, probabilities.argmax(axis=1), labels=range(4))).all()
    target, probabilities = draw_classes(np.random.default_rng(0), 80, 2)
    found = confusion_matrix(task_of("binary", 2), target, probabilities, threshold=0.3)
    assert (found == oracle.confusion_matrix(target, probabilities[:, 1] > 0.3)).all()
    with pytest.raises(ValueError, match="multi-label"):
        confusion_matrix(task_of("multi-label", 4), *draw_labels(np.random.default_rng(0), 20, 4))
