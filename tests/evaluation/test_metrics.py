"""Metrics against scikit-learn, pairwise brute force, and on data that leave them undefined."""

import numpy as np
import pytest
import sklearn.metrics as oracle

from archimed.evaluation.auc import weighted_auc
from archimed.evaluation.metrics import class_table, metrics, weighted_metrics
from tests.evaluation.predictions import draw_classes, draw_labels, task_of

CLOSE = {"rel": 0, "abs": 1e-9}


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(5))
def test_auc_is_the_share_of_pairs_in_order_ties_half(seed, decimals):
    rng = np.random.default_rng(seed)
    positive = rng.random(40) < 0.3
    scores = rng.random(40) if decimals is None else rng.random(40).round(decimals)
    weights = rng.integers(4, size=(40, 6)).astype(float)
    for column, found in zip(weights.T, weighted_auc(positive, scores, weights), strict=True):
        wins = pairs = 0.0
        for i in np.flatnonzero(positive):
            for j in np.flatnonzero(~positive):
                pair = column[i] * column[j]
                pairs += pair
                wins += pair * ((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]))
        assert found == pytest.approx(wins / pairs, **CLOSE)
        assert found == pytest.approx(oracle.roc_auc_score(positive, scores, sample_weight=column), **CLOSE)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(4))
def test_binary_metrics_equal_scikit_learn(seed, decimals):
    target, probabilities = draw_classes(np.random.default_rng(seed), 60, 2, decimals=decimals)
    probabilities[:, 0] = 1 - probabilities[:, 1]
    scores, answers = probabilities[:, 1], probabilities[:, 1] > 0.5
    expected = {
        "accuracy": oracle.accuracy_score(target, answers),
        "balanced_accuracy": oracle.balanced_accuracy_score(target, answers),
        "auc": oracle.roc_auc_score(target, scores),
        "macro_f1": oracle.f1_score(target, answers, average="macro"),
        "sensitivity": oracle.recall_score(target, answers),
        "specificity": oracle.recall_score(target, answers, pos_label=0),
        "precision": oracle.precision_score(target, answers),
        "log_loss": oracle.log_loss(target, probabilities),
        "brier": oracle.brier_score_loss(target, scores),
    }
    assert metrics(task_of("binary", 2), target, probabilities) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(4))
def test_multi_class_metrics_equal_scikit_learn(seed, decimals):
    target, probabilities = draw_classes(np.random.default_rng(seed), 90, 4, decimals=decimals)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    answers = probabilities.argmax(axis=1)
    one_hot = target[:, None] == np.arange(4)
    expected = {
        "accuracy": oracle.accuracy_score(target, answers),
        "balanced_accuracy": oracle.balanced_accuracy_score(target, answers),
        "auc": oracle.roc_auc_score(target, probabilities, multi_class="ovr"),
        "macro_f1": oracle.f1_score(target, answers, average="macro"),
        "sensitivity": oracle.recall_score(target, answers, average="macro"),
        "specificity": np.mean([oracle.recall_score(~one_hot[:, k], answers != k) for k in range(4)]),
        "precision": oracle.precision_score(target, answers, average="macro", zero_division=0),
        "log_loss": oracle.log_loss(target, probabilities),
        "brier": np.mean(((probabilities - one_hot) ** 2).sum(axis=1)),
    }
    assert metrics(task_of("multi-class", 4), target, probabilities) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_multi_label_metrics_equal_scikit_learn_on_the_known_labels(unknown, decimals):
    target, probabilities = draw_labels(np.random.default_rng(7), 80, 5, unknown, decimals)
    known = ~np.isnan(target)
    answers = probabilities > 0.5
    complete = known.all(axis=1)

    def mean(score, values):
        return np.mean([score(target[known[:, k], k], values[known[:, k], k]) for k in range(5)])

    expected = {
        "auc": mean(oracle.roc_auc_score, probabilities),
        "macro_f1": mean(oracle.f1_score, answers),
        "sensitivity": mean(oracle.recall_score, answers),
        "specificity": mean(lambda y, p: oracle.recall_score(1 - y, ~p), answers),
        "precision": mean(oracle.precision_score, answers),
        "exact_match": oracle.accuracy_score(target[complete], answers[complete]),
        "label_accuracy": mean(oracle.accuracy_score, answers),
        "log_loss": mean(oracle.log_loss, probabilities),
        "brier": mean(oracle.brier_score_loss, probabilities),
    }
    assert metrics(task_of("multi-label", 5), target, probabilities) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize(("kind", "classes"), [("binary", 2), ("multi-class", 3), ("multi-label", 4)])
def test_a_case_of_weight_two_counts_as_two_cases(kind, classes):
    rng = np.random.default_rng(3)
    draw = draw_labels if kind == "multi-label" else draw_classes
    target, probabilities = draw(rng, 50, classes, decimals=1)
    weights = rng.integers(3, size=50)
    index = np.repeat(np.arange(50), weights)
    weighted = weighted_metrics(task_of(kind, classes), target, probabilities, weights[:, None].astype(float))
    repeated = metrics(task_of(kind, classes), target[index], probabilities[index])
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated, **CLOSE)


