"""The training loop on images with masks: learnt, measured case by case, resumed to the bit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.data.arrays import Arrays
from archimed.errors import SettingsError
from archimed.seeding import torch_seed
from archimed.task import ImagingTask
from archimed.training.loop import train
from archimed.training.machine import Machine
from archimed.training.machine_choice import choose_machine
from archimed.training.mask_loss import mask_loss
from archimed.training.mask_prediction import predict_masks
from archimed.training.progress import EpochRecord, Training
from archimed.training.recipe import Recipe

SGD = Recipe(epochs=4, batch_size=4, optimizer="sgd", learning_rate=0.05, schedule="cosine", weight_decay=1e-5)
SIZES = ((12, 14), (9, 20), (16, 16))


@dataclass(frozen=True)
class Examples:
    images: Arrays
    target: Tensor
    masks: Arrays


def examples(count: int, seed: int, sizes: tuple[tuple[int, ...], ...] = SIZES) -> Examples:
    """Noise with a bright block, which is class 1, and a dark one, class 2."""
    generator = torch.Generator().manual_seed(seed)
    images, masks = [], []
    for number in range(count):
        size = sizes[number % len(sizes)]
        image, mask = 0.2 * torch.randn(size, generator=generator), torch.zeros(size, dtype=torch.uint8)
        for label, value in ((1, 1.0), (2, -1.0)):
            at = [int(torch.randint(side - 4, (1,), generator=generator)) for side in size]
            block = tuple(slice(start, start + 4) for start in at)
            image[block], mask[block] = value, label
        images.append(image[None])
        masks.append(mask)
    return Examples(Arrays.of(images), torch.ones(count, 3), Arrays.of(masks))


class Segmenter(nn.Module):
    """Two convolutions; with an exit after the first where asked."""

    def __init__(self, dims: int = 2, exits: bool = False) -> None:
        super().__init__()
        convolution, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[dims - 2]
        self.first = nn.Sequential(convolution(1, 6, 3, padding=1), norm(6), nn.ReLU())
        self.early = convolution(6, 3, 1) if exits else None
        self.last = convolution(6, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        features = self.first(images)
        if self.training and self.early is not None:
            return self.early(features), self.last(features)
        return self.last(features)  # type: ignore[no-any-return]


def network(dims: int = 2, exits: bool = False) -> nn.Module:
    with torch_seed(3, "network"):
        return Segmenter(dims, exits)


def dice(masks: Iterable[Tensor], probabilities: Iterable[Tensor]) -> Mapping[str, float | None]:
    scores = []
    for truth, found in zip(masks, probabilities, strict=True):
        answer = found.argmax(0)
        for label in (1, 2):
            both = float(((answer == label) & (truth == label)).sum())
            scores.append(2 * both / float((answer == label).sum() + (truth == label).sum()))
    return {"dice": sum(scores) / len(scores)}


def trained(model: nn.Module, recipe: Recipe, folder: Path, dims: int = 2, **changed: Any) -> Training:
    sizes = SIZES if dims == 2 else ((8, 9, 10), (6, 12, 8))
    settings: dict[str, Any] = {
        "task": ImagingTask("segmentation", ("background", "bright", "dark"), 1, sizes[0]),
        "recipe": recipe,
        "seed": 0,
        "machine": Machine(1),
        "state_folder": folder,
        "on_epoch": lambda _: None,
        "validation_metrics": dice,
        "warn": lambda _: None,
    }
    return train(model, examples(14, 1, sizes), examples(5, 2, sizes), torch.Tensor.float, **settings | changed)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("exits", [False, True])
def test_masks_of_several_sizes_are_learnt(tmp_path: Path, dims: int, exits: bool) -> None:
    recipe = replace(SGD, epochs=12, learning_rate=0.2, augment_flips=True, class_weights="balanced")
    result = trained(network(dims, exits), recipe, tmp_path, dims)
    assert result.epochs[result.best_epoch - 1].validation["dice"] > 0.8
    assert result.epochs[-1].train_loss < 0.5 * result.epochs[0].train_loss


def test_the_records_hold_the_mean_loss_of_the_cases_by_class_weight(tmp_path: Path) -> None:
    model, recipe = network(), replace(SGD, epochs=1, class_weights="balanced", patch_size=8)
    result = trained(model, recipe, tmp_path)
    counts = sum(torch.bincount(mask.flatten(), minlength=3) for mask in examples(14, 1).masks)
    weights = counts.sum() / (3 * counts)
    held, losses = examples(5, 2), []
    found = predict_masks(model, held.images, torch.Tensor.float, Machine(1), patch_size=(8, 8))
    for probabilities, mask in zip(found, held.masks, strict=True):
        losses.append(float(mask_loss(probabilities.log()[None], mask.long()[None], weights)))
    assert result.epochs[0].validation_loss == pytest.approx(sum(losses) / 5, rel=1e-5)


def test_metrics_are_told_one_case_after_the_other(tmp_path: Path) -> None:
    shapes: list[tuple[tuple[int, ...], ...]] = []

    def watched(masks: Iterable[Tensor], probabilities: Iterable[Tensor]) -> Mapping[str, float | None]:
        for mask, found in zip(masks, probabilities, strict=True):
            shapes.append((tuple(mask.shape), tuple(found.shape)))
        return {"dice": 0.5}

    trained(network(), replace(SGD, epochs=1), tmp_path, validation_metrics=watched)
    assert shapes == [(SIZES[number % 3], (3, *SIZES[number % 3])) for number in range(5)]


class CutError(Exception):
    pass


def cut(record: EpochRecord) -> None:
    raise CutError(record.epoch)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_interrupted_after_every_epoch_it_ends_bit_for_bit_the_same(
    tmp_path: Path, layout: Any, optimizer: Any
) -> None:
    recipe = replace(
        SGD, optimizer=optimizer, augment_flips=True, augment_turns=True, augment_shift=0.1, augment_noise=0.1
    )
    machine, whole, broken = Machine(1, memory_format=layout), network(), network()
    expected = trained(whole, recipe, tmp_path / "whole", machine=machine)
    for _ in range(recipe.epochs):
        with pytest.raises(CutError):
            trained(network(), recipe, tmp_path / "broken", machine=machine, on_epoch=cut)
    result = trained(broken, recipe, tmp_path / "broken", machine=machine, on_epoch=cut)
    assert [replace(record, seconds=0.0) for record in result.epochs] == [
        replace(record, seconds=0.0) for record in expected.epochs
    ]
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in broken.state_dict().items())


@pytest.mark.parametrize("dims", [2, 3])
def test_a_machine_is_chosen_by_a_trial_on_masks(dims: int) -> None:
    held = examples(8, 0, ((16, 16, 16)[:dims],))
    assert held.masks.shape is not None
    machine = choose_machine(
        network(dims, exits=True), Batch(held.images.all(), held.masks.all().long()), device="cpu", threads=1
    )
    assert (machine.threads, machine.device) == (1, "cpu")


def test_the_metric_of_masks_is_dice(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'auc'\. Choose one of dice"):
        trained(network(), replace(SGD, checkpoint_metric="auc"), tmp_path)
