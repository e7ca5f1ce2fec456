"""Shapley-NAS: DARTS cells whose operations are weighed by what the supernet loses without them (Xiao et al., 2022).

As the X-ray study uses it (Sec. 3.3.2): weights by SGD in turn with Shapley values on the other half of the training
cases. Unlike the public code, the game is played in eval mode and leaves running statistics alone, cases are halved by
patient, and validation cases pick the epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from jaxtyping import Float, Num
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor

from archimed.evaluation.metrics import metrics
from archimed.methods.differentiable import BilevelMethod
from archimed.spaces import SearchSpace
from archimed.spaces.darts_cell import DartsCellSpace
from archimed.strategies.mixtures import Alpha
from archimed.strategies.shapley import ShapleySettings, shapley_optimizer
from archimed.strategies.shapley_step import ShapleyStep
from archimed.task import ImagingTask
from archimed.training.prediction import probabilities
from archimed.training.recipe import Recipe

GameScore = Literal["auc", "accuracy", "label_accuracy"]


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ShapleyNasSearch(ShapleySettings):
    """The search at a size for small data sets and a processor, and the supernet's size; `paper` has the paper's."""

    permutations: int = Field(
        default=4,
        ge=1,
        description="random orders in which the operations leave, in each epoch (ours: ten, through 8 cells to the "
        "end, took as long as 47 passes of the weights over 320 images; Shapley-NAS: 10)",
    )
    game_score: GameScore = Field(
        default="auc",
        description="what the supernet loses without an operation. accuracy: the share of images answered right, of "
        "several labels all of them (the X-ray study's Eq. 1); label_accuracy: of labels answered right; auc: the mean "
        "AUC (ours: few images and rare labels hardly move an accuracy)",
    )
    width: int | None = Field(
        default=16, ge=2, description="space.width of the supernet (Shapley-NAS); empty: as the network's"
    )
    num_cells: int | None = Field(
        default=5, ge=3, description="space.num_cells of the supernet (ours; Shapley-NAS: 8); empty: as the network's"
    )

    def architecture_step(self, alpha: Alpha, task: ImagingTask, seed: int) -> ShapleyStep:
        """Along the Shapley values of the options."""
        return ShapleyStep(
            self, alpha, shapley_optimizer(alpha, self), partial(game_score, task, self.game_score), seed
        )


def game_score(
    task: ImagingTask,
    name: GameScore,
    logits: Float[Tensor, "case output"],
    target: Num[Tensor, "case *label"],
) -> float:
    """The score of a coalition's logits; 0, whatever they are, where the target leaves the metric undefined."""
    metric = {"accuracy": "exact_match", "label_accuracy": "label_accuracy"} if task.kind == "multi-label" else {}
    scores = probabilities(logits.float().cpu().nan_to_num(), task.kind)
    measured = metrics(task, target.cpu().numpy(), scores.numpy())
    return measured[metric.get(name, "auc" if name == "auc" else "accuracy")] or 0.0


@dataclass(frozen=True)
class ShapleyNas(BilevelMethod):
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=lambda: DartsCellSpace(width=36, stem_stride=2))
    search: ShapleyNasSearch = field(default_factory=ShapleyNasSearch)
    training: Recipe = field(default_factory=Recipe)

    name: ClassVar[str] = "shapley-nas"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "space.width": 16,
            "space.num_cells": 3,
            "space.num_nodes": 2,
            "space.stem_stride": 4,
            "search.width": 8,
            "search.num_cells": 3,
            "search.epochs": 6,
            "search.warmup_epochs": 3,
            "search.batch_size": 16,
            "search.permutations": 4,
            "training.epochs": 6,
            "training.batch_size": 32,
        },
        "paper": {
            "space.stem_stride": 1,
            "space.num_cells": 20,
            "search.num_cells": 8,
            "search.permutations": 10,
            "search.batch_size": 256,
            "search.learning_rate": 0.1,
            "search.least_learning_rate": 0.0,
            "search.game_score": "accuracy",
            "search.game_images": 1024,
            "search.ground": "none",
            "search.pick_by": "last",
            "training.early_stop_patience": None,
        },
    }
