"""Official figures by scikit-learn as MedMNIST's evaluator calls it; the file as pandas writes and reads it."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from archimed.evaluation.medmnist import medmnist_metrics, result_file_name, write_medmnist_result
from tests.evaluation.predictions import draw_classes, draw_labels, task_of


def test_binary_figures_take_the_last_column_at_one_half():
    target, probabilities = draw_classes(np.random.default_rng(0), 80, 2, decimals=1)
    found = medmnist_metrics(task_of("binary", 2), target, probabilities)
    expected = {
        "AUC": roc_auc_score(target, probabilities[:, -1]),
        "ACC": accuracy_score(target, probabilities[:, -1] > 0.5),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_multi_class_figures_are_one_against_the_rest_and_the_likeliest_class():
    target, probabilities = draw_classes(np.random.default_rng(1), 120, 5, decimals=1)
    found = medmnist_metrics(task_of("multi-class", 5), target, probabilities)
    expected = {
        "AUC": np.mean([roc_auc_score(target == k, probabilities[:, k]) for k in range(5)]),
        "ACC": accuracy_score(target, np.argmax(probabilities, axis=-1)),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_multi_label_figures_are_means_over_labels():
    target, probabilities = draw_labels(np.random.default_rng(2), 90, 6, unknown=0, decimals=1)
    found = medmnist_metrics(task_of("multi-label", 6), target, probabilities)
    expected = {
        "AUC": np.mean([roc_auc_score(target[:, k], probabilities[:, k]) for k in range(6)]),
        "ACC": np.mean([accuracy_score(target[:, k], probabilities[:, k] > 0.5) for k in range(6)]),
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_the_evaluator_cannot_answer_is_none():
    target, probabilities = draw_classes(np.random.default_rng(1), 60, 3)
    kept = target != 1
    found = medmnist_metrics(task_of("multi-class", 3), target[kept], probabilities[kept])
    assert found["AUC"] is None
    assert found["ACC"] is not None
    labels = draw_labels(np.random.default_rng(2), 30, 2, unknown=0.5)
    assert medmnist_metrics(task_of("multi-label", 2), *labels) == {"AUC": None, "ACC": None}


@pytest.mark.parametrize(
    ("flag", "split", "run", "figures", "name"),
    [
        ("octmnist", "test", "3", {"AUC": 0.6722, "ACC": 0.8919}, "octmnist_test_[AUC]0.672_[ACC]0.892@3.csv"),
        (
            "breastmnist_64",
            "validation",
            "a",
            {"AUC": 1.0, "ACC": 0.5},
            "breastmnist_64_val_[AUC]1.000_[ACC]0.500@a.csv",
        ),
        (
            "breastmnist",
            "train",
            "x.fold0@1",
            {"AUC": None, "ACC": 0},
            "breastmnist_train_[AUC]nan_[ACC]0.000@x-fold0-1.csv",
        ),
    ],
)
def test_names_follow_the_standard(flag, split, run, figures, name):
    assert result_file_name(flag, split, run, figures) == name
    read_back = name.split("@")[-1].split(".")[0]  # how the evaluator finds the run
    assert read_back == name[name.index("@") + 1 : -len(".csv")]


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_the_file_is_what_pandas_writes(tmp_path, precision):
    pandas = pytest.importorskip("pandas")
    scores = np.random.default_rng(0).random((40, 3)).astype(precision)
    scores[0] = [0, 1, 1e-7]
    scores[1] = [1e-12, 0.5, 0.1]
    path = write_medmnist_result(
        tmp_path / "new", "octmnist", "test", "1", probabilities=scores, figures={"AUC": 0.5, "ACC": 0.5}
    )
    assert path.name == "octmnist_test_[AUC]0.500_[ACC]0.500@1.csv"
    assert path.read_text() == pandas.DataFrame(scores).to_csv(header=None)
    back = pandas.read_csv(path, index_col=0, header=None).sort_index().values
    assert back.astype(precision) == pytest.approx(scores, rel=1e-15)
    assert list(path.parent.iterdir()) == [path]
