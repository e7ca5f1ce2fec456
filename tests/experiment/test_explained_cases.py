"""Which cases and classes are explained, and which slices of a volume are shown: by hand."""

from pathlib import Path

import numpy as np
import pytest

from archimed.errors import SettingsError
from archimed.experiment.case_drawing import View
from archimed.experiment.explained_cases import asked_cases, explained_outputs, picked_cases
from archimed.experiment.heat_pictures import heated, slice_shares, slices_that_matter
from archimed.experiment.predictions import SplitPredictions
from archimed.task import ImagingTask

TWO = ImagingTask("binary", ("well", "ill"), 1, (8, 8))
LABELS = ImagingTask("multi-label", ("mass", "fluid"), 1, (8, 8))


def test_the_median_of_right_and_wrong_answers_of_each_class() -> None:
    ill = np.array([0.1, 0.2, 0.4, 0.9, 0.6, 0.7, 0.8, 0.3])
    target = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    cases = tuple("abcdefgh")
    answers = SplitPredictions("test", cases, target, np.stack([1 - ill, ill], axis=1).astype(np.float32))
    found = [(one.case, one.why) for one in picked_cases(TWO, answers)]
    # right answers about the well are sure by 0.9, 0.8 and 0.6; about the ill by 0.6, 0.7 and 0.8
    assert found == [
        ("b", "well, answered right"),
        ("d", "well, answered wrong"),
        ("f", "ill, answered right"),
        ("h", "ill, answered wrong"),
    ]


def test_labels_have_cases_found_and_missed_and_unknown_ones_are_left_out() -> None:
    target = np.array([[1, 0], [1, 1], [0, 1], [np.nan, 0]])
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.9, 0.6]], np.float32)
    answers = SplitPredictions("test", ("a", "b", "c", "d"), target, probabilities)
    found = [(one.case, one.why, one.outputs) for one in picked_cases(LABELS, answers)]
    assert found == [
        ("a", "mass, answered right", (0,)),
        ("b", "mass, answered wrong", (0,)),
        ("d", "fluid, answered wrong", (1,)),  # its right one, the median, is b, which is there already
    ]


def test_the_answered_class_and_the_true_one_are_explained() -> None:
    assert explained_outputs(TWO, np.array([0.3, 0.7]), np.array(1), ()) == [1]
    assert explained_outputs(TWO, np.array([0.3, 0.7]), np.array(0), ()) == [1, 0]
    assert explained_outputs(LABELS, np.array([0.2, 0.6]), np.array([1.0, 0.0]), (0,)) == [0, 1]
    assert explained_outputs(LABELS, np.array([0.2, 0.1]), np.array([0.0, np.nan]), ()) == [0]


def test_cases_are_asked_for_by_ids_or_by_a_file(tmp_path: Path) -> None:
    assert asked_cases("a, b,a") == ["a", "b"]
    (tmp_path / "ids.txt").write_text("a\n\n b \n")
    (tmp_path / "table.csv").write_text("split,case\ntest,c\ntest,d\n")
    assert asked_cases(str(tmp_path / "ids.txt")) == ["a", "b"]
    assert asked_cases(str(tmp_path / "table.csv")) == ["c", "d"]
    (tmp_path / "empty.txt").touch()
    with pytest.raises(SettingsError, match="names none"):
        asked_cases(str(tmp_path / "empty.txt"))


def test_slices_that_matter_are_the_largest_that_lie_apart() -> None:
    heat = np.zeros((8, 2, 2))
    heat[:, 0, 0] = [0, 1, 4, 3, -9, 2, 1, 0]
    shares = slice_shares(heat)
    assert shares.tolist() == pytest.approx([value / 11 for value in (0, 1, 4, 3, 0, 2, 1, 0)])
    assert slices_that_matter(shares, 8) == [2, 3, 5]
    assert slices_that_matter(shares, 4) == [2, 5]  # one cell is two slices; 5 is two from 3, 7 has nothing
    assert slices_that_matter(slice_shares(-np.ones((8, 2, 2))), 4) == [4]


def test_heat_is_brightest_where_it_is_highest_and_leaves_the_rest() -> None:
    picture = np.full((4, 4, 3), 100, np.uint8)
    heat = np.full((4, 4), -1.0)
    heat[0, 0], heat[3, 3] = 2.0, 1.0
    drawn = heated(picture, heat, View(None, (4, 4)), 2.0).astype(int)
    assert (drawn[1, 2] == 100).all()
    assert drawn[0, 0].sum() > drawn[3, 3].sum()
    assert (heated(picture, -heat.clip(min=0), View(None, (4, 4)), 0.0) == picture).all()
