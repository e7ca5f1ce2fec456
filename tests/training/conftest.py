"""A small problem that a small network learns in seconds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from archimed.seeding import torch_seed
from archimed.task import ImagingTask
from archimed.training.loop import train
from archimed.training.machine import Machine
from archimed.training.progress import EpochRecord, Training
from archimed.training.recipe import Recipe

TASK = ImagingTask("binary", ("benign", "malignant"), 1, (8, 8))


@dataclass(frozen=True)
class Examples:
    images: Tensor
    target: Tensor


def small_network(outputs: int = 2) -> nn.Module:
    with torch_seed(3, "network"):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, outputs),
        )


def examples(count: int, seed: int) -> Examples:
    """Noise; the malignant half has a bright square."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
    target = torch.arange(count) % 2
    images[target == 1, :, 2:5, 2:5] += 100
    return Examples(images, target)


def normalise(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def metrics(target: object, scores: object) -> Mapping[str, float | None]:
    return {"auc": float(roc_auc_score(target, scores[:, 1])), "accuracy": None}  # type: ignore[index]


def ignore(_: object) -> None:
    pass


@dataclass
class Trainer:
    """Calls `train` on the small problem; what a test is about is changed by name."""

    folder: Path

    def __call__(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        training_set: Examples | None = None,
        validation: Examples | None = None,
        task: ImagingTask = TASK,
        machine: Machine | None = None,
        on_epoch: Callable[[EpochRecord], None] = ignore,
        validation_metrics: Callable[..., Mapping[str, float | None]] = metrics,
        warn: Callable[[str], None] = ignore,
        seed: int = 0,
    ) -> Training:
        return train(
            network,
            training_set or examples(33, 1),
            validation or examples(20, 2),
            normalise,
            task=task,
            recipe=recipe,
            seed=seed,
            machine=machine or Machine(1),
            state_folder=self.folder,
            on_epoch=on_epoch,
            validation_metrics=validation_metrics,
            warn=warn,
        )


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path / "network")
