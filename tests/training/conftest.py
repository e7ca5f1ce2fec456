"""A small problem that a small network learns in a second."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Examples:
    images: Tensor
    target: Tensor


def ignore(_: object) -> None:
    pass


class SmallProblem:
    """Calls `train` on images whose malignant half has a bright square; what a test is about is set by name."""

    task = ImagingTask("binary", ("benign", "malignant"), 1, (8, 8))

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def network(self, outputs: int = 2) -> nn.Module:
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

    def examples(self, count: int, seed: int) -> Examples:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 120, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
        target = torch.arange(count) % 2
        images[target == 1, :, 2:5, 2:5] += 100
        return Examples(images, target)

    def normalise(self, images: Tensor) -> Tensor:
        return images.float() / 127.5 - 1

    def metrics(self, target: Any, scores: Any) -> Mapping[str, float | None]:
        return {
            "auc": float(roc_auc_score(target, scores[:, 1])),
            "accuracy": float((scores.argmax(1) == target).mean()),
        }

    def train(
        self,
        network: nn.Module,
        recipe: Recipe,
        *,
        training_set: Examples | None = None,
        validation: Examples | None = None,
        task: ImagingTask | None = None,
        machine: Machine | None = None,
        on_epoch: Callable[[EpochRecord], None] = ignore,
        validation_metrics: Callable[..., Mapping[str, float | None]] | None = None,
        warn: Callable[[str], None] = ignore,
        seed: int = 0,
    ) -> Training:
        return train(
            network,
            training_set or self.examples(33, 1),
            validation or self.examples(20, 2),
            self.normalise,
            task=task or self.task,
            recipe=recipe,
            seed=seed,
            machine=machine or Machine(1),
            state_folder=self.folder,
            on_epoch=on_epoch,
            validation_metrics=validation_metrics or self.metrics,
            warn=warn,
        )


@pytest.fixture
def problem(tmp_path: Path) -> SmallProblem:
    return SmallProblem(tmp_path / "network")
