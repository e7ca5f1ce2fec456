"""Intervals: against loops of the plain metrics, by their coverage in simulations, and where they are undefined."""

import numpy as np
import pytest

from archimed.evaluation.bootstrap import (
    RepeatPredictions,
    bootstrap_metrics,
    draw_patients,
    draw_seeds,
    mean_over_data_sets,
)
from archimed.evaluation.intervals import metric_intervals
from archimed.evaluation.metrics import metrics
from archimed.seeding import numpy_generator
from tests.evaluation.predictions import draw_classes, draw_labels, repeat, task_of


@pytest.mark.parametrize(("kind", "classes"), [("binary", 2), ("multi-class", 4), ("multi-label", 3)])
def test_resamples_equal_a_loop_over_copied_cases(kind, classes):
    rng = np.random.default_rng(0)
    draw = draw_labels if kind == "multi-label" else draw_classes
    target, probabilities = draw(rng, 60, classes, decimals=1)
    patients = rng.integers(25, size=60)
    task = task_of(kind, classes)
    found = bootstrap_metrics(task, [repeat(target, probabilities, patients=patients)], 5, "net", 20)
    generator = numpy_generator(5, "bootstrap patients", 0)
    names = np.unique(patients.astype(str))
    for resample in range(20):
        drawn = names[generator.integers(len(names), size=len(names))]
        index = np.concatenate([np.flatnonzero(patients.astype(str) == name) for name in drawn])
        expected = metrics(task, target[index], probabilities[index])
        for name, value in expected.items():
            got = found.draws[name][resample]
            assert np.isnan(got) if value is None else got == pytest.approx(value, abs=1e-9), name


def test_cases_of_one_patient_are_drawn_together():
    patients = ["a", "b", "a", "c", "b"]
    weights = draw_patients(patients, 500, np.random.default_rng(0))
    assert (weights[0] == weights[2]).all()
    assert (weights[1] == weights[4]).all()
    assert (weights[0] + weights[1] + weights[3] == 3).all()
    assert weights[3].mean() == pytest.approx(1, abs=0.15)


def test_copied_images_of_a_patient_are_no_evidence():
    target, probabilities = draw_classes(np.random.default_rng(2), 80, 2)
    task = task_of("binary", 2)
    single = metric_intervals(task, [repeat(target, probabilities)], 0)
    five = np.repeat(np.arange(80), 5)
    copied = metric_intervals(task, [repeat(target[five], probabilities[five], patients=five)], 0)
    for name in ("accuracy", "auc"):
        widths = [row[name]["high"] - row[name]["low"] for row in (single, copied)]
        assert widths[1] == pytest.approx(widths[0], rel=0.15)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_drawing_seeds_gives_the_variance_of_their_mean(seeds):
    values = np.random.default_rng(1).normal(size=seeds)
    means = values @ draw_seeds(seeds, 200_000, np.random.default_rng(0))
    assert means.mean() == pytest.approx(values.mean(), abs=0.01)
    assert means.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.02)


def test_the_value_is_the_mean_over_folds_and_seeds():
    rng = np.random.default_rng(4)
    task = task_of("binary", 2)
    repeats, single = [], []
    for fold in range(3):
        target = rng.permutation(np.repeat([0, 1], 15))
        for seed in range(2):
            scores = rng.random((30, 1))
            repeats.append(repeat(target, np.hstack([1 - scores, scores]), fold, seed))
            single.append(metrics(task, target, repeats[-1].probabilities))
    found = metric_intervals(task, repeats, 0)
    for name in ("auc", "accuracy", "brier"):
        assert found[name]["value"] == pytest.approx(np.mean([s[name] for s in single]), abs=1e-12)
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert metric_intervals(task, repeats[::-1], 0) == found


def test_seeds_that_disagree_widen_the_interval():
    rng = np.random.default_rng(0)
    target = np.repeat([0, 1], 200)
    good = np.where(target == 1, 0.9, 0.1)
    bad = np.where(rng.random(400) < 0.7, good, 1 - good)
    columns = [np.stack([1 - s, s], axis=1) for s in (good, bad, good)]
    found = metric_intervals(task_of("binary", 2), [repeat(target, c, 0, s) for s, c in enumerate(columns)], 0)
    alone = metric_intervals(task_of("binary", 2), [repeat(target, columns[1])], 0)
    width = found["accuracy"]["high"] - found["accuracy"]["low"]
    assert width > 2 * (alone["accuracy"]["high"] - alone["accuracy"]["low"])


def test_undefined_resamples_are_left_out_and_counted():
    target = np.array([1, 0, 0, 0, 0, 0])
    probabilities = np.linspace(0.1, 0.9, 6)
    found = metric_intervals(task_of("binary", 2), [repeat(target, np.stack([probabilities, 1 - probabilities], 1))], 0)
    assert 0.25 < found["auc"]["undefined"] / 1000 < 0.45  # (5/6)^6 = 0.335
    assert found["auc"]["low"] is not None
    assert "undefined" not in found["accuracy"]


def test_one_class_has_neither_value_nor_interval():
    found = metric_intervals(task_of("binary", 2), [repeat(np.zeros(4, int), np.full((4, 2), 0.5))], 0)
    assert found["auc"] == {"value": None, "low": None, "high": None, "undefined": 1000}
    assert found["accuracy"]["value"] == 1.0


