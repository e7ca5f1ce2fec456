"""Dice and Jaccard against MONAI, torch counting by hand and closed forms."""

import pytest
import torch

from archimed.evaluation.overlap import dice, jaccard, overlap_counts


def masks(shape, classes, seed):
    rng = torch.Generator().manual_seed(seed)
    return (torch.randint(classes, shape, generator=rng, dtype=torch.uint8) for _ in range(2))


@pytest.mark.parametrize(("shape", "classes"), [((7, 9), 2), ((5, 4, 6), 4), ((60, 61), 16), ((60, 61), 17)])
def test_counts_are_those_of_counting(shape, classes):
    answer, truth = masks(shape, classes, seed=classes)
    for k, (both, answered, true) in enumerate(overlap_counts(answer, truth, classes).tolist()):
        assert both == ((answer == k) & (truth == k)).sum()
        assert answered == (answer == k).sum()
        assert true == (truth == k).sum()


@pytest.mark.parametrize("shape", [(12, 10), (6, 5, 7)])
def test_dice_and_jaccard_are_monais(shape):
    from monai.metrics import compute_dice, compute_iou

    answer, truth = masks(shape, 3, seed=1)
    one_hot = [torch.stack([mask == k for k in range(3)])[None].float() for mask in (answer, truth)]
    counts = overlap_counts(answer, truth, 3)
    torch.testing.assert_close(dice(counts).float(), compute_dice(*one_hot, include_background=True)[0])
    torch.testing.assert_close(jaccard(counts).float(), compute_iou(*one_hot, include_background=True)[0])


def test_two_shifted_squares():
    answer, truth = torch.zeros(20, 20, dtype=torch.uint8), torch.zeros(20, 20, dtype=torch.uint8)
    answer[2:12, 2:12] = 1
    truth[2:12, 6:16] = 1
    counts = overlap_counts(answer, truth, 2)
    assert counts[1].tolist() == [60, 100, 100]
    assert dice(counts)[1] == pytest.approx(0.6)
    assert jaccard(counts)[1] == pytest.approx(60 / 140)


def test_a_class_in_neither_mask_is_undefined_and_in_one_is_zero():
    answer, truth = torch.zeros(4, 4, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.uint8)
    answer[0] = 1
    counts = overlap_counts(answer, truth, 3)
    assert dice(counts)[1] == jaccard(counts)[1] == 0
    assert dice(counts)[2].isnan()
    assert jaccard(counts)[2].isnan()


def test_many_classes_and_wide_numbers():
    answer = torch.arange(200, dtype=torch.uint8).view(10, 20)
    counts = overlap_counts(answer, answer.long(), 200)
    assert (counts == 1).all()
    assert overlap_counts(answer.flip(0), answer, 200).sum(0).tolist() == [0, 200, 200]


def test_masks_that_do_not_fit_are_refused():
    answer = torch.zeros(4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"sizes \(4, 4\) and \(4, 5\)"):
        overlap_counts(answer, torch.zeros(4, 5, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match="0 to 1; got 0 to 7"):
        overlap_counts(answer, answer + 7, 2)
