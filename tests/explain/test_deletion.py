"""The deletion test on networks whose truth is known, and its parts by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from archimed.explain.deletion import (
    CaseDeletion,
    block_numbers,
    blurred_image,
    curve_area,
    deletion,
    deletion_curve,
    faithfulness,
)

SIDE = 16


def sees_a_corner(images: Tensor) -> Tensor:
    """A probability that depends on the top left quarter alone."""
    return images[:, 0, : SIDE // 2, : SIDE // 2].mean((1, 2))


def corner_map(sign: float = 1) -> Tensor:
    heat = torch.zeros(SIDE, SIDE)
    heat[: SIDE // 2, : SIDE // 2] = sign
    return heat


def areas(heat: Tensor) -> tuple[float, float, float]:
    image = torch.ones(1, SIDE, SIDE)
    return deletion(sees_a_corner, image, torch.zeros_like(image), heat, (4, 4), np.random.default_rng(0))


def test_a_true_map_is_told_from_a_false_one() -> None:
    most, random, least = areas(corner_map())
    assert most < random < least
    # 4 of 16 blocks matter: gone after a quarter of the way by the true map, after all of it in the reverse order
    assert most == pytest.approx(
        curve_area(np.array([1, 2, 1, 0, *[0] * 7]) / np.array([1, 4, 4, 1, *[1] * 7])), abs=0.02
    )
    worst, chance, best = areas(corner_map(-1))
    assert (worst, best) == pytest.approx((least, most))
    assert chance == pytest.approx(random)


def test_a_curve_by_hand() -> None:
    image, blurred = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.zeros(1, 4)
    seen: list[Tensor] = []

    def total(images: Tensor) -> Tensor:
        seen.append(images)
        return images.sum((1, 2))

    blocks = block_numbers((4,), (4,))
    curve = deletion_curve(total, image, blurred, blocks, np.array([3, 0, 2, 1]))
    assert curve.tolist() == [10, 6, 5, 2, 0]
    assert seen[0][2, 0].tolist() == [0, 2, 3, 0]
    assert curve_area(curve) == pytest.approx((8 + 5.5 + 3.5 + 1) / 4)


def test_blocks_are_no_finer_than_the_map_nor_more_than_eight_an_axis() -> None:
    assert block_numbers((4, 6), (2, 3)).tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    assert block_numbers((24, 24, 24), (12, 3, 30)).max() == 8 * 3 * 8 - 1
    assert len(block_numbers((5, 5), (4, 4)).unique()) == 16


def test_regions_are_not_blurred() -> None:
    image = torch.zeros(2, 16, 16)
    image[:, 8, 8] = 1
    blurred = blurred_image(image, fixed=[1])
    assert torch.equal(blurred[1], image[1])
    assert 0 < blurred[0].max() < 0.1
    assert float(blurred[0].sum()) == pytest.approx(1, abs=0.02)


def cases(gaps: list[float], patients: int) -> list[CaseDeletion]:
    return [CaseDeletion(f"c{k}", f"p{k % patients}", 0.5 - gap, 0.5, 0.6) for k, gap in enumerate(gaps)]


def test_the_verdict_follows_the_interval_over_patients() -> None:
    rng = np.random.default_rng
    assert faithfulness(cases([0.1, 0.2, 0.15, 0.12], 4), rng(0)).verdict == "faithful"
    assert faithfulness(cases([-0.1, -0.2, -0.15, -0.12], 4), rng(0)).verdict == "misleading"
    assert faithfulness(cases([0.1, -0.2, 0.15, -0.12], 4), rng(0)).verdict == "undecided"
    assert faithfulness(cases([0.004] * 4, 4), rng(0)).verdict == "undecided"  # nothing to speak of
    few = faithfulness(cases([0.1, 0.2, 0.1, 0.2], 2), rng(0))
    assert (few.verdict, few.low, few.patients, few.cases) == ("undecided", None, 2, 4)
    assert few.gap == pytest.approx(0.15)


def test_all_cases_of_a_patient_count_together() -> None:
    found = [
        CaseDeletion("a", "p", 0.1, 0.5, 0.5),
        CaseDeletion("b", "p", 0.5, 0.5, 0.5),
        CaseDeletion("c", "q", 0.5, 0.5, 0.5),
    ]
    assert faithfulness(found, np.random.default_rng(0)).gap == pytest.approx(0.1)  # 0.2 and 0, not 0.4, 0 and 0
