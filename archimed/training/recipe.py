"""The training recipe: every `training.*` setting, and the learning rate of each epoch."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from archimed.task import TaskKind

AUTO_CHECKPOINTS: Mapping[str, tuple[str, ...]] = {
    "segmentation": ("dice",),
    "multi-label": ("auc", "macro_f1", "exact_match"),
}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """How every network of a run is trained; the defaults are the MedMNIST protocol plus an early stop.

    The protocol (Yang et al., MedMNIST v2, "experiments" code) is Adam at 1e-3, times 0.1 at half and at three
    quarters of 100 epochs, batches of 128, no augmentation, and the weights of the best validation AUC.
    """

    epochs: int = Field(default=100, ge=1, description="passes over the training images (MedMNIST protocol)")
    batch_size: int = Field(
        default=128,
        ge=1,
        description="images per step; a last batch of one joins the batch before it (MedMNIST protocol)",
    )
    least_steps: int = Field(
        default=1,
        ge=1,
        description="steps of an epoch at the least: a small data set is passed over as often as it takes (MedMNIST "
        "protocol: one pass; nnU-Net: 250 steps whatever the data)",
    )
    optimizer: Literal["adam", "sgd"] = Field(
        default="adam", description="what changes the weights: adam (MedMNIST protocol) or sgd (MixSearch, retraining)"
    )
    learning_rate: float = Field(
        default=1e-3, gt=0, description="first step size of the optimizer, per step (MedMNIST protocol)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd; adam has its own (MixSearch, retraining)")
    schedule: Literal["steps", "cosine"] = Field(
        default="steps",
        description="how the learning rate falls from epoch to epoch: steps, at the milestones (MedMNIST protocol), or "
        "cosine, along half a wave (MixSearch, retraining)",
    )
    milestones: tuple[float, ...] = Field(
        default=(0.5, 0.75),
        description="where the learning rate drops in steps, as fractions of the epochs (MedMNIST protocol)",
    )
    learning_rate_factor: float = Field(
        default=0.1, gt=0, description="what the learning rate is multiplied by at a milestone (MedMNIST protocol)"
    )
    least_learning_rate: float = Field(
        default=0.0, ge=0, description="what the cosine falls towards, at most the learning rate (MixSearch: zero)"
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="the optimizer's L2 penalty on all weights (MedMNIST protocol: none)"
    )
    members: int = Field(
        default=1,
        ge=1,
        le=50,
        description="networks of each architecture that are trained side by side from their own first weights and "
        "answer together by the mean of their probabilities (MedMNIST protocol: one)",
    )
    checkpoint_metric: str | tuple[str, ...] = Field(
        default="auto",
        description="validation metric whose best epoch gives the final weights; ties go to the lower validation "
        "loss, then to the earlier epoch. Of several, as in macro_f1,exact_match, the first gives the network, and the "
        "weights of each other are kept and measured beside it. auto is auc (MedMNIST protocol), of masks dice (ours), "
        "of several labels auc,macro_f1,exact_match (X-ray study, Sec. 3.6.2: the last two)",
    )
    early_stop_patience: int | None = Field(
        default=20,
        ge=1,
        description="epochs without a better validation result after which training stops (ours: on BreastMNIST it "
        "kept the epoch of the full 100 in 6 of 6 trainings at half the time); null trains to the end (MedMNIST "
        "protocol)",
    )
    class_weights: Literal["auto", "none", "balanced"] = Field(
        default="auto",
        description="auto: balanced for several labels, else none; balanced: classes weigh by their inverse frequency "
        "in the training fold (of masks that of their pixels, in the cross-entropy), positive labels of a multi-label "
        "task by negatives/positives (X-ray study, Sec. 3.2)",
    )
    positive_weight_limit: float = Field(
        default=20.0,
        ge=1,
        description="largest weight (and 1/limit the least) of a multi-label task's positives, a ratio",
    )
    augment_flips: bool = Field(
        default=False, description="turn each training image over along each axis by chance (MedMNIST protocol: no)"
    )
    augment_turns: bool = Field(
        default=False,
        description="turn each training image by 0 to 3 quarters in the plane of its last two axes, if they are of one "
        "length (MedMNIST protocol: no)",
    )
    augment_shift: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="furthest shift of a training image along each axis, as a fraction of it, in whole pixels; border "
        "pixels are repeated (MedMNIST protocol: none)",
    )
    augment_scale: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="s: each channel of a training image is multiplied by 1-s to 1+s, after normalisation (MedMNIST "
        "protocol: none)",
    )
    augment_offset: float = Field(
        default=0.0,
        ge=0,
        description="largest number added to or taken from each channel of a training image, in standard deviations of "
        "that channel of the image (MedMNIST protocol: none)",
    )
    augment_noise: float = Field(
        default=0.0,
        ge=0,
        description="largest standard deviation of the normal noise on a training image, in standard deviations of "
        "each of its channels; each image draws its own up to it (MedMNIST protocol: none)",
    )
    image_size: int | None = Field(
        default=None, ge=1, description="pixels per axis of the images trained on; null takes those of the data"
    )
    patch_size: int | tuple[int, ...] | None = Field(
        default=None,
        description="pixels per axis of the parts of images with masks that are trained on, and of the windows that "
        "predict larger images, one number or one per axis; smaller images are mirrored at their borders. null takes "
        "whole images where they have one size of at most 2^18 pixels (2^21 in 3D), else their median size to the "
        "nearest 16 pixels within that (ours, after nnU-Net)",
    )
    foreground_share: float = Field(
        default=1 / 3,
        ge=0,
        le=1,
        description="chance that a patch is centred on a pixel of a foreground class of its image, each class alike "
        "(nnU-Net: a third)",
    )
    initial_weights: Path | None = Field(
        default=None,
        description="a file of weights to start from, .safetensors or PyTorch's own (.pt, .pth), for those networks of "
        "the run that it fits tensor by tensor, but for the classifier; the others, and null, start afresh",
    )

    @field_validator("checkpoint_metric")
    @classmethod
    def _name_each_once(cls, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
        each = tuple(name.strip() for name in (names.split(",") if isinstance(names, str) else names))
        if len(set(each)) < max(1, len(each)) or not all(each) or (len(each) > 1 and "auto" in each):
            raise ValueError("metrics are named once each, with commas between them, or auto alone")
        return each[0] if len(each) == 1 else each

    @field_validator("milestones")
    @classmethod
    def _rise_within_the_training(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if list(milestones) != sorted(set(milestones)) or not all(0 < fraction < 1 for fraction in milestones):
            raise ValueError(f"milestones are rising fractions between 0 and 1; got {milestones}")
        return milestones

    @field_validator("patch_size")
    @classmethod
    def _hold_pixels(cls, size: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        sides = (size,) if isinstance(size, int) else size
        if sides is not None and not (sides and min(sides) >= 1):
            raise ValueError(f"a patch has at least one pixel along each axis; got {size}")
        return size

    @model_validator(mode="after")
    def _fall(self) -> "Recipe":
        if self.schedule == "cosine" and self.least_learning_rate > self.learning_rate:
            raise ValueError(
                f"least_learning_rate is at most the learning rate of {self.learning_rate:g}; got "
                f"{self.least_learning_rate:g}"
            )
        return self


def checkpoint_metrics(recipe: Recipe, task_kind: TaskKind) -> tuple[str, ...]:
    """The validation metrics of whose best epochs the weights are kept; the first chooses the network itself."""
    names = recipe.checkpoint_metric
    if names != "auto":
        return (names,) if isinstance(names, str) else names
    return AUTO_CHECKPOINTS.get(task_kind, ("auc",))


def checkpoint_metric(recipe: Recipe, task_kind: TaskKind) -> str:
    """The name of the validation metric that chooses the network's epoch."""
    return checkpoint_metrics(recipe, task_kind)[0]


def learning_rate_at(recipe: Recipe, epoch: int) -> float:
    """The learning rate during an epoch, counted from 1.

    In steps, a milestone at fraction f of E epochs takes effect after ceil(f * E) epochs. The cosine begins at the
    learning rate and would reach the least one after the last epoch (Loshchilov & Hutter, 2017, "SGDR", Eq. 5, without
    restarts).
    """
    if recipe.schedule == "cosine":
        share = (1 + math.cos(math.pi * (epoch - 1) / recipe.epochs)) / 2
        return recipe.least_learning_rate + (recipe.learning_rate - recipe.least_learning_rate) * share
    drops = sum(epoch - 1 >= math.ceil(fraction * recipe.epochs - 1e-9) for fraction in recipe.milestones)
    return recipe.learning_rate * recipe.learning_rate_factor**drops


def passes_per_epoch(recipe: Recipe, cases: int) -> int:
    """How often an epoch goes over that many training cases."""
    return math.ceil(recipe.least_steps / math.ceil(cases / recipe.batch_size))