def test_one_class_leaves_what_needs_two_undefined():
    sure = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    negatives = metrics(task_of("binary", 2), np.zeros(3, int), sure)
    assert negatives["accuracy"] == negatives["specificity"] == pytest.approx(2 / 3)
    for name in ("auc", "balanced_accuracy", "macro_f1", "sensitivity", "precision"):
        assert negatives[name] is None
    positives = metrics(task_of("binary", 2), np.ones(3, int), sure)
    assert positives["sensitivity"] == pytest.approx(1 / 3)
    assert positives["specificity"] is None
    same = metrics(task_of("multi-class", 3), np.zeros(4, int), np.full((4, 3), 1 / 3))
    assert same["accuracy"] == 1.0
    assert same["auc"] is same["balanced_accuracy"] is same["macro_f1"] is same["precision"] is None


def test_equal_scores_tell_nothing():
    result = metrics(task_of("binary", 2), np.array([0, 1, 1]), np.full((3, 2), 0.5))
    assert result["auc"] == 0.5
    assert result["precision"] is None  # nothing was called positive


def test_a_class_absent_from_the_test_set_takes_no_part_in_means():
    rng = np.random.default_rng(0)
    target, probabilities = draw_classes(rng, 50, 4)
    kept = target != 2
    found = metrics(task_of("multi-class", 4), target[kept], probabilities[kept])
    answers = probabilities[kept].argmax(axis=1)
    assert found["macro_f1"] == pytest.approx(
        oracle.f1_score(target[kept], answers, average="macro", labels=[0, 1, 3]), **CLOSE
    )
    areas = [oracle.roc_auc_score(target[kept] == k, probabilities[kept, k]) for k in (0, 1, 3)]
    assert found["auc"] == pytest.approx(np.mean(areas), **CLOSE)


def test_a_class_never_answered_has_precision_zero_in_the_mean():
    target = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.tile([0.5, 0.3, 0.2], (6, 1))
    probabilities[2:, :] = [0.1, 0.8, 0.1]
    found = metrics(task_of("multi-class", 3), target, probabilities)
    assert found["precision"] == pytest.approx((1 + 0.5 + 0) / 3, **CLOSE)


def test_labels_known_on_one_side_only_are_left_out_of_the_mean_auc():
    target = np.array([[1, 1, np.nan], [0, 1, np.nan], [1, 1, np.nan], [0, np.nan, np.nan]])
    probabilities = np.array([[0.9, 0.9, 0.1], [0.1, 0.2, 0.2], [0.3, 0.7, 0.3], [0.4, 0.5, 0.4]])
    found = metrics(task_of("multi-label", 3), target, probabilities)
    assert found["auc"] == pytest.approx(0.75)  # the first label alone: 3 of 4 pairs in order
    assert found["exact_match"] is None  # no image has every label known
    assert found["label_accuracy"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    table = class_table(task_of("multi-label", 3), target, probabilities)
    assert [row["cases"] for row in table] == [4, 3, 0]
    assert [row["positives"] for row in table] == [2, 3, 0]
    assert [row["auc"] for row in table] == [0.75, None, None]
    assert table[2]["accuracy"] is table[2]["sensitivity"] is None


def test_the_table_of_classes_agrees_with_the_metrics():
    target, probabilities = draw_classes(np.random.default_rng(1), 70, 3)
    task = task_of("multi-class", 3)
    table, found = class_table(task, target, probabilities), metrics(task, target, probabilities)
    for column, name in (("auc", "auc"), ("f1", "macro_f1"), ("sensitivity", "sensitivity")):
        assert np.mean([row[column] for row in table]) == pytest.approx(found[name], **CLOSE)


def test_a_certain_and_wrong_answer_costs_a_finite_loss():
    found = metrics(task_of("binary", 2), np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found["log_loss"] == pytest.approx(oracle.log_loss([0, 1], [[0.0, 1.0], [0.0, 1.0]]), **CLOSE)


@pytest.mark.parametrize(
    ("target", "probabilities", "said"),
    [
        (np.array([0, 2]), np.full((2, 2), 0.5), "class indices 0 to 1"),
        (np.array([0, 1]), np.full((2, 3), 0.5), "2 outputs"),
        (np.array([0, 1]), np.array([[0.5, np.nan], [0.5, 0.5]]), "diverge"),
        (np.zeros(0, int), np.zeros((0, 2)), "at least one case"),
    ],
)
def test_predictions_that_do_not_fit_the_task_are_refused(target, probabilities, said):
    with pytest.raises(ValueError, match=said):
        metrics(task_of("binary", 2), target, probabilities)


def test_masks_are_refused():
    with pytest.raises(ValueError, match="segmentation"):
        metrics(task_of("segmentation", 2), np.array([0, 1]), np.full((2, 2), 0.5))
