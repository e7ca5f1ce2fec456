"""The loss of masks against MONAI's, the paper's form for two classes, and a loop over pixels."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from archimed.training.losses import training_loss
from archimed.training.mask_loss import mask_loss

SHAPES = [(3, 2, 6, 5), (2, 4, 7, 3), (2, 3, 3, 4, 5)]


def drawn(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(len(shape))
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    return logits, torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)


def one_hot(target: Tensor, classes: int) -> Tensor:
    return functional.one_hot(target, classes).movedim(-1, 1).double()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("empty", [False, True])
def test_it_is_monais_with_half_the_cross_entropy(shape: tuple[int, ...], empty: bool) -> None:
    from monai.losses import DiceCELoss

    theirs = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, lambda_ce=0.5, smooth_nr=1e-5, smooth_dr=1e-5
    )
    logits, target = drawn(shape)
    if empty:
        target[0] = 0
    assert float(mask_loss(logits, target)) == pytest.approx(float(theirs(logits, target[:, None])), rel=1e-9)


def test_of_two_classes_it_is_the_papers_on_the_difference_of_the_logits() -> None:
    logits, target = drawn(SHAPES[0])
    foreground, truth = (logits[:, 1] - logits[:, 0]), target.double()
    answer = foreground.sigmoid()
    dice = [
        (2 * float((a * t).sum()) + 1e-5) / (float(a.sum()) + float(t.sum()) + 1e-5)
        for a, t in zip(answer, truth, strict=True)
    ]
    papers = 0.5 * float(functional.binary_cross_entropy_with_logits(foreground, truth)) + 1 - sum(dice) / len(dice)
    assert float(mask_loss(logits, target)) == pytest.approx(papers, rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_shares_of_ones_and_zeros_are_class_indices(shape: tuple[int, ...], weighted: bool) -> None:
    logits, target = drawn(shape)
    weights = torch.arange(1.0, 1 + shape[1], dtype=torch.float64) if weighted else None
    soft = mask_loss(logits, one_hot(target, shape[1]), weights)
    assert float(soft) == pytest.approx(float(mask_loss(logits, target, weights)), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_mixed_masks_pixel_by_pixel(weighted: bool) -> None:
    logits, first = drawn((2, 3, 3, 2))
    shares = 0.3 * one_hot(first, 3) + 0.7 * one_hot(first.flip(0), 3)
    weights = [1.0, 2.0, 5.0] if weighted else [1.0, 1.0, 1.0]
    probabilities = logits.softmax(1)
    entropy, mass, dices = 0.0, 0.0, []
    for image in range(2):
        for label in range(3):
            common = answered = true = 0.0
            for row in range(3):
                for column in range(2):
                    place = (image, label, row, column)
                    share, probability = float(shares[place]), float(probabilities[place])
                    entropy -= weights[label] * share * math.log(probability)
                    mass += weights[label] * share
                    common, answered, true = common + share * probability, answered + probability, true + share
            if label > 0:
                dices.append((2 * common + 1e-5) / (answered + true + 1e-5))
    expected = 0.5 * entropy / mass + 1 - sum(dices) / len(dices)
    given = torch.tensor(weights, dtype=torch.float64) if weighted else None
    assert float(mask_loss(logits, shares, given)) == pytest.approx(expected, rel=1e-9)


def test_a_perfect_answer_costs_nothing_and_gradients_are_numbers() -> None:
    target = drawn(SHAPES[1])[1]
    sure = (200 * one_hot(target, 4)).requires_grad_()
    loss = mask_loss(sure, target)
    loss.backward()
    assert float(loss.detach()) < 1e-6
    assert sure.grad is not None
    assert bool(sure.grad.isfinite().all())


def test_the_form_of_the_target_decides() -> None:
    logits, target = drawn(SHAPES[0])
    assert torch.equal(training_loss(logits, target), mask_loss(logits, target))
    whole = logits.mean((2, 3))
    assert torch.equal(training_loss(whole, target[:, 0, 0]), functional.cross_entropy(whole, target[:, 0, 0]))
