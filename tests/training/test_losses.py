import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from archimed.data.arrays import Arrays
from archimed.training.losses import class_weights, inverse_frequency, positive_weights
from archimed.training.recipe import Recipe


def test_inverse_frequency_equals_scikit_learns_balanced_weights() -> None:
    target = torch.tensor([0] * 10 + [1] * 3 + [2] * 7)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=target.numpy())
    torch.testing.assert_close(inverse_frequency(target, 3), torch.tensor(expected).float())


def test_an_absent_class_weighs_one_and_leaves_the_others_as_they_were() -> None:
    target = torch.tensor([0, 0, 0, 2])
    expected = compute_class_weight("balanced", classes=np.array([0, 2]), y=target.numpy())
    assert inverse_frequency(target, 3).tolist() == pytest.approx([expected[0], 1.0, expected[1]])


def test_positive_weights_count_known_labels_within_the_limit() -> None:
    nan = float("nan")
    target = torch.tensor([[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1], [nan, 0, nan, 1]], dtype=torch.float32)
    # 2 negatives / 1 positive; no positive: neutral; 2 / 1; no negative: held at 1 / limit
    assert positive_weights(target, 1.5).tolist() == pytest.approx([1.5, 1.0, 1.5, 1 / 1.5])
    assert positive_weights(target, 20).tolist() == pytest.approx([2.0, 1.0, 2.0, 1 / 20])


def test_the_recipe_decides() -> None:
    single, multi = torch.tensor([0, 0, 0, 1]), torch.tensor([[1.0], [0.0], [0.0], [0.0]])
    assert class_weights(single, 2, Recipe()) is None
    assert class_weights(multi, 1, Recipe()).tolist() == positive_weights(multi, 20).tolist()
    assert class_weights(multi, 1, Recipe(class_weights="none")) is None
    balanced = Recipe(class_weights="balanced", positive_weight_limit=2.5)
    assert class_weights(single, 2, balanced).tolist() == pytest.approx([4 / 6, 2.0])
    assert class_weights(multi, 1, balanced).tolist() == [2.5]
    pixels = torch.tensor([[[0, 0], [0, 1]]])
    masks = Arrays.of([torch.tensor([[0, 0, 1]], dtype=torch.uint8), torch.tensor([[0]], dtype=torch.uint8)])
    assert class_weights(masks, 2, balanced).tolist() == pytest.approx([4 / 6, 2.0])
    assert class_weights(pixels, 2, balanced).tolist() == pytest.approx([4 / 6, 2.0])
