"""Labels that nobody knows count nowhere: not as absent, not as present, and not in a mean."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn import metrics as oracle

from archimed.batch import target_loss
from archimed.evaluation.bootstrap import bootstrap_metrics
from archimed.evaluation.calibration import calibration, stated_probabilities
from archimed.evaluation.cautions import cautions, label_wise_accuracy, unknown_labels
from archimed.evaluation.curves import class_curves, roc_curve
from archimed.evaluation.intervals import metric_intervals
from archimed.evaluation.metrics import class_table, metrics
from archimed.evaluation.operating_point import operating_point
from archimed.evaluation.significance import compare_with
from archimed.experiment.predictions import SplitPredictions, read_predictions, write_predictions
from archimed.training.losses import positive_weights
from tests.evaluation.predictions import draw_labels, repeat, task_of
from tests.evaluation.test_cautions import CALM

NAN = float("nan")
LABELS = task_of("multi-label", 3)


def drawn(seed=0, cases=80, nothing_of=None):
    target, probabilities = draw_labels(np.random.default_rng(seed), cases, 3, unknown=0.3)
    if nothing_of is not None:
        target[:, nothing_of] = np.nan
    return target, probabilities


def guesses_changed(target, probabilities):
    """The same predictions, but anything at all where the label is unknown."""
    other = np.random.default_rng(9).random(probabilities.shape)
    return np.where(np.isnan(target), other, probabilities)


def test_no_figure_depends_on_what_was_said_about_unknown_labels():
    target, probabilities = drawn()
    changed = guesses_changed(target, probabilities)
    assert metrics(LABELS, target, changed) == metrics(LABELS, target, probabilities)
    assert class_table(LABELS, target, changed) == class_table(LABELS, target, probabilities)
    one, other = [repeat(target, probabilities)], [repeat(target, changed)]
    assert calibration(LABELS, one) == calibration(LABELS, other)
    assert metric_intervals(LABELS, one, 0, 100) == metric_intervals(LABELS, other, 0, 100)
    assert operating_point(LABELS, one, one, 0.9, 0) is None
    weights = positive_weights(torch.tensor(target), 20).double()
    losses = [target_loss(torch.tensor(p).logit(), torch.tensor(target), weights) for p in (probabilities, changed)]
    assert losses[0] == losses[1]


def test_every_figure_of_a_label_is_that_of_its_known_cases():
    target, probabilities = drawn(1)
    table = class_table(LABELS, target, probabilities)
    curves = class_curves(LABELS, target, probabilities, roc_curve)
    for k, row in enumerate(table):
        known = ~np.isnan(target[:, k])
        truth, scores = target[known, k], probabilities[known, k]
        assert (row["cases"], row["positives"]) == (known.sum(), truth.sum())
        assert row["auc"] == pytest.approx(oracle.roc_auc_score(truth, scores))
        assert row["f1"] == pytest.approx(oracle.f1_score(truth, scores > 0.5))
        assert row["accuracy"] == pytest.approx(oracle.accuracy_score(truth, scores > 0.5))
        curve = curves[f"class {k}"]
        assert oracle.auc(curve.x, curve.y) == pytest.approx(row["auc"])
    came_true, stated = stated_probabilities(LABELS, target, probabilities)
    assert len(came_true) == len(stated) == (~np.isnan(target)).sum()


def test_a_label_of_which_nothing_is_known_is_undefined_and_in_no_mean():
    target, probabilities = drawn(2, nothing_of=1)
    row = class_table(LABELS, target, probabilities)[1]
    assert (row["cases"], row["positives"]) == (0, 0)
    assert all(row[name] is None for name in ("auc", "f1", "sensitivity", "specificity", "precision", "accuracy"))
    rest, two = [0, 2], task_of("multi-label", 2)
    found, expected = metrics(LABELS, target, probabilities), metrics(two, target[:, rest], probabilities[:, rest])
    assert found.pop("exact_match") is None
    expected.pop("exact_match")
    assert found == pytest.approx(expected)
    assert class_curves(LABELS, target, probabilities, roc_curve)["class 1"] is None
    rows = metric_intervals(LABELS, [repeat(target, probabilities)], 0, 100)
    assert rows["exact_match"] == {"value": None, "low": None, "high": None, "undefined": 100}
    assert rows["auc"]["low"] < rows["auc"]["value"] < rows["auc"]["high"]


def test_nothing_known_at_all_leaves_everything_undefined():
    target, probabilities = np.full((5, 3), np.nan), np.full((5, 3), 0.7)
    assert set(metrics(LABELS, target, probabilities).values()) == {None}
    found = calibration(LABELS, [repeat(target, probabilities)])
    assert (found["expected_calibration_error"], found["brier"], found["bins"]) == (None, None, [])
    rows = metric_intervals(LABELS, [repeat(target, probabilities)], 0, 100)
    assert {row["value"] for row in rows.values()} == {None}
    networks = {name: bootstrap_metrics(LABELS, [repeat(target, probabilities)], 0, name) for name in "ab"}
    assert compare_with("a", networks, ["auc"])[0]["value"] is None
    logits = torch.zeros(5, 3, requires_grad=True)
    loss = target_loss(logits, torch.full((5, 3), NAN))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_the_exact_match_counts_cases_of_which_every_label_is_known():
    target = np.array([[1, 0, 1], [1, 0, NAN], [0, 0, 0], [NAN, NAN, NAN]])
    probabilities = np.array([[0.9, 0.1, 0.9], [0.1, 0.9, 0.9], [0.9, 0.1, 0.1], [0.5, 0.5, 0.5]])
    assert metrics(LABELS, target, probabilities)["exact_match"] == 0.5


def test_class_weights_count_known_labels_only():
    target = torch.tensor([[1, 0, NAN], [0, NAN, NAN], [0, 0, NAN], [NAN, 1, NAN]])
    assert positive_weights(target, 20).tolist() == [2.0, 2.0, 1.0]


def test_the_loss_and_its_gradient_are_those_of_the_known_labels():
    rng = np.random.default_rng(0)
    target, _ = drawn(3, cases=12)
    logits = torch.tensor(rng.normal(size=target.shape), requires_grad=True)
    loss = target_loss(logits, torch.tensor(target), torch.tensor([1.0, 2.0, 3.0]))
    loss.backward()
    known = ~np.isnan(target)
    weights = np.broadcast_to([1.0, 2.0, 3.0], target.shape)
    chance = 1 / (1 + np.exp(-logits.detach().numpy()))
    each = -np.where(target == 1, weights * np.log(chance), np.log(1 - chance))
    assert float(loss.detach()) == pytest.approx(each[known].mean())
    assert not logits.grad.numpy()[~known].any()
    assert (logits.grad.numpy()[known] != 0).all()


def test_predictions_csv_keeps_unknown_labels_unknown(tmp_path):
    target, probabilities = drawn(4, cases=9, nothing_of=2)
    cases = tuple(f"case {k}" for k in range(9))
    write_predictions(
        tmp_path / "p.csv", LABELS, [SplitPredictions("test", cases, target, probabilities.astype(np.float32))]
    )
    found = read_predictions(tmp_path / "p.csv", LABELS)["test"]
    np.testing.assert_array_equal(found.target, target)
    np.testing.assert_array_equal(found.probabilities, probabilities.astype(np.float32))


def test_cautions_say_what_is_measured_on_how_many():
    assert unknown_labels({}, 0, 50) == []
    found = unknown_labels({"mass": 50, "edema": 12, "hernia": 0}, 0, 50)
    assert found == [
        "Nothing is known of hernia in the test cases: no figure is about it.",
        "Not every label is known: each is measured on the test cases of which it is, edema on the fewest, 12 of 50.",
        "The exact match is undefined: of no test case is every label known.",
    ]
    assert "only the 7 of 50 test cases" in unknown_labels({"mass": 7}, 7, 50)[-1]
    undefined = {"exact_match": {"value": None, "low": None, "high": None}}
    task = task_of("multi-label", 2)
    findings = dataclasses.replace(
        CALM, task=task, test=undefined, counts={}, cases={"test": 50}, known={"mass": 9}, complete=0
    )
    said = " ".join(cautions(findings))
    assert "of no test case is every label known" in said
    assert "want of cases" not in said


def test_the_commonest_answer_is_counted_among_known_labels():
    counts, cases = {"test": {"mass": 5, "edema": 5}}, {"test": 100}
    assert label_wise_accuracy(LABELS, counts, cases, {}) != []
    assert label_wise_accuracy(LABELS, counts, cases, {"mass": 10, "edema": 10}) == []
