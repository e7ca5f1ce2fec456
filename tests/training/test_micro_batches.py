"""A batch that does not fit into memory is computed in parts, with the same step."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from archimed.training import loop
from archimed.training.losses import loss_shares
from archimed.training.machine import Machine
from archimed.training.prediction import predict
from archimed.training.progress import EpochRecord, TrainingError
from archimed.training.recipe import Recipe
from archimed.training.steps import fitting_step, make_optimizer, training_step
from archimed.workers.limits import is_out_of_memory, memory_limit

MACHINE = Machine(1)


def pixel_network() -> nn.Module:
    return nn.Conv2d(1, 3, 3, padding=1)


def image_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def labels_some_unknown() -> Tensor:
    labels = torch.randint(0, 2, (7, 3)).float()
    labels[0], labels[3, 1] = torch.nan, torch.nan
    return labels


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], Tensor | None]] = {
    "classes": (image_network, lambda: torch.randint(0, 3, (7,)), None),
    "weighted classes": (image_network, lambda: torch.randint(0, 3, (7,)), torch.tensor([0.2, 1.0, 3.0])),
    "labels": (image_network, labels_some_unknown, torch.tensor([0.5, 1.0, 2.0])),
    "masks": (pixel_network, lambda: torch.randint(0, 3, (7, 9, 9)), None),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("parts", [2, 4, 7])
def test_the_step_of_parts_is_that_of_the_whole(name: str, parts: int) -> None:
    torch.manual_seed(0)
    make, target, weights = CASES[name]
    whole = make()
    split, known, images = copy.deepcopy(whole), target(), torch.randn(7, 1, 9, 9)
    recipe = Recipe(optimizer="sgd")
    losses = [
        training_step(
            network,
            make_optimizer(network, recipe),
            images=images,
            target=known,
            weights=weights,
            machine=MACHINE,
            parts=number,
        )
        for network, number in ((whole, 1), (split, parts))
    ]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(split.state_dict(), whole.state_dict())


def test_shares_add_to_one_even_where_nothing_is_known() -> None:
    assert loss_shares([torch.zeros(2, 3), torch.zeros(6, 3)], None).tolist() == [0.25, 0.75]
    assert loss_shares([torch.full((2, 3), torch.nan)] * 2, None).tolist() == [0.0, 0.0]


class Narrow(nn.Module):
    """Fails as a GPU does for more images than fit; optionally with batch normalisation."""

    def __init__(self, fits: int, normalised: bool = False) -> None:
        super().__init__()
        self.fits = fits
        self.layers = image_network()
        self.norm = nn.BatchNorm2d(1) if normalised else nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.layers(self.norm(images))
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return answers


@pytest.mark.parametrize(("fits", "parts"), [(8, 1), (7, 2), (4, 2), (3, 4), (2, 4), (1, 8)])
def test_parts_are_as_few_as_fit_and_the_step_is_repeatable(fits: int, parts: int) -> None:
    images, target = torch.randn(8, 1, 9, 9), torch.arange(8) % 3
    steps = []
    for begin in (1, parts):  # one that finds out, one that knows
        torch.manual_seed(0)
        network = Narrow(fits)
        torch.manual_seed(1)
        loss, needed = fitting_step(
            network,
            make_optimizer(network, Recipe()),
            images=images,
            target=target,
            weights=None,
            machine=MACHINE,
            parts=begin,
        )
        assert needed == parts
        steps.append((loss, network.state_dict(), torch.rand(3)))
    torch.testing.assert_close(steps[0], steps[1], rtol=0, atol=0)


@pytest.mark.parametrize(("network", "least"), [(Narrow(0), 1), (Narrow(1, normalised=True), 2)])
def test_what_never_fits_is_told(network: Narrow, least: int) -> None:
    optimizer = make_optimizer(network, Recipe())
    images, target = torch.randn(8, 1, 9, 9), torch.arange(8) % 3
    with pytest.raises(TrainingError, match=f"with {least} images at a time; it does not. Choose smaller"):
        fitting_step(network, optimizer, images=images, target=target, weights=None, machine=MACHINE)


def test_other_failures_are_not_taken_for_want_of_memory() -> None:
    network = image_network()
    with pytest.raises(RuntimeError, match="expected input"):
        fitting_step(
            network,
            make_optimizer(network, Recipe()),
            images=torch.randn(4, 2, 9, 9),
            target=torch.zeros(4, dtype=torch.int64),
            weights=None,
            machine=MACHINE,
        )


class Weighty(nn.Module):
    """As `Narrow`, around the network of the small problem."""

    def __init__(self, network: nn.Module, fits: int) -> None:
        super().__init__()
        self.network, self.fits = network, fits

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.network(images)
        if len(images) > self.fits:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")
        return answers


def test_a_training_in_parts_says_so_and_is_resumed_in_parts(problem: Any) -> None:
    recipe, said = Recipe(epochs=3, batch_size=16), []

    def stop_after_two(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    whole = Weighty(problem.network(), fits=7)
    result = problem.train(whole, recipe, warn=said.append)
    (caution,) = said
    assert caution.startswith("Batches of 16 did not fit into memory: each step adds up the gradients of 4 parts of 4")
    assert "but that batch normalisation averages over 4 images" in caution
    assert result.cautions == (caution,)
    problem.folder = problem.folder / "again"
    with pytest.raises(KeyboardInterrupt):
        problem.train(Weighty(problem.network(), fits=7), recipe, on_epoch=stop_after_two)
    resumed = Weighty(problem.network(), fits=7)
    again = problem.train(resumed, recipe)
    assert again.cautions == result.cautions
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_predictions_need_no_more_memory_than_one_image(problem: Any) -> None:
    images = problem.examples(12, 2).images
    free, tight = (
        predict(Weighty(problem.network(), fits), images, problem.normalise, "binary", MACHINE) for fits in (99, 1)
    )
    torch.testing.assert_close(tight, free)
    with pytest.raises(RuntimeError, match="can't allocate"):
        predict(Weighty(problem.network(), 0), images, problem.normalise, "binary", MACHINE)


linux = pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is limited on Linux alone")


@linux
def test_an_allocation_above_the_limit_fails_and_the_next_below_it_does_not() -> None:
    def bytes_held() -> int:
        return int(psutil.Process().memory_info().data)

    with memory_limit(bytes_held() + 64 * 2**20):
        with pytest.raises(RuntimeError) as failed:
            torch.zeros(2**28)  # a GiB
        assert is_out_of_memory(failed.value)
        assert len(torch.zeros(2**20)) == 2**20  # 4 MiB
    assert len(torch.zeros(2**26)) == 2**26  # 256 MiB, after the limit


@linux
def test_a_training_fits_into_bounded_memory(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer alone gives 128 MiB for a batch of 32; 96 MiB more than at the start may be held."""
    monkeypatch.setattr(loop, "most_data", lambda _: int(psutil.Process().memory_info().data) + 96 * 2**20)
    wide = nn.Sequential(nn.Upsample(256), nn.Conv2d(1, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    said: list[str] = []
    result = problem.train(wide, Recipe(epochs=1, batch_size=32), warn=said.append)
    assert len(result.epochs) == 1
    assert "did not fit into memory" in said[0]
