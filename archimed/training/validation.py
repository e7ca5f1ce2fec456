"""What a network in training is worth on the validation images: their loss and metrics."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.errors import SettingsError
from archimed.task import ImagingTask
from archimed.training.losses import training_loss
from archimed.training.machine import Machine
from archimed.training.mask_loss import mask_loss
from archimed.training.mask_prediction import predict_masks
from archimed.training.prediction import predict_logits, probabilities
from archimed.training.recipe import Recipe, checkpoint_metrics
from archimed.training.steps import NormalisedImages

TINY = 1e-30  # a probability of zero, whose logarithm is to be a number
ValidationMetrics = Callable[[Any, Any], Mapping[str, float | None]]


@dataclass(frozen=True)
class Validation:
    """How a network is judged after an epoch.

    Attributes:
        images: what it is judged by.
        patch_size: of the windows that predict images with masks.
        task: what the images and targets are.
        recipe: its checkpoint metrics must be among those measured.
        machine: how to compute.
        class_weights: of the loss; None if all weigh the same.
        metrics: as in `archimed.training.loop.train`.
    """

    images: NormalisedImages
    patch_size: tuple[int, ...] | None
    task: ImagingTask
    recipe: Recipe
    machine: Machine
    class_weights: Tensor | None
    metrics: ValidationMetrics

    def __call__(self, network: nn.Module) -> tuple[float, dict[str, float | None]]:
        """Mean loss and metrics; no metrics where the loss is not a number.

        Raises:
            SettingsError: a checkpoint metric of the recipe is not among them.
        """
        loss, metrics = (self._of_masks if self.task.kind == "segmentation" else self._of_classes)(network)
        wanted = checkpoint_metrics(self.recipe, self.task.kind)
        if metrics and (unknown := [name for name in wanted if name not in metrics]):
            raise SettingsError(
                f"training.checkpoint_metric must be a metric of the task; got {unknown[0]!r}. "
                f"Choose one of {', '.join(metrics)}."
            )
        return loss, metrics

    @property
    def _weights(self) -> Tensor | None:
        return None if self.class_weights is None else self.class_weights.cpu()

    def _of_classes(self, network: nn.Module) -> tuple[float, dict[str, float | None]]:
        held, batch_size = self.images, max(self.recipe.batch_size, 256)
        logits = predict_logits(network, held.images, held.normalise, self.machine, batch_size)
        loss = float(training_loss(logits, held.target, self._weights))
        if not math.isfinite(loss):
            return loss, {}
        scores = probabilities(logits, self.task.kind)
        return loss, dict(self.metrics(held.target.numpy(), scores.numpy()))

    def _of_masks(self, network: nn.Module) -> tuple[float, dict[str, float | None]]:
        """The mean loss of the cases, and the metrics; one case is in memory at a time."""
        held, losses, weights = self.images, [], self._weights
        masks = held.masks or Arrays.of(held.target)

        def predicted() -> Iterator[Tensor]:
            found = predict_masks(network, held.images, held.normalise, self.machine, patch_size=self.patch_size)
            for case, mask in zip(found, masks, strict=True):
                losses.append(float(mask_loss(case[None].clamp(min=TINY).log(), mask[None].long(), weights)))
                yield case

        metrics = dict(self.metrics(masks, predicted()))
        return sum(losses) / len(losses), metrics
