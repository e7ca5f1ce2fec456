import math
from pathlib import Path

import numpy as np
import pytest

from archimed.errors import RunError
from archimed.experiment.predictions import SplitPredictions, read_predictions, write_predictions
from archimed.task import ImagingTask

GRADES = ImagingTask("multi-class", ("grade 0", "a,b", 'quote "q"'), 1, (8, 8))
FINDINGS = ImagingTask("multi-label", ("mass", "oedema"), 1, (8, 8))


def softmax(rows: int, columns: int) -> np.ndarray:
    values = np.random.default_rng(0).random((rows, columns)).astype(np.float32)
    return values / values.sum(1, keepdims=True)


def test_classes_come_back_bit_by_bit(tmp_path: Path) -> None:
    splits = [
        SplitPredictions("validation", ("c1", "c,2"), np.array([0, 2]), softmax(2, 3)),
        SplitPredictions("test", ("c3", "ü"), np.array([1, 1]), np.array([[1, 0, 0], [1e-38, 0.5, 1 / 3]], np.float32)),
    ]
    write_predictions(tmp_path / "predictions.csv", GRADES, splits)
    found = read_predictions(tmp_path / "predictions.csv", GRADES)
    assert list(found) == ["validation", "test"]
    for split in splits:
        again = found[split.split]
        assert again.cases == split.cases
        assert again.target.tolist() == split.target.tolist()
        assert again.probabilities.dtype == np.float32
        assert (again.probabilities == split.probabilities).all()


def test_labels_come_back_and_unknown_ones_are_empty(tmp_path: Path) -> None:
    target = np.array([[1.0, math.nan], [0.0, 1.0]], dtype=np.float32)
    split = SplitPredictions("test", ("c1", "c2"), target, softmax(2, 2))
    path = tmp_path / "predictions.csv"
    write_predictions(path, FINDINGS, [split])
    assert path.read_text().splitlines()[0] == "case,split,label_mass,label_oedema,probability_mass,probability_oedema"
    assert path.read_text().splitlines()[1].startswith("c1,test,1,,")
    found = read_predictions(path, FINDINGS)["test"]
    np.testing.assert_array_equal(found.target, target)
    assert (found.probabilities == split.probabilities).all()


def test_missing_predictions_say_how_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="archimed evaluate"):
        read_predictions(tmp_path / "predictions.csv", GRADES)


@pytest.mark.parametrize(
    "text",
    [
        "case,split,label\nc1,test,a\n",
        'case,split,label,probability_grade 0,"probability_a,b","probability_quote ""q"""\nc1,test,grade 9,0,0,1\n',
        'case,split,label,probability_grade 0,"probability_a,b","probability_quote ""q"""\nc1,test,grade 0,x,0,1\n',
    ],
)
def test_damaged_predictions_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(RunError, match=r"damaged: .*predictions\.csv"):
        read_predictions(tmp_path / "predictions.csv", GRADES)
