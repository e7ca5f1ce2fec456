from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archimed.errors import RunError
from archimed.experiment.predictions import SplitPredictions, write_predictions
from archimed.report.reading import lines, read_predictions, read_run
from archimed.task import ImagingTask


@pytest.mark.parametrize("names", [("1", "2", "3"), ("0", "1", "2"), ("a, b", "label", 'c"d')])
def test_class_predictions_come_back_as_written(tmp_path: Path, names: tuple[str, ...]) -> None:
    task = ImagingTask("multi-class", names, 1, (8, 8))
    target = np.array([2, 0, 1, 1])
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 4).astype(np.float32)
    splits = [SplitPredictions(split, tuple("wxyz"), target, probabilities) for split in ("validation", "test")]
    write_predictions(tmp_path / "predictions.csv", task, splits)
    found = read_predictions(tmp_path / "predictions.csv", "test")
    assert found is not None
    assert found.cases == tuple("wxyz")
    np.testing.assert_array_equal(found.target, target)
    np.testing.assert_allclose(found.probabilities, probabilities, rtol=1e-6)


def test_unknown_labels_come_back_as_nan(tmp_path: Path) -> None:
    task = ImagingTask("multi-label", ("x", "y"), 1, (8, 8))
    target = np.array([[1.0, np.nan], [0.0, 1.0]])
    split = SplitPredictions("test", ("a", "b"), target, np.full((2, 2), 0.25, dtype=np.float32))
    write_predictions(tmp_path / "predictions.csv", task, [split])
    found = read_predictions(tmp_path / "predictions.csv", "test")
    assert found is not None
    np.testing.assert_array_equal(found.target, target)


def test_damaged_predictions_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("case,split,label,probability_a\nc1,test,a,many\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"predictions\.csv"):
        read_predictions(path, "test")


def test_a_log_that_is_still_written_is_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    text = '{"epoch": 1}\n{"epoch": 2}\n{"epo'
    path.write_text(text, encoding="utf-8")
    assert list(lines(path)) == [{"epoch": 1}, {"epoch": 2}]
    assert path.read_text(encoding="utf-8") == text


def test_repeats_are_in_the_order_of_folds_and_seeds(tmp_path: Path, write_run: Any, wanted: Any) -> None:
    run = read_run(write_run(tmp_path, wanted(seeds=(10, 2, 9), networks=("mstf-nas",))))
    assert [network.seed for network in run.repeats("mstf-nas")] == [2, 9, 10]
    assert list(run.networks) == ["mstf-nas"]
