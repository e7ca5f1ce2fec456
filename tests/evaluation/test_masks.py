"""Scores of masks against MONAI, brute force and closed forms; the rule for empty masks."""

import numpy as np
import pytest
import torch

from archimed.evaluation.bootstrap import bootstrap_metrics
from archimed.evaluation.masks import (
    MASK_METRICS,
    ClassScores,
    RepeatMasks,
    case_scores,
    left_out,
    mask_metrics,
    score_table,
    weighted_mask_metrics,
)
from archimed.evaluation.surfaces import outline
from archimed.task import ImagingTask


def task(classes=2, dims=2):
    return ImagingTask("segmentation", ("background", *(f"organ {k}" for k in range(1, classes))), 1, (16,) * dims)


def blobs(shape, classes, seed):
    """Two masks of smooth regions, one moved and ragged."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(rng.normal(size=shape), 2.0) for _ in range(classes)])
    other = fields + 0.3 * fields.std() * np.stack([gaussian_filter(rng.normal(size=shape), 0.7) for _ in fields])
    return (torch.from_numpy(each.argmax(0).astype(np.uint8)) for each in (other, fields))


def by_brute_force(answer, truth, spacing, tolerance):
    """Outlines from each pixel's neighbours; all distances between them."""

    def points(region):
        found = []
        for place in np.argwhere(region):
            around = [place + step for axis in np.eye(region.ndim, dtype=int) for step in (axis, -axis)]
            outside = [any(p < 0) or any(p >= region.shape) or not region[tuple(p)] for p in around]
            if any(outside):
                found.append(place * np.asarray(spacing))
        return np.array(found)

    ours, theirs = points(answer), points(truth)
    apart = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(-1))
    to_truth, to_answer = apart.min(1), apart.min(0)
    near = (to_truth <= tolerance).sum() + (to_answer <= tolerance).sum()
    return (
        max(np.percentile(to_truth, 95), np.percentile(to_answer, 95)),
        near / (len(to_truth) + len(to_answer)),
    )


@pytest.mark.parametrize(
    ("shape", "spacing", "tolerance"),
    [((16, 17), (1.0, 1.0), 1.0), ((16, 17), (0.4, 1.3), 0.9), ((7, 12, 10), (3.0, 0.8, 0.7), 1.5)],
)
def test_surfaces_are_those_of_brute_force(shape, spacing, tolerance):
    answer, truth = blobs(shape, 3, seed=len(shape))
    for k, one in enumerate(case_scores(task(3, len(shape)), answer, truth, spacing, tolerance_mm=tolerance), start=1):
        distance, share = by_brute_force((answer == k).numpy(), (truth == k).numpy(), spacing, tolerance)
        assert one.hausdorff_95 == pytest.approx(distance, abs=1e-9)
        assert one.surface_dice == pytest.approx(share)
        assert {type(one.hausdorff_95), type(one.surface_dice), type(one.dice)} == {float}  # repr gives digits alone


@pytest.mark.parametrize(
    ("shape", "spacing"), [((40, 36), (1.0, 1.0)), ((40, 36), (0.5, 2.0)), ((14, 24, 20), (3.0, 0.8, 0.8))]
)
def test_scores_are_monais(shape, spacing):
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice

    answer, truth = blobs(shape, 4, seed=7)
    found = case_scores(task(4, len(shape)), answer, truth, spacing, tolerance_mm=1.2)
    one_hot = [torch.stack([mask == k for k in range(4)])[None].float() for mask in (answer, truth)]
    expected = {
        "dice": compute_dice(*one_hot, include_background=False)[0],
        "hausdorff_95": compute_hausdorff_distance(*one_hot, percentile=95, spacing=spacing)[0],
        "surface_dice": compute_surface_dice(*one_hot, class_thresholds=[1.2] * 3, spacing=spacing)[0],
    }
    for metric, values in expected.items():
        assert [getattr(one, metric) for one in found] == pytest.approx(values.tolist(), rel=1e-5)


def test_two_shifted_squares():
    answer, truth = torch.zeros(20, 20, dtype=torch.uint8), torch.zeros(20, 20, dtype=torch.uint8)
    answer[2:12, 2:12] = 1
    truth[2:12, 6:16] = 1
    (pixels,) = case_scores(task(), answer, truth, None, tolerance_mm=3.9)
    (wide,) = case_scores(task(), answer, truth, (1.0, 0.5), tolerance_mm=2.0)
    assert (pixels.dice, pixels.true_size, pixels.answered_size) == (pytest.approx(0.6), 100, 100)
    assert pixels.hausdorff_95 == 4
    assert wide.hausdorff_95 == 2
    assert wide.surface_dice == 1
    # Of 36 outline pixels, ten of the far side and two in the middle of the near side are four pixels away.
    assert pixels.surface_dice == pytest.approx(24 / 36)


