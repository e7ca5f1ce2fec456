"""The estimators are scikit-learn's: cloned, set, fitted on arrays, asked; and they answer as their run does."""

import csv
import pickle
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.utils import estimator_checks

import archimed
from archimed.errors import DataError
from archimed.evaluation.temperature import tempered
from tests.experiment.tiny import COMMON, TINY

RNG = np.random.default_rng(0)
UNET = COMMON | {
    "space.name": "unet",
    "space.width": 2,
    "training.batch_size": 4,
    "training.epochs": 4,
    "search.candidates": 1,
    "search.batch_size": 2,
}


@pytest.fixture(autouse=True, scope="module")
def no_report() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
        yield


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [case, channel, height, width], their classes by name, and patients of two images each."""
    target = np.arange(80) // 2 % 2
    images = RNG.normal(0, 30, (80, 2, 14, 12))
    images[:, :, 3:9, 3:9] += 60 * target[:, None, None, None]
    return images, np.array(["calm", "ill"])[target], np.arange(80) // 2


@pytest.fixture(scope="module")
def fitted(arrays: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    images, names, patients = arrays
    folder = tmp_path_factory.mktemp("estimator")
    return archimed.ArchimedClassifier(settings=dict(TINY), folder=folder).fit(images, names, patients)


def test_a_classifier_answers_as_its_run(fitted: Any, arrays: Any) -> None:
    images, names, _ = arrays
    given = fitted.predict_proba(images)
    assert given.shape == (80, 2)
    assert given.sum(1) == pytest.approx(1.0)
    answers = fitted.predict(images)
    assert fitted.score(images, names) == accuracy_score(names, answers)
    assert set(answers) <= {"calm", "ill"}
    with (fitted.run_ / "networks" / "mstf-nas" / "fold0.seed0" / "predictions.csv").open() as file:
        own = {int(row["case"].removeprefix("train-")): float(row["probability_1"]) for row in csv.DictReader(file)}
    raw = np.array([*own.values()])
    temperature = fitted.ensemble_.temperature or 1.0
    expected = tempered("binary", np.stack([1 - raw, raw], 1), temperature)[:, 1]
    assert given[[*own], 1] == pytest.approx(expected, abs=1e-5)


def test_patients_are_kept_together(fitted: Any) -> None:
    from archimed.files import read_json

    fold = read_json(fitted.run_ / "splits.json")["folds"][0]
    patients = [{int(case.removeprefix("train-")) // 2 for case in fold[split]} for split in ("train", "test")]
    assert not patients[0] & patients[1]


def test_it_can_be_pickled(fitted: Any, arrays: Any) -> None:
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    assert np.array_equal(again.predict_proba(arrays[0][:4]), fitted.predict_proba(arrays[0][:4]))


@pytest.mark.parametrize("kind", ["ArchimedClassifier", "ArchimedSegmenter"])
def test_the_checks_of_scikit_learn_that_need_no_table(kind: str) -> None:
    estimator = getattr(archimed, kind)(settings={"training.epochs": 3}, seed=4)
    for check in (
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_valid_tag_types,
    ):
        check(kind, estimator)
    copy = clone(estimator).set_params(preset="quick")
    assert copy.get_params() == {**estimator.get_params(), "preset": "quick"}
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((2, 12, 12)))


def test_a_segmenter_answers_on_the_grid_of_the_arrays() -> None:
    images, masks = RNG.integers(0, 60, (24, 20, 16), dtype=np.uint8), np.full((24, 20, 16), 3)
    masks[:, 5:13, 4:11] = 7
    images[masks == 7] += 150
    estimator = archimed.ArchimedSegmenter("random-search", settings=UNET).fit(images, masks)
    answers = estimator.predict(images)
    assert answers.shape == masks.shape
    assert set(np.unique(answers)) <= {3, 7}
    shared = ((answers == 7) & (masks == 7)).sum((1, 2))
    dice = 2 * shared / ((answers == 7).sum((1, 2)) + (masks == 7).sum((1, 2)))
    score, folder = estimator.score(images, masks), estimator.run_
    assert score == pytest.approx(dice.mean())
    assert folder.exists()
    removal = next(one for one in weakref.finalize._registry if (one.peek() or [None])[0] is estimator)
    assert removal.atexit  # frames of what was imported meanwhile may hold the estimator until then
    removal()
    assert not folder.exists()


def test_what_cannot_be_fitted_is_said(fitted: Any, arrays: Any) -> None:
    images, names, _ = arrays
    for asked, told in (
        ((images, names[:3]), "equally long"),
        ((images[:, 0, 0], names), "spatial_dims"),
        ((images, np.zeros(80)), "two classes"),
        ((np.full_like(images, np.nan), names), "finite"),
    ):
        with pytest.raises(DataError, match=told):
            archimed.ArchimedClassifier(settings=dict(TINY)).fit(*asked)
    with pytest.raises(DataError, match="channels"):
        fitted.predict(images[:, :1])


def test_nothing_heavy_comes_with_the_package() -> None:
    told = "import archimed, sys; print([name for name in ('sklearn', 'torch', 'numpy') if name in sys.modules])"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=root)
    assert said.stdout.strip() == "[]"
