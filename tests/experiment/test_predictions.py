import math
from pathlib import Path

import numpy as np
import pytest

from archimed.errors import RunError
from archimed.evaluation.masks import ClassScores
from archimed.experiment.mask_predictions import SplitMasks
from archimed.experiment.predictions import SplitPredictions, read_predictions, write_predictions
from archimed.task import ImagingTask

GRADES = ImagingTask("multi-class", ("grade 0", "a,b", 'quote "q"'), 1, (8, 8))
CELLS = ImagingTask("segmentation", ("background", "a,b", "nucleus"), 1, (8, 8))
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


def scores(name: str, *values: float | None) -> ClassScores:
    return ClassScores(name, *values, true_size=12, answered_size=0)  # type: ignore[arg-type]


def test_scores_of_masks_come_back_bit_by_bit(tmp_path: Path) -> None:
    case = (scores("a,b", 1 / 3, 0.2, 1e-9, 1.0), scores("nucleus", None, None, None, None))
    splits = [SplitMasks("validation", ("c1",), (case,)), SplitMasks("test", ("c,2", "ü"), (case, case))]
    path = tmp_path / "predictions.csv"
    write_predictions(path, CELLS, splits)
    lines = path.read_text().splitlines()
    assert lines[0] == "case,split,class,dice,jaccard,hausdorff_95,surface_dice,true_size,answered_size"
    assert lines[2] == "c1,validation,nucleus,,,,,12,0"
    assert read_predictions(path, CELLS) == {"validation": splits[0], "test": splits[1]}


@pytest.mark.parametrize("line", ["c1,test,other,,,,,1,1", "c1,test,nucleus,x,,,,1,1", "c1,test,nucleus,,,,,1"])
def test_damaged_scores_of_masks_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(f"case,split,class,dice,jaccard,hausdorff_95,surface_dice,true_size,answered_size\n{line}\n")
    with pytest.raises(RunError, match=r"damaged: .*predictions\.csv"):
        read_predictions(path, CELLS)
