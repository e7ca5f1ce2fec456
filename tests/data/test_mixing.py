import math

import numpy as np
import pytest
import torch
from torch import Tensor

from archimed.data.mixing import MixedBatches, MixingSettings, draw_weights
from archimed.errors import DataError, SettingsError

SIDE = 4


class Images:
    """Random images and masks of one data set, held as a search holds them."""

    def __init__(self, count: int, classes: int = 2, seed: int = 0, memory_format: torch.memory_format | None = None):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(count, 3, SIDE, SIDE, generator=generator)
        self.labels = torch.randint(0, classes, (count, SIDE, SIDE), generator=generator)
        if memory_format is not None:
            self.images = self.images.contiguous(memory_format=memory_format)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, cases: Tensor, _generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        return self.images[cases], self.labels[cases]


def two_sets(memory_format: torch.memory_format | None = None) -> list[Images]:
    return [Images(7, seed=1, memory_format=memory_format), Images(4, seed=2, memory_format=memory_format)]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("weights", ["beta", "dirichlet"])
def test_mixed_images_and_labels_are_the_sums_of_equations_2_to_4(k: int, weights: str) -> None:
    parts = two_sets()
    images = torch.cat([part.images for part in parts])
    labels = torch.cat([part.labels for part in parts])
    mixed = MixedBatches(parts, k, 1.0, weights, 5, seed=3)  # type: ignore[arg-type]
    for step, (found, target) in enumerate(mixed.epoch(2)):
        drawn = mixed.drawn(2, step)
        for row in range(len(found)):
            image, shares = torch.zeros(3, SIDE, SIDE), torch.zeros(2, SIDE, SIDE)
            for number, weight in zip(drawn.images[row], drawn.weights[row], strict=True):
                image += weight * images[number]
                for kind in range(2):
                    shares[kind] += weight * (labels[number] == kind)
            torch.testing.assert_close(found[row], image)
            torch.testing.assert_close(target[row], shares)
        assert torch.allclose(target.sum(1), torch.ones(len(found), SIDE, SIDE))


def test_weights_are_the_softmax_of_beta_draws_and_keep_their_limits() -> None:
    found = draw_weights(20_000, 3, 0.5, "beta", np.random.default_rng(4))
    draws = np.random.default_rng(4).beta(0.5, 0.5, size=(20_000, 3))
    by_hand = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in draws[:50]]
    np.testing.assert_allclose(found[:50], by_hand)
    np.testing.assert_allclose(found.sum(1), 1)
    least, most = 1 / (1 + 2 * math.e), math.e / (math.e + 2)
    assert 0.155 < least <= found.min() < 0.157
    assert 0.57 < found.max() <= most < 0.577
    assert found.max(1).min() >= 1 / 3


def test_dirichlet_lets_one_image_outweigh_the_others() -> None:
    found = draw_weights(2000, 3, 0.5, "dirichlet", np.random.default_rng(0))
    np.testing.assert_allclose(found.sum(1), 1)
    assert found.max() > 0.99
    np.testing.assert_allclose(found.mean(0), 1 / 3, atol=0.02)


def test_one_image_alone_stays_what_it_is_and_an_epoch_has_each_once() -> None:
    parts = two_sets()
    images = torch.cat([part.images for part in parts])
    mixed = MixedBatches(parts, 1, 1.0, batch_size=4)
    seen = []
    for step, (found, target) in enumerate(mixed.epoch(1)):
        numbers = mixed.drawn(1, step).images[:, 0]
        assert torch.equal(found, images[numbers])
        assert set(target.unique().tolist()) <= {0.0, 1.0}
        seen += numbers.tolist()
    assert sorted(seen) == list(range(11))


@pytest.mark.parametrize(("count", "size", "steps"), [(9, 4, [4, 5]), (10, 4, [4, 4, 2]), (3, 8, [3]), (3, 1, [1] * 3)])
def test_a_last_batch_of_one_joins_the_one_before(count: int, size: int, steps: list[int]) -> None:
    mixed = MixedBatches([Images(count)], 2, 1.0, batch_size=size)
    assert [len(found) for found, _ in mixed.epoch(1)] == steps
    assert len(mixed) == len(steps)


