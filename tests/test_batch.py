import math

import pytest
import torch

from archimed.batch import Batch, target_loss


def test_a_batch_counts_its_images() -> None:
    assert len(Batch(torch.zeros(3, 1, 4, 4), torch.zeros(3, dtype=torch.int64))) == 3


def test_class_indices_give_the_cross_entropy() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])
    target = torch.tensor([0, 1])
    by_hand = [
        math.log(sum(math.exp(value) for value in row)) - row[index]
        for row, index in zip(logits.tolist(), target.tolist(), strict=True)
    ]
    assert float(target_loss(logits, target)) == pytest.approx(sum(by_hand) / 2)


def test_class_weights_average_by_weight() -> None:
    logits, target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))
    loss = target_loss(logits, target, torch.tensor([1.0, 3.0]))
    assert float(loss) == pytest.approx((right + 3 * wrong) / 4)


def test_pixels_are_averaged_like_images() -> None:
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    flat = logits.movedim(1, -1).reshape(-1, 3)
    assert float(target_loss(logits, target)) == pytest.approx(float(target_loss(flat, target.reshape(-1))))


def test_unknown_labels_do_not_count() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.0, 5.0]], requires_grad=True)
    target = torch.tensor([[1.0, math.nan], [0.0, math.nan]])
    loss = target_loss(logits, target)
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-2)) + math.log(2)) / 2)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[:, 1].tolist() == [0.0, 0.0]


def test_weights_multiply_the_positive_term_of_their_label() -> None:
    logits, target = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    loss = target_loss(logits, target, torch.tensor([5.0, 5.0]))
    assert float(loss) == pytest.approx((5 * math.log(2) + math.log(2)) / 2)


def test_a_batch_without_any_known_label_has_loss_zero_and_gradient_zero() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = target_loss(logits, torch.full((2, 3), math.nan))
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad.any()
