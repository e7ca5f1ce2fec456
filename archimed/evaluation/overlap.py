"""How far two masks agree in area or volume: Dice and Jaccard from counts of pixels."""

import torch
from jaxtyping import Float, Int, Int64, Integer
from torch import Tensor


def overlap_counts(
    answer: Integer[Tensor, "*space"], truth: Integer[Tensor, "*space"], num_classes: int
) -> Int64[Tensor, "class count"]:
    """Pixels of each class in both masks, in the answer, and in the truth; rows add over cases.

    Raises:
        ValueError: if the masks differ in size, or hold a number that is no class.
    """
    if answer.shape != truth.shape:
        raise ValueError(
            f"Two masks are compared pixel by pixel; got sizes {tuple(answer.shape)} and {tuple(truth.shape)}."
        )
    highest = max(int(answer.max()), int(truth.max())) if answer.numel() else 0
    lowest = min(int(answer.min()), int(truth.min())) if answer.numel() else 0
    if highest >= num_classes or lowest < 0:
        raise ValueError(f"Masks hold class numbers 0 to {num_classes - 1}; got {lowest} to {highest}.")
    narrow = torch.uint8 if num_classes**2 <= 256 else torch.int32  # bytes are counted several times faster
    pairs = truth.reshape(-1).to(narrow) * num_classes + answer.reshape(-1).to(narrow)
    table = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    return torch.stack([table.diagonal(), table.sum(0), table.sum(1)], dim=1)


def dice(counts: Int[Tensor, "*class count"]) -> Float[Tensor, "*class"]:
    """2 |A and B| / (|A| + |B|) of `overlap_counts` (Dice, 1945), float64; NaN where the class is in neither mask."""
    both, answered, true = counts.double().unbind(-1)
    return 2 * both / (answered + true)


def jaccard(counts: Int[Tensor, "*class count"]) -> Float[Tensor, "*class"]:
    """|A and B| / |A or B| of `overlap_counts` (Jaccard, 1912), float64; NaN where the class is in neither mask."""
    both, answered, true = counts.double().unbind(-1)
    return both / (answered + true - both)