def test_equal_masks_are_perfect_up_to_the_border():
    mask = torch.ones(6, 6, dtype=torch.uint8)
    (one,) = case_scores(task(), mask, mask, (0.3, 0.3))
    assert (one.dice, one.jaccard, one.hausdorff_95, one.surface_dice) == (1, 1, 0, 1)
    assert outline(mask.numpy().astype(bool)).sum() == 20


def test_the_rule_for_empty_masks():
    empty, full = torch.zeros(8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)
    full[2:5, 2:5] = 1
    (neither,), (missed,), (invented,) = (
        case_scores(task(), *pair, None) for pair in ((empty, empty), (empty, full), (full, empty))
    )
    assert [getattr(neither, metric) for metric in MASK_METRICS] == [None] * 4
    for one in (missed, invented):
        assert (one.dice, one.jaccard, one.surface_dice, one.hausdorff_95) == (0, 0, 0, None)
    (found,) = case_scores(task(), full, full, None)
    every = [[neither], [missed], [invented], [found]]
    counted = left_out(task(), every)["organ 1"]
    assert (counted.cases, counted.absent, counted.missed, counted.invented) == (4, 1, 1, 1)
    assert mask_metrics(task(), every) == {
        "dice": pytest.approx(1 / 3),
        "jaccard": pytest.approx(1 / 3),
        "hausdorff_95": 0,
        "surface_dice": pytest.approx(1 / 3),
    }
    assert mask_metrics(task(), [[neither]]) == dict.fromkeys(MASK_METRICS)


def scored(*values):
    return [ClassScores(f"organ {k}", v, v, v, v, 1, 1) for k, v in enumerate(values, start=1)]


def test_classes_weigh_alike_however_many_cases_they_have():
    cases = [scored(0.2, None), scored(0.4, None), scored(0.6, 1.0)]
    assert mask_metrics(task(3), cases)["dice"] == pytest.approx((0.4 + 1.0) / 2)


def test_a_class_never_present_takes_no_part():
    assert mask_metrics(task(3), [scored(0.2, None), scored(0.6, None)])["dice"] == pytest.approx(0.4)


def test_resamples_are_those_of_repeated_cases():
    cases = [scored(0.2, 0.9), scored(0.4, None), scored(0.7, 0.1)]
    weights = np.array([[2.0, 0, 1], [1, 3, 0], [0, 0, 2]])
    drawn = weighted_mask_metrics(score_table(cases), weights)["dice"]
    for column in (0, 2):
        repeated = [case for case, times in zip(cases, weights[:, column], strict=True) for _ in range(int(times))]
        assert drawn[column] == pytest.approx(mask_metrics(task(3), repeated)["dice"])
    assert np.isnan(drawn[1])  # it lost the second class


def test_the_bootstrap_of_masks_is_that_of_their_scores():
    rng = np.random.default_rng(3)
    values = rng.random((2, 12, 2))
    patients = tuple(f"patient {k // 2}" for k in range(12))
    ids = tuple(f"case {k}" for k in range(12))
    repeats = [
        RepeatMasks(0, seed, ids, patients, tuple(tuple(scored(*case)) for case in values[seed])) for seed in (0, 1)
    ]
    found = bootstrap_metrics(task(3), repeats, seed=1, network="unet", resamples=4000)
    assert found.values["dice"] == pytest.approx(values.mean())
    # Means of six patients, drawn with replacement, about the mean over seeds, of which one is drawn.
    means = values.mean(2).reshape(2, 6, 2).mean(2)
    drawn = rng.integers(6, size=(100_000, 6))
    expected = means[rng.integers(2, size=100_000)[:, None], drawn].mean(1)
    assert found.draws["dice"].std() == pytest.approx(expected.std(), rel=0.05)
    first = bootstrap_metrics(task(3), [one.of_class("organ 1") for one in repeats], seed=1, network="unet")
    assert first.values["dice"] == pytest.approx(values[..., 0].mean())


def test_overlap_alone_leaves_distances_out():
    answer, truth = blobs((16, 16), 2, seed=0)
    (one,) = case_scores(task(), answer, truth, None, surfaces=False)
    assert one.dice is not None
    assert one.hausdorff_95 is None
    assert one.surface_dice is None
