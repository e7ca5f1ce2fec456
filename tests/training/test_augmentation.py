"""What a training step does to its images: each change alone against plain PyTorch, and all by the seed."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from archimed.training import epochs
from archimed.training.augmentation import augment, augments
from archimed.training.machine import Machine
from archimed.training.recipe import Recipe

ALL = Recipe(
    augment_flips=True,
    augment_turns=True,
    augment_shift=0.2,
    augment_scale=0.1,
    augment_offset=0.1,
    augment_noise=0.1,
)
COUNT = 150
SHAPES = [(COUNT, 2, 7, 7), (COUNT, 1, 5, 6, 6)]


def images(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def changed(recipe: Recipe, shape: tuple[int, ...]) -> Tensor:
    return images_of_a_step(images(shape), recipe, 0, 1, 0)


def images_of_a_step(batch: Tensor, recipe: Recipe, seed: int, epoch: int, step: int) -> Tensor:
    target = torch.arange(len(batch)) % 2
    changed, same = augment(batch, target, recipe, seed, epoch, step)
    assert same is target
    return changed


def seen(found: Tensor, possible: list[Tensor]) -> set[int]:
    """Which of the possible batches each image is taken from; each must be taken from one."""
    places = [[k for k, other in enumerate(possible) if torch.equal(found[case], other[case])] for case in range(COUNT)]
    assert all(len(place) == 1 for place in places)
    return {place[0] for place in places}


def flipped(batch: Tensor) -> list[Tensor]:
    axes = range(2, batch.ndim)
    subsets = itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(len(axes) + 1))
    return [batch.flip(subset) for subset in subsets]


@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_turned_over_along_every_axis(shape: tuple[int, ...]) -> None:
    possible = flipped(images(shape))
    assert seen(changed(Recipe(augment_flips=True), shape), possible) == set(range(len(possible)))


@pytest.mark.parametrize("shape", SHAPES)
def test_images_are_turned_in_the_plane_of_the_last_axes(shape: tuple[int, ...]) -> None:
    possible = [images(shape).rot90(k, (-2, -1)) for k in range(4)]
    assert seen(changed(Recipe(augment_turns=True), shape), possible) == {0, 1, 2, 3}


@pytest.mark.parametrize("shape", SHAPES)
def test_turns_and_flips_go_together(shape: tuple[int, ...]) -> None:
    batch = images(shape)
    seen_twice = [*flipped(batch), *flipped(batch.transpose(-1, -2))]
    found = seen(changed(Recipe(augment_turns=True, augment_flips=True), shape), seen_twice)
    assert len(found) == len(seen_twice)


def test_a_plane_that_is_no_square_is_not_turned() -> None:
    shape = (COUNT, 1, 6, 6, 5)
    assert torch.equal(changed(Recipe(augment_turns=True), shape), images(shape))


def test_shifts_repeat_the_border() -> None:
    shape, most = (COUNT, 1, 10, 5), (2, 1)
    batch = images(shape)
    padded = torch.nn.functional.pad(batch, (1, 1, 2, 2), mode="replicate")
    possible = [
        padded[:, :, 2 - down : 12 - down, 1 - right : 6 - right]
        for down in range(-most[0], most[0] + 1)
        for right in range(-most[1], most[1] + 1)
    ]
    assert seen(changed(Recipe(augment_shift=0.2), shape), possible) == set(range(len(possible)))


def test_each_channel_of_each_image_has_its_scale_and_offset() -> None:
    batch, bright = images(SHAPES[0]), changed(Recipe(augment_scale=0.3, augment_offset=0.2), SHAPES[0])
    spread = batch.flatten(2).std(2, correction=0)
    scale = bright.flatten(2).std(2, correction=0) / spread
    offset = (bright.flatten(2).mean(2) - scale * batch.flatten(2).mean(2)) / spread
    again = batch * scale[..., None, None] + (offset * spread)[..., None, None]
    assert torch.allclose(bright, again, atol=1e-5)
    for drawn, middle, most in ((scale, 1, 0.3), (offset, 0, 0.2)):
        assert (drawn - middle).abs().max() < most + 1e-4
        assert drawn.flatten().unique().numel() == 2 * COUNT
        assert drawn.std() == pytest.approx(most / 3**0.5, rel=0.2)


def test_noise_is_normal_and_of_the_size_asked_for() -> None:
    shape = (200, 1, 20, 20)
    batch = images(shape)
    noise = changed(Recipe(augment_noise=0.5), shape) - batch
    sizes = noise.flatten(1).std(1) / batch.flatten(1).std(1)
    assert sizes.max() < 0.55
    assert sizes.mean() == pytest.approx(0.25, rel=0.15)
    assert abs(float((noise / noise.flatten(1).std(1).view(-1, 1, 1, 1)).pow(4).mean()) - 3) < 0.15


@pytest.mark.parametrize("shape", SHAPES)
def test_seed_epoch_and_step_decide(shape: tuple[int, ...]) -> None:
    batch = images(shape)
    first = images_of_a_step(batch, ALL, 3, 2, 1)
    torch.manual_seed(9)
    assert torch.equal(images_of_a_step(batch, ALL, 3, 2, 1), first)
    assert torch.equal(batch, images(shape))
    for other in ((4, 2, 1), (3, 3, 1), (3, 2, 2)):
        assert not torch.equal(images_of_a_step(batch, ALL, *other), first)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_memory_layout_changes_nothing(shape: tuple[int, ...]) -> None:
    batch = images(shape)
    innermost = Machine(1, memory_format="channels_last").place_images(batch)
    found = images_of_a_step(innermost, ALL, 0, 1, 0)
    assert found.stride() == innermost.stride()
    assert torch.allclose(found, images_of_a_step(batch, ALL, 0, 1, 0), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_move_with_their_images(shape: tuple[int, ...]) -> None:
    batch = images(shape)
    mask, shares = (batch[:, 0] * 5).long(), batch.clone()
    moves = replace(ALL, augment_scale=0.0, augment_offset=0.0, augment_noise=0.0)
    for target, expected in ((mask, lambda moved: (moved[:, 0] * 5).long()), (shares, lambda moved: moved)):
        moved, found = augment(batch, target, moves, 0, 1, 0)
        assert not torch.equal(moved, batch)
        assert torch.equal(found, expected(moved))
    bright = replace(ALL, augment_flips=False, augment_turns=False, augment_shift=0.0)
    assert torch.equal(augment(batch, mask, bright, 0, 1, 0)[1], mask)
    assert torch.equal(augment(batch, mask, ALL, 0, 1, 0)[1], augment(batch, mask, moves, 0, 1, 0)[1])


def test_a_region_moves_with_its_image_and_keeps_its_values() -> None:
    batch = images((3, 2, 6, 6))
    batch = torch.cat([batch, (batch[:, :1] > batch.mean()).float()], dim=1)
    target = torch.zeros(3, dtype=torch.int64)
    moves = Recipe(augment_flips=True, augment_turns=True, augment_shift=0.2)
    whole = replace(moves, augment_scale=0.1, augment_offset=0.1, augment_noise=0.2)
    moved, _ = augment(batch, target, moves, 0, 1, 0)
    found, _ = augment(batch, target, whole, 0, 1, 0, has_region=True)
    assert torch.equal(found[:, 2], moved[:, 2])
    assert not torch.equal(found[:, :2], moved[:, :2])


def test_nothing_is_changed_unless_asked() -> None:
    assert not augments(Recipe())
    assert augments(ALL)
    assert torch.equal(changed(Recipe(), SHAPES[0]), images(SHAPES[0]))


def test_a_constant_channel_stays_finite() -> None:
    assert torch.equal(
        images_of_a_step(torch.ones(3, 1, 4, 4), replace(ALL, augment_scale=0.0), 0, 1, 0), torch.ones(3, 1, 4, 4)
    )


class CutError(Exception):
    pass


def test_an_interrupted_training_sees_the_images_of_an_unbroken_one(
    problem: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(ALL, epochs=4, batch_size=8)
    whole = problem.network()
    steps: list[tuple[int, int]] = []

    def told(
        batch: Tensor, target: Tensor, recipe: Recipe, seed: int, epoch: int, step: int, **_: object
    ) -> tuple[Tensor, Tensor]:
        steps.append((epoch, step))
        return augment(batch, target, recipe, seed, epoch, step)

    monkeypatch.setattr(epochs, "augment", told)
    expected = problem.train(whole, recipe)
    assert steps == [(epoch, step) for epoch in range(1, 5) for step in range(4)]  # never in validation

    def cut(record: Any) -> None:
        if record.epoch == 2:
            raise CutError

    problem.folder = tmp_path / "broken"
    with pytest.raises(CutError):
        problem.train(problem.network(), recipe, on_epoch=cut)
    network = problem.network()
    result = problem.train(network, recipe)
    assert [r.train_loss for r in result.epochs] == [r.train_loss for r in expected.epochs]
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in network.state_dict().items())

    problem.folder = tmp_path / "plain"
    plain = problem.train(problem.network(), Recipe(epochs=1, batch_size=8))
    assert plain.epochs[0].train_loss != expected.epochs[0].train_loss


def test_batches_of_one_are_of_two_for_batch_normalisation(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: set[int] = set()

    def told(batch: Tensor, target: Tensor, *_: object, **_named: object) -> tuple[Tensor, Tensor]:
        sizes.add(len(batch))
        return batch, target

    monkeypatch.setattr(epochs, "augment", told)
    said: list[str] = []
    result = problem.train(problem.network(), replace(ALL, epochs=1, batch_size=1), warn=said.append)
    assert sizes == {2, 3}  # of 33 images the last joins the batch before it
    assert "two at a time" in said[0]
    assert result.cautions == tuple(said)
