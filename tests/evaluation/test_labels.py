import numpy as np
import pytest
from sklearn import metrics as oracle

from archimed.evaluation.labels import label_intervals, normal_label
from archimed.evaluation.metrics import metrics
from archimed.evaluation.thresholds import label_thresholds, threshold_of_best_balance, undecided_labels
from archimed.task import ImagingTask
from tests.evaluation.predictions import draw_labels, repeat

TASK = ImagingTask("multi-label", ("mass", "No Finding", "edema"), 1, (8, 8), normal_label="No Finding")
THRESHOLDS = (0.3, 0.6, 0.45)
NAN = float("nan")


def drawn(seed: int, unknown: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    return draw_labels(np.random.default_rng(seed), 90, 3, unknown=unknown)


def test_every_metric_agrees_with_scikit_learn_at_thresholds_of_their_own() -> None:
    target, probabilities = drawn(0, unknown=0.0)
    answers = probabilities > np.array(THRESHOLDS)
    found = metrics(TASK, target, probabilities, THRESHOLDS)
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(target, answers, average="macro"))
    assert found["exact_match"] == pytest.approx(oracle.accuracy_score(target, answers))
    assert found["label_accuracy"] == pytest.approx(1 - oracle.hamming_loss(target, answers))
    assert found["auc"] == pytest.approx(oracle.roc_auc_score(target, probabilities, average="macro"))
    truth, given = target[:, 1], answers[:, 1]
    assert found["normal_f1"] == pytest.approx(oracle.f1_score(truth, given))
    assert found["normal_sensitivity"] == pytest.approx(oracle.recall_score(truth, given))
    assert found["normal_precision"] == pytest.approx(oracle.precision_score(truth, given))
    assert found["normal_weighted_tpr_fpr"] == pytest.approx(oracle.balanced_accuracy_score(truth, given))
    rate = ((1 - truth) * given).sum() / (1 - truth).sum()
    assert found["normal_weighted_tpr_fpr"] == pytest.approx((found["normal_sensitivity"] + 1 - rate) / 2)


def test_rows_of_labels_are_those_of_scikit_learn_on_known_cases() -> None:
    target, probabilities = drawn(1)
    rows = label_intervals(TASK, [repeat(target, probabilities, threshold=THRESHOLDS)], 0, "net", 100)
    assert [row["label"] for row in rows] == list(TASK.class_names)
    for k, row in enumerate(rows):
        known = ~np.isnan(target[:, k])
        truth, scores = target[known, k], probabilities[known, k]
        given = scores > THRESHOLDS[k]
        assert (row["cases"], row["positives"]) == (known.sum(), truth.sum())
        cells = row["metrics"]
        assert cells["auc"]["value"] == pytest.approx(oracle.roc_auc_score(truth, scores))
        assert cells["f1"]["value"] == pytest.approx(oracle.f1_score(truth, given))
        assert cells["weighted_tpr_fpr"]["value"] == pytest.approx(oracle.balanced_accuracy_score(truth, given))
        assert cells["accuracy"]["value"] == pytest.approx(oracle.accuracy_score(truth, given))
        assert all(cell["low"] <= cell["value"] <= cell["high"] for cell in cells.values())


def test_a_label_without_positives_is_undefined_and_in_no_mean() -> None:
    target, probabilities = drawn(2, unknown=0.0)
    target[:, 2] = 0
    row = label_intervals(TASK, [repeat(target, probabilities)], 0, "net", 100)[2]
    assert (row["positives"], row["metrics"]["auc"]["value"], row["metrics"]["f1"]["value"]) == (0, None, None)
    found, answers = metrics(TASK, target, probabilities), probabilities > 0.5
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(target[:, :2], answers[:, :2], average="macro"))
    assert found["auc"] == pytest.approx(oracle.roc_auc_score(target[:, :2], probabilities[:, :2], average="macro"))


@pytest.mark.parametrize("rule", ["best-f1", "best-balance"])
def test_no_other_threshold_is_better_on_validation(rule: str) -> None:
    target, probabilities = drawn(3)
    for k, threshold in enumerate(label_thresholds(target, probabilities, rule)):  # type: ignore[arg-type]
        known = ~np.isnan(target[:, k])
        truth, scores = target[known, k], probabilities[known, k]
        score = oracle.f1_score if rule == "best-f1" else oracle.balanced_accuracy_score
        best = max(score(truth, scores > other) for other in [-1.0, *scores])
        assert score(truth, scores > threshold) == pytest.approx(best)


def test_thresholds_that_validation_cannot_choose_are_a_half() -> None:
    target = np.array([[0, 1, NAN], [0, 1, NAN], [0, NAN, NAN]])
    probabilities = np.array([[0.1, 0.9, 0.2], [0.2, 0.8, 0.1], [0.3, 0.7, 0.4]])
    assert label_thresholds(target, probabilities, "best-f1") == (0.5, 0.5, 0.5)
    assert label_thresholds(target, probabilities, "best-balance") == (0.5, 0.5, 0.5)
    assert undecided_labels(target).all()
    assert label_thresholds(*drawn(4), "half") == (0.5, 0.5, 0.5)
    target, probabilities = drawn(4)
    target[np.flatnonzero(target[:, 2] == 1)[4:], 2] = 0  # four are left
    assert [value == 0.5 for value in label_thresholds(target, probabilities, "best-f1", 5)] == [False, False, True]
    assert label_thresholds(target, probabilities, "best-f1", 4)[2] != 0.5
    assert not undecided_labels(drawn(4)[0]).any()


def test_the_best_balance_by_hand() -> None:
    positive, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    assert threshold_of_best_balance(positive, scores) == pytest.approx(0.4)  # finds both, one false alarm: 0.75
    assert threshold_of_best_balance(~positive & False, scores) is None


@pytest.mark.parametrize(
    ("names", "setting", "expected"),
    [
        (("Mass", "Normal"), "auto", "Normal"),
        (("Mass", "NO_FINDING"), "auto", "NO_FINDING"),
        (("Mass", "Edema"), "auto", None),
        (("Mass", "Normal"), "none", None),
        (("Mass", "Normal"), "Mass", "Mass"),
        (("normal", "No finding"), "auto", None),  # which of the two is not for us to say
    ],
)
def test_the_normal_label_is_found_by_its_name(names: tuple[str, ...], setting: str, expected: str | None) -> None:
    assert normal_label(names, setting) == expected


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'healthy' is none of Mass, Edema"):
        normal_label(("Mass", "Edema"), "healthy")
