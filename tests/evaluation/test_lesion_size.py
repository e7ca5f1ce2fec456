"""Results by lesion size: who is in which bin, and figures equal to those of the bin's cases alone."""

import numpy as np
import pytest

from archimed.evaluation.lesion_size import by_lesion_size
from archimed.evaluation.metrics import metrics
from tests.evaluation.predictions import draw_classes, repeat, task_of

BINARY = task_of("binary", 2)
BOUNDS = (0.001, 0.01)


def measured(repeats, areas, task=BINARY):
    return by_lesion_size(task, repeats, areas, BOUNDS, 0, resamples=100)


def test_the_papers_partition_where_every_finding_has_an_area():
    target, probabilities = draw_classes(np.random.default_rng(0), 90, 2)
    one = repeat(target, probabilities)
    area = np.tile([0.0001, 0.001, 0.01, 0.0100001, 0.005, 0.2], 15)
    found = measured([one], dict(zip(one.cases, area, strict=True)))
    assert [b.size for b in found.bins] == ["small", "medium", "large"]
    assert [b.lesions for b in found.bins] == [15, 45, 30]  # both bounds are medium
    for row, inside in zip(found.bins, (area < 0.001, (area >= 0.001) & (area <= 0.01), area > 0.01), strict=True):
        assert row.metrics["auc"]["value"] == metrics(BINARY, target[inside], probabilities[inside])["auc"]
        assert row.positives + row.negatives == row.lesions
        assert not row.too_few


def test_images_without_a_lesion_are_the_negatives_of_every_bin():
    target, probabilities = draw_classes(np.random.default_rng(1), 100, 2)
    area = np.where(target == 1, np.where(np.arange(100) % 3 == 0, 0.0005, 0.05), 0.0)
    one = repeat(target, probabilities)
    areas = {case: (value or None) for case, value in zip(one.cases, area, strict=True)}
    found = measured([one], areas)
    small, medium, large = found.bins
    assert small.negatives == large.negatives == (target == 0).sum()
    inside = (target == 0) | (area == 0.0005)
    assert small.metrics["auc"]["value"] == metrics(BINARY, target[inside], probabilities[inside])["auc"]
    assert (medium.lesions, medium.too_few, medium.metrics) == (0, True, {})
    assert found.unknown_size == 0


def test_positive_cases_of_unknown_size_are_counted_and_left_out():
    target, probabilities = draw_classes(np.random.default_rng(1), 60, 2)
    one = repeat(target, probabilities)
    first = int(np.flatnonzero(target == 1)[0])
    areas = {case: 0.05 if t else None for case, t in zip(one.cases, target, strict=True)}
    areas[one.cases[first]] = float("nan")
    found = measured([one], areas)
    assert found.unknown_size == 1
    assert found.bins[2].positives == (target == 1).sum() - 1


def test_too_few_is_said_of_either_class():
    target = np.array([1] * 4 + [0] * 30)
    probabilities = np.stack([np.linspace(0, 1, 34), np.linspace(1, 0, 34)], axis=1)
    one = repeat(target, probabilities)
    areas = dict.fromkeys(one.cases[:4], 0.5)
    assert measured([one], areas).bins[2].too_few
    mirrored = repeat(1 - target, probabilities)
    assert measured([mirrored], dict.fromkeys(mirrored.cases, 0.5)).bins[2].too_few


def test_several_seeds_count_each_case_once():
    rng = np.random.default_rng(0)
    target, _ = draw_classes(rng, 50, 2)
    repeats = [repeat(target, draw_classes(rng, 50, 2)[1], seed=seed) for seed in range(3)]
    found = measured(repeats, dict.fromkeys(repeats[0].cases, 0.02))
    assert found.bins[2].lesions == 50
    assert found.bins[2].metrics["accuracy"]["value"] == pytest.approx(
        np.mean([metrics(BINARY, target, r.probabilities)["accuracy"] for r in repeats])
    )


def test_without_any_area_there_is_nothing_to_break_down():
    one = repeat(*draw_classes(np.random.default_rng(0), 20, 2))
    assert measured([one], {}) is None
    assert measured([one], dict.fromkeys(one.cases)) is None


def test_multi_class_bins_take_the_means_over_classes():
    target, probabilities = draw_classes(np.random.default_rng(0), 60, 3)
    one = repeat(target, probabilities)
    areas = {case: 0.0 if t == 0 else 0.005 for case, t in zip(one.cases, target, strict=True)}
    found = measured([one], areas, task_of("multi-class", 3))
    assert found.bins[1].lesions == (target != 0).sum()
    assert found.bins[1].metrics["auc"]["value"] == metrics(task_of("multi-class", 3), target, probabilities)["auc"]