@pytest.mark.parametrize("sampling", ["proportional", "balanced"])
def test_images_of_one_mixture_differ(sampling: str) -> None:
    mixed = MixedBatches(two_sets(), 4, 1.0, batch_size=11, sampling=sampling)  # type: ignore[arg-type]
    for epoch in range(20):
        assert all(len(set(row)) == 4 for row in mixed.drawn(epoch, 0).images.tolist())


@pytest.mark.parametrize(("sampling", "share"), [("proportional", 0.9), ("balanced", 0.5)])
def test_how_often_data_sets_are_met(sampling: str, share: float) -> None:
    mixed = MixedBatches([Images(90), Images(10)], 2, 1.0, batch_size=100, sampling=sampling)  # type: ignore[arg-type]
    drawn = np.concatenate([mixed.drawn(epoch, 0).images for epoch in range(20)])
    assert np.mean(drawn[:, 0] < 90) == pytest.approx(share)
    assert np.mean(drawn[:, 1] < 90) == pytest.approx(share, abs=0.03)


def test_a_step_depends_on_seed_epoch_and_number_alone() -> None:
    one, other = (MixedBatches(two_sets(), 3, 1.0, batch_size=4, seed=5) for _ in range(2))
    list(other.epoch(1))
    for left, right in zip(one.step(4, 1), other.step(4, 1), strict=True):
        assert torch.equal(left, right)
    seen = {tuple(one.drawn(*place).images.ravel()) for place in [(4, 1), (4, 0), (5, 1), (4, 1 + len(one))]}
    seen.add(tuple(MixedBatches(two_sets(), 3, 1.0, batch_size=4, seed=6).drawn(4, 1).images.ravel()))
    seen.add(tuple(MixedBatches(two_sets(), 3, 1.0, batch_size=4, seed=5, name="alpha").drawn(4, 1).images.ravel()))
    assert len(seen) == 6


def test_steps_beyond_an_epoch_go_on_with_every_image_once_more() -> None:
    mixed = MixedBatches(two_sets(), 2, 1.0, batch_size=4)
    again = np.concatenate([mixed.drawn(1, len(mixed) + step).images[:, 0] for step in range(len(mixed))])
    assert sorted(again) == list(range(11))


def test_memory_layout_is_kept_and_changes_no_number() -> None:
    plain = MixedBatches(two_sets(), 3, 1.0, batch_size=4).step(1, 0)[0]
    last = MixedBatches(two_sets(torch.channels_last), 3, 1.0, batch_size=4).step(1, 0)[0]
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    torch.testing.assert_close(last.contiguous(), plain)


def test_heads_see_their_own_labels_alone() -> None:
    parts = [Images(6, classes=2, seed=1), Images(5, classes=4, seed=2)]
    mixed = MixedBatches(parts, 3, 1.0, batch_size=6, classes=[2, 4])
    drawn = mixed.drawn(1, 0)
    images, heads = mixed.step_of_heads(1, 0)
    assert {head.dataset for head in heads} == {0, 1}
    total = torch.zeros(len(images))
    for head in heads:
        start = 6 * head.dataset
        for row, target, weight in zip(head.rows.tolist(), head.target, head.weights, strict=True):
            own = [j for j in range(3) if (drawn.images[row, j] >= 6) == bool(head.dataset)]
            whole = sum(drawn.weights[row, j] for j in own)
            shares = torch.zeros(mixed.classes[head.dataset], SIDE, SIDE)
            for j in own:
                labels = parts[head.dataset].labels[drawn.images[row, j] - start]
                for kind in range(len(shares)):
                    shares[kind] += drawn.weights[row, j] / whole * (labels == kind)
            torch.testing.assert_close(target, shares)
            assert float(weight) == pytest.approx(whole)
        total[head.rows] += head.weights
    torch.testing.assert_close(total, torch.ones(len(images)))
    with pytest.raises(ValueError, match="same classes"):
        mixed.step(1, 0)


def test_more_images_in_a_mixture_than_there_are_is_one_clear_error() -> None:
    with pytest.raises(DataError, match=r"search.k=4 different images; there are 3 to mix. Lower search.k") as error:
        MixedBatches([Images(2), Images(1)], 4, 1.0)
    assert "\n" not in str(error.value)
    with pytest.raises(SettingsError, match="from 1 to 4; got 5"):
        MixedBatches(two_sets(), 5, 1.0)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 5}, {"mu": 0}, {"mixing_weights": "gamma"}])
def test_settings_have_their_limits(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MixingSettings(**wrong)  # type: ignore[arg-type]
