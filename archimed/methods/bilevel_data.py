"""What a bilevel search learns from: two halves of the training cases in step; and what judges its epochs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.data.dataset import Subset
from archimed.data.halves import halves
from archimed.errors import DataError
from archimed.evaluation.metrics import metrics
from archimed.methods.protocol import SearchProblem
from archimed.seeding import torch_generator
from archimed.strategies.bilevel import Load
from archimed.strategies.mixtures import Mixture
from archimed.task import ImagingTask
from archimed.training.losses import training_loss
from archimed.training.machine import Machine
from archimed.training.prediction import predict_logits, probabilities
from archimed.training.steps import NormalisedImages, batches

VALIDATION_BATCH = 64
Step = tuple[Load, Load]  # how to get the batch that the weights learn from, and that of alpha


class SearchData(Protocol):
    """The data of one search as its loop needs them."""

    @property
    def problem(self) -> SearchProblem:
        """Task, seed and machine; of several data sets those of the first."""
        ...

    @property
    def further_tasks(self) -> tuple[ImagingTask, ...]:
        """Those for which the supernet has a head of its own, beside that of the problem."""
        ...

    @property
    def sizes(self) -> tuple[int, int]:
        """Images of the half for the weights, and of that for alpha.

        Raises:
            DataError: the cases cannot be halved, or none are there to judge an epoch.
        """
        ...

    @property
    def validation_size(self) -> int:
        """Images that judge an epoch."""
        ...

    def on(self, machine: Machine) -> "SearchData":
        """The same data for another machine."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What must be the same for a search to go on, as JSON."""
        ...

    def steps(self, epoch: int, batch_size: int) -> Sequence[Step]:
        """The steps of an epoch, counted from 1: the half for the weights once, in a random order."""
        ...

    def batch_loss(self, supernet: nn.Module, batch: Batch, mixture: Mixture) -> Tensor:
        """What weights and alpha lower, on a batch of a step."""
        ...

    def validate(self, supernet: nn.Module, mixture: Mixture) -> tuple[Tensor, dict[str, float | None]]:
        """Loss and metrics of the supernet on the validation cases; a metric is None where it is undefined."""
        ...


@dataclass(frozen=True)
class Cases:
    """The loss of one problem, and what tells of it on other cases.

    Attributes:
        problem: what may be seen of the data.
        class_weights: of the loss; None if all weigh the same.
    """

    problem: SearchProblem
    class_weights: Tensor | None = None

    @cached_property
    def _weights(self) -> Tensor | None:
        return None if self.class_weights is None else self.class_weights.to(self.problem.machine.device)

    def batch_loss(self, supernet: nn.Module, batch: Batch, mixture: Mixture) -> Tensor:
        """The loss of the task."""
        with self.problem.machine.autocast():
            outputs = supernet(batch.images, mixture)
        return outputs_loss(outputs, batch.target, self._weights)

    def judged(
        self, supernet: nn.Module, mixture: Mixture, images: NormalisedImages
    ) -> tuple[Tensor, dict[str, float | None]]:
        """Mean loss and metrics on some cases, in eval mode."""
        problem, network = self.problem, WithMixture(supernet, mixture)
        logits = predict_logits(network, images.images, images.normalise, problem.machine, VALIDATION_BATCH)
        weights = None if self.class_weights is None else self.class_weights.cpu()
        scores = probabilities(logits, problem.task.kind)
        measured = metrics(problem.task, images.target.numpy(), scores.numpy())
        return training_loss(logits, images.target, weights), measured


@dataclass(frozen=True)
class CaseHalves(Cases):
    """The cases of one problem as they are, half of them for the weights and half for the architecture."""

    @cached_property
    def cases(self) -> tuple[Subset, Subset]:
        """The cases of the weights and those of alpha."""
        problem = self.problem
        require_validation(problem)
        return halves(problem.train, problem.patients, problem.task, problem.seed, "architecture")

    @cached_property
    def halves(self) -> tuple[NormalisedImages, NormalisedImages]:
        """The images of the weights and those of alpha."""
        problem = self.problem
        first, second = (NormalisedImages(part, problem.normalise, problem.machine) for part in self.cases)
        return first, second

    @cached_property
    def validation(self) -> NormalisedImages:
        """The images that judge an epoch."""
        return NormalisedImages(self.problem.validation, self.problem.normalise, self.problem.machine)

    @property
    def further_tasks(self) -> tuple[ImagingTask, ...]:
        """None: the supernet has one head."""
        return ()

    @property
    def sizes(self) -> tuple[int, int]:
        """Images of each half."""
        return len(self.cases[0]), len(self.cases[1])

    @property
    def validation_size(self) -> int:
        """Images that judge an epoch."""
        return len(self.problem.validation)

    def on(self, machine: Machine) -> "CaseHalves":
        """The same data for another machine."""
        return CaseHalves(replace(self.problem, machine=machine), self.class_weights)

    def identity(self) -> Mapping[str, Any]:
        """The ids of the cases."""
        return {"cases": [self.problem.train.ids, self.problem.validation.ids]}

    def steps(self, epoch: int, batch_size: int) -> Sequence[Step]:
        """Every case of the first half once, and as many of the second."""
        pairs = in_step(self.problem.seed, self.sizes, epoch, batch_size)
        return [(partial(self._batch, 0, first), partial(self._batch, 1, second)) for first, second in pairs]

    def _batch(self, half: int, cases: Tensor) -> Batch:
        return Batch(*self.halves[half].batch(cases))

    def validate(self, supernet: nn.Module, mixture: Mixture) -> tuple[Tensor, dict[str, float | None]]:
        """Mean loss and AUC."""
        loss, measured = self.judged(supernet, mixture, self.validation)
        return loss, {"auc": measured["auc"]}


def outputs_loss(outputs: Tensor | tuple[Tensor, ...], target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean loss of all outputs against one target, in float32 or wider."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    wide = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in several]
    return torch.stack([training_loss(logits, target, weights) for logits in wide]).mean()


class WithMixture(nn.Module):
    """A supernet as a network of images alone."""

    def __init__(self, supernet: nn.Module, mixture: Mixture, **named: int) -> None:
        """`named` go to the supernet with the images."""
        super().__init__()
        self.supernet = supernet
        self.mixture = dict(mixture)
        self.named = named

    def forward(self, images: Tensor) -> Tensor:
        """Logits by the mixture."""
        logits: Tensor = self.supernet(images, self.mixture, **self.named)
        return logits


def require_validation(problem: SearchProblem) -> None:
    """DataError unless there are validation images."""
    if not len(problem.validation):
        raise DataError("A search needs validation images to pick an epoch; there are none. Change the splits.")


def in_step(seed: int, sizes: tuple[int, int], epoch: int, batch_size: int) -> list[tuple[Tensor, Tensor]]:
    """Cases of each half by step: the first half once, in a random order, the second in step, anew when it is over."""
    firsts = next(orders(seed, sizes[0], epoch, "weights", batch_size))
    seconds = (cases for order in orders(seed, sizes[1], epoch, "alpha", batch_size) for cases in order)
    return [(cases, next(seconds)) for cases in firsts]


def orders(seed: int, size: int, epoch: int, name: str, batch_size: int) -> Iterator[Iterator[Tensor]]:
    """Batches of one random order of some cases after the other, without end."""
    again = 0
    while True:
        generator = torch_generator(seed, "bilevel", epoch, name, again)
        yield batches(torch.randperm(size, generator=generator), batch_size)
        again += 1
