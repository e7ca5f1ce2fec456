"""Patients that several folds test: drawn once for all of them, and divisions drawn like seeds."""

import numpy as np
import pytest

from archimed.evaluation.bootstrap import bootstrap_metrics, division_of_folds, draw_seeds
from archimed.evaluation.intervals import metric_intervals
from archimed.evaluation.lesion_size import by_lesion_size
from archimed.evaluation.metrics import metrics
from archimed.evaluation.significance import paired_difference
from archimed.seeding import numpy_generator
from tests.evaluation.predictions import draw_classes, repeat, softmax, task_of

TASK = task_of("binary", 2)


def cross_validation(rng, patients, folds, repeats, spread=0.0):
    """Predictions of a repeated cross-validation; `spread` is what differs between trainings."""
    target = rng.integers(2, size=patients)
    signal = rng.normal(size=patients) + 1.5 * (target - 0.5)
    found = []
    for number in range(repeats):
        part_of = rng.permutation(patients) % folds
        for part in range(folds):
            rows = np.flatnonzero(part_of == part)
            logits = signal[rows] + spread * rng.normal(size=len(rows))
            probabilities = softmax(np.stack([np.zeros(len(rows)), logits], 1))
            owners = [f"patient {row:03d}" for row in rows]
            found.append(repeat(target[rows], probabilities, fold=number * folds + part, patients=owners))
    return found


def width(repeats, metric="auc"):
    row = metric_intervals(TASK, repeats, 0, 400)[metric]
    return row["high"] - row["low"]


def test_divisions_are_told_by_patients_that_come_again():
    assert division_of_folds({0: ["a", "b"], 1: ["c"], 2: ["d"]}) == {0: 0, 1: 0, 2: 0}
    assert division_of_folds({0: ["a", "b"], 1: ["c"], 2: ["c", "a"], 3: ["b"]}) == {0: 0, 1: 0, 2: 1, 3: 1}
    assert division_of_folds({0: ["a"], 1: ["a"], 2: ["a"]}) == {0: 0, 1: 1, 2: 2}


def test_the_same_answers_again_are_no_evidence():
    target, probabilities = draw_classes(np.random.default_rng(2), 80, 2)
    owners = [f"p{k}" for k in range(80)]
    once = width([repeat(target, probabilities, patients=owners)])
    again = width([repeat(target, probabilities, fold=fold, patients=owners) for fold in range(5)])
    assert again == pytest.approx(once, rel=0.15)


def test_repeating_a_cross_validation_does_not_narrow_the_interval_as_new_patients_would():
    rng = np.random.default_rng(0)
    repeats = cross_validation(rng, 150, 3, 6, spread=0.3)
    once, often = width(repeats[:3], "accuracy"), width(repeats, "accuracy")
    assert 0.75 * once < often < 1.2 * once


def test_draws_equal_a_loop_over_copied_cases():
    repeats = cross_validation(np.random.default_rng(1), 30, 2, 3, spread=1.0)
    found = bootstrap_metrics(TASK, repeats, 7, "net", 15).draws["accuracy"]
    everyone = sorted({patient for one in repeats for patient in one.patients})
    generator = numpy_generator(7, "bootstrap patients")
    shares = draw_seeds(3, 15, numpy_generator(7, "bootstrap divisions"))
    for resample in range(15):
        drawn = [everyone[k] for k in generator.integers(30, size=30)]
        values, weights = [], []
        for number, one in enumerate(repeats):
            index = [one.patients.index(patient) for patient in drawn if patient in one.patients]
            values.append(metrics(TASK, one.target[index], one.probabilities[index])["accuracy"])
            weights.append(shares[number // 2, resample])
        assert found[resample] == pytest.approx(np.average(values, weights=weights), abs=1e-12)


def test_in_a_single_cross_validation_patients_are_drawn_within_their_folds():
    repeats = cross_validation(np.random.default_rng(1), 40, 2, 1)
    found = bootstrap_metrics(TASK, repeats, 7, "net", 10).draws["accuracy"]
    expected = np.mean([bootstrap_metrics(TASK, [one], 7, "net", 10).draws["accuracy"] for one in repeats], axis=0)
    assert found == pytest.approx(expected, abs=1e-12)


def test_two_networks_meet_the_same_patients_and_divisions():
    repeats = cross_validation(np.random.default_rng(3), 60, 3, 2, spread=0.5)
    one, other = (bootstrap_metrics(TASK, repeats, 0, name, 200) for name in ("mine", "theirs"))
    found = paired_difference(one, other, "auc")
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_in_pieces_nothing_changes(monkeypatch):
    repeats = cross_validation(np.random.default_rng(4), 40, 2, 2)
    whole = bootstrap_metrics(TASK, repeats, 0, "net", 50)
    monkeypatch.setattr("archimed.evaluation.bootstrap.CELLS_AT_ONCE", 40 * 7)
    pieces = bootstrap_metrics(TASK, repeats, 0, "net", 50)
    for name in whole.draws:
        np.testing.assert_allclose(whole.draws[name], pieces.draws[name], atol=1e-12)


def coverage(simulations, folds=2, repeats=3, patients=120):
    """How often the interval holds the accuracy that answers of this skill have on endless patients."""
    rng = np.random.default_rng(5)
    truth = np.mean(
        [
            metrics(TASK, one.target, one.probabilities)["accuracy"]
            for one in cross_validation(rng, 200_000, 1, 2, spread=0.5)
        ]
    )
    held = 0
    for _ in range(simulations):
        row = metric_intervals(TASK, cross_validation(rng, patients, folds, repeats, spread=0.5), 0, 200)["accuracy"]
        held += row["low"] <= truth <= row["high"]
    return held / simulations


def test_intervals_over_repeated_folds_hold_the_truth_about_as_often_as_they_say():
    assert coverage(150) > 0.89


def test_a_lesion_tested_in_several_folds_is_counted_once():
    repeats = cross_validation(np.random.default_rng(6), 40, 2, 3)
    areas = {case: 0.05 for one in repeats[:2] for case in one.cases}
    renamed = [r for r in repeats[:2] for _ in range(3)]
    again = [type(r)(**{**vars(r), "fold": number}) for number, r in enumerate(renamed)]
    once, often = (by_lesion_size(TASK, r, areas, (0.001, 0.01), 0, resamples=100) for r in (repeats[:2], again))
    assert [b.lesions for b in often.bins] == [b.lesions for b in once.bins] == [0, 0, 40]