def test_a_fold_of_one_class_does_not_spoil_the_others():
    rng = np.random.default_rng(0)
    folds = [repeat(*draw_classes(rng, 30, 2), fold=0), repeat(np.zeros(10, int), np.full((10, 2), 0.5), fold=1)]
    both = metric_intervals(task_of("binary", 2), folds, 0)
    assert both["auc"] == metric_intervals(task_of("binary", 2), folds[:1], 0)["auc"]


def test_the_same_seed_gives_the_same_interval():
    target, probabilities = draw_classes(np.random.default_rng(0), 40, 3)
    task, one = task_of("multi-class", 3), [repeat(target, probabilities)]
    assert metric_intervals(task, one, 1) == metric_intervals(task, one, 1)
    assert metric_intervals(task, one, 1) != metric_intervals(task, one, 2)


def test_resampling_in_pieces_changes_nothing(monkeypatch):
    target, probabilities = draw_classes(np.random.default_rng(0), 40, 2)
    task, one = task_of("binary", 2), [repeat(target, probabilities)]
    whole = metric_intervals(task, one, 0)
    monkeypatch.setattr("archimed.evaluation.bootstrap.CELLS_AT_ONCE", 40 * 77)
    assert metric_intervals(task, one, 0) == whole


def test_repeats_of_a_fold_must_hold_the_same_cases():
    target, probabilities = draw_classes(np.random.default_rng(0), 40, 2)
    with pytest.raises(ValueError, match="same cases"):
        metric_intervals(
            task_of("binary", 2), [repeat(target, probabilities), repeat(target[:30], probabilities[:30], seed=1)], 0
        )
    with pytest.raises(ValueError, match="at least one"):
        metric_intervals(task_of("binary", 2), [], 0)


def coverage(simulations, resamples, cases, seeds=1):
    """How often the interval of accuracy and of AUC holds the truth, for scores N(0, 1) and N(1, 1).

    With several seeds, each training has its own noise on top, and the truth is the mean over all trainings.
    """
    rng = np.random.default_rng(0)
    noise = 0.0 if seeds == 1 else 0.3
    from scipy.stats import norm

    reach = np.sqrt(1 + noise**2)  # a training shifts the positive mean by `noise` times a normal draw
    truth = {"auc": norm.cdf(1 / np.sqrt(2 + noise**2)), "accuracy": (norm.cdf(0.5) + norm.cdf(0.5 / reach)) / 2}
    inside = dict.fromkeys(truth, 0)
    for simulation in range(simulations):
        target = rng.permutation(np.arange(cases) % 2)
        base = rng.normal(size=cases) + target
        repeats = []
        for seed in range(seeds):
            score = norm.cdf(base - 0.5 + target * noise * rng.normal())
            repeats.append(repeat(target, np.stack([1 - score, score], axis=1), seed=seed))
        found = metric_intervals(task_of("binary", 2), repeats, simulation, resamples)
        for name, value in truth.items():
            inside[name] += found[name]["low"] <= value <= found[name]["high"]
    return {name: hits / simulations for name, hits in inside.items()}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    for share in coverage(200, 200, 200).values():
        assert 0.90 <= share <= 0.98


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    for share in coverage(2000, 500, 400).values():
        assert 0.93 <= share <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least"), [(3, 0.86), (8, 0.92)])
def test_intervals_over_several_seeds_hold_the_mean_over_all_trainings(seeds, least):
    for share in coverage(500, 300, 300, seeds).values():
        assert least <= share <= 0.98


def test_means_over_data_sets_draw_patients_apart_and_seeds_together() -> None:
    rng = np.random.default_rng(0)
    task = task_of("binary", 2)
    sets = {}
    for name in ("a", "b"):
        repeats = []
        for seed in range(3):
            target = np.arange(40) % 2
            chance = np.where(rng.random(40) < 0.5 + 0.2 * seed, target, 1 - target) * 0.8 + 0.1
            cases = tuple(f"{name}{k}" for k in range(40))
            repeats.append(RepeatPredictions(0, seed, cases, cases, target, np.stack([1 - chance, chance], 1)))
        sets[name] = repeats
    found = [bootstrap_metrics(task, repeats, 7, "net", 400, name) for name, repeats in sets.items()]
    mean = mean_over_data_sets(found)
    for metric, value in mean.values.items():
        assert value == pytest.approx(np.mean([one.values[metric] for one in found]))
        np.testing.assert_allclose(mean.draws[metric], (found[0].draws[metric] + found[1].draws[metric]) / 2)
    equal = [bootstrap_metrics(task, sets["a"], 7, "net", 400, name) for name in ("a", "b")]
    assert (equal[0].draws["accuracy"] != equal[1].draws["accuracy"]).any()
    both = np.corrcoef(equal[0].draws["accuracy"], equal[1].draws["accuracy"])[0, 1]
    one_seed = [bootstrap_metrics(task, sets["a"][:1], 7, "net", 400, name) for name in ("a", "b")]
    apart = np.corrcoef(one_seed[0].draws["accuracy"], one_seed[1].draws["accuracy"])[0, 1]
    assert both > 0.2 > abs(apart)
