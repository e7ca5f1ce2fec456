"""What MixSearch learns from: mixed images of one or several data sets, halved by patient, and validation by Dice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.data.dataset import Subset
from archimed.data.halves import halves
from archimed.data.mixing import HeadTarget, MixedBatches, MixingSettings, require_images
from archimed.errors import SettingsError
from archimed.evaluation.overlap import dice, overlap_counts
from archimed.methods.bilevel_data import VALIDATION_BATCH, Step, WithMixture, outputs_loss, require_validation
from archimed.methods.protocol import SearchProblem
from archimed.strategies.mixtures import Mixture
from archimed.task import ImagingTask
from archimed.training.machine import Machine
from archimed.training.steps import NormalisedImages

HALVES = ("weights", "alpha")


@dataclass(frozen=True)
class HeadedBatch(Batch):
    """Mixed images of data sets that keep their own classes; `target` is that of the first head."""

    heads: tuple[HeadTarget, ...] = ()


@dataclass(frozen=True)
class MixedHalves:
    """Mixed images of the data sets of a problem.

    Attributes:
        problem: of the first data set; `beside` holds the others.
        mixing: how images are mixed.
        k: images that a mixed one is made of; 1 mixes none.
    """

    problem: SearchProblem
    mixing: MixingSettings
    k: int

    @property
    def problems(self) -> tuple[SearchProblem, ...]:
        """One for each data set."""
        return (replace(self.problem, beside=()), *self.problem.beside)

    @property
    def further_tasks(self) -> tuple[ImagingTask, ...]:
        """Tasks of the data sets after the first where they have heads of their own; none where all share one."""
        first, *others = (problem.task for problem in self.problems)
        return tuple(others) if any(task.class_names != first.class_names for task in others) else ()

    @cached_property
    def cases(self) -> tuple[tuple[Subset, ...], tuple[Subset, ...]]:
        """The cases of the weights and those of alpha, of each data set."""
        pairs = []
        for problem in self.problems:
            require_validation(problem)
            require_one_size(problem)
            pairs.append(halves(problem.train, problem.patients, problem.task, problem.seed, "architecture"))
        return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)

    @cached_property
    def halves(self) -> tuple[tuple[NormalisedImages, ...], tuple[NormalisedImages, ...]]:
        """The images of the weights and those of alpha, of each data set."""
        first, second = (
            tuple(self._normalised(part, problem) for part, problem in zip(half, self.problems, strict=True))
            for half in self.cases
        )
        return first, second

    @cached_property
    def validation(self) -> tuple[NormalisedImages, ...]:
        """The images that judge an epoch, of each data set."""
        return tuple(self._normalised(problem.validation, problem) for problem in self.problems)

    def _normalised(self, part: Subset, problem: SearchProblem) -> NormalisedImages:
        return NormalisedImages(part, problem.normalise, self.problem.machine)

    @property
    def sizes(self) -> tuple[int, int]:
        """Images of each half, of all data sets."""
        first, second = (sum(map(len, half)) for half in self.cases)
        return first, second

    def check(self) -> None:
        """DataError unless each half has as many images as a mixed one is made of."""
        for size in self.sizes:
            require_images(self.k, size, "in a half of the training images")

    @property
    def validation_size(self) -> int:
        """Images that judge an epoch, of all data sets."""
        return sum(len(problem.validation) for problem in self.problems)

    def on(self, machine: Machine) -> "MixedHalves":
        """The same data for another machine."""
        return replace(self, problem=replace(self.problem, machine=machine))

    def identity(self) -> Mapping[str, Any]:
        """The ids of the cases, by data set, and how they are mixed."""
        cases = [[problem.name, problem.train.ids, problem.validation.ids] for problem in self.problems]
        return {"cases": cases, "classes": [problem.task.class_names for problem in self.problems], "k": self.k}

    def steps(self, epoch: int, batch_size: int) -> Sequence[Step]:
        """Every image of the first half once as the first of a mixed one, and as many of the second half."""
        weights, alpha = (self._mixed(number, batch_size) for number in range(2))
        return [(partial(self._batch, weights, epoch, step), partial(self._batch, alpha, epoch, step))
                for step in range(len(weights))]  # fmt: skip

    def _mixed(self, half: int, batch_size: int) -> MixedBatches:
        return MixedBatches(
            self.halves[half],
            self.k,
            self.mixing.mu,
            self.mixing.mixing_weights,
            batch_size,
            self.problem.seed,
            classes=[problem.task.num_outputs for problem in self.problems],
            sampling=self.mixing.sampling,
            name=f"mixed {HALVES[half]}",
        )

    def _batch(self, mixed: MixedBatches, epoch: int, step: int) -> Batch:
        if not self.further_tasks:
            return Batch(*mixed.step(epoch, step))
        images, heads = mixed.step_of_heads(epoch, step)
        return HeadedBatch(images, heads[0].target, heads)

    def batch_loss(self, supernet: nn.Module, batch: Batch, mixture: Mixture) -> Tensor:
        """The loss of the masks, as `mask_loss`.

        With heads of their own the data sets of a mixed image each have a loss, averaged by how much they weigh in it.
        """
        machine = self.problem.machine
        if not isinstance(batch, HeadedBatch):
            with machine.autocast():
                outputs = supernet(batch.images, mixture)
            return outputs_loss(outputs, batch.target)
        losses = []
        for head in batch.heads:
            with machine.autocast():
                outputs = supernet(batch.images[head.rows], mixture, dataset=head.dataset)
            losses += list(_of_rows(outputs, head))
        return torch.stack(losses).sum() / len(batch)

    def validate(self, supernet: nn.Module, mixture: Mixture) -> tuple[Tensor, dict[str, float | None]]:
        """Loss and Dice of the images as they are: means over the data sets, each the mean over its cases."""
        losses, scores = [], {}
        training = supernet.training
        supernet.eval()
        try:
            for number, (problem, images) in enumerate(zip(self.problems, self.validation, strict=True)):
                head = {"dataset": number} if self.further_tasks else {}
                loss, counts = self._judged(WithMixture(supernet, mixture, **head), images, problem.task)
                losses.append(loss)
                scores[problem.name] = mean_dice(counts)
        finally:
            supernet.train(training)
        known = [score for score in scores.values() if score is not None]
        measured = {"dice": sum(known) / len(known) if known else None}
        each = {f"dice of {name}": score for name, score in scores.items()} if len(scores) > 1 else {}
        return torch.stack(losses).mean(), {**measured, **each}

    def _judged(
        self, network: nn.Module, images: NormalisedImages, task: ImagingTask
    ) -> tuple[Tensor, Int64[Tensor, "case class count"]]:
        """The mean loss of the cases of a data set, and their overlap counts."""
        total, counts = torch.zeros((), dtype=torch.float64), []
        with torch.inference_mode():
            for rows in torch.arange(len(images)).split(VALIDATION_BATCH):
                batch, truth = images.batch(rows)
                logits = network(batch)
                total += float(outputs_loss(logits, truth)) * len(rows)
                answers, masks = logits.argmax(1).cpu(), truth.cpu()
                counts += [overlap_counts(*pair, task.num_outputs) for pair in zip(answers, masks, strict=True)]
        return total / len(images), torch.stack(counts)


def mean_dice(counts: Int64[Tensor, "case class count"]) -> float | None:
    """The mean over foreground classes of the mean over cases; what is in neither mask of a case is left out."""
    of_classes = dice(counts)[:, 1:].nanmean(0)
    known = of_classes[~of_classes.isnan()]
    return float(known.mean()) if len(known) else None


def require_one_size(problem: SearchProblem) -> None:
    """SettingsError unless all images of a data set have one size."""
    if problem.train.images.shape is None or problem.train.images.shape != problem.validation.images.shape:
        raise SettingsError(
            f"A search mixes images of one size; those of {problem.name or 'the data'} have several. Bring them to one "
            "with --set search.image_size=PIXELS."
        )


def _of_rows(outputs: Tensor | tuple[Tensor, ...], head: HeadTarget) -> Iterator[Float[Tensor, ""]]:
    """The loss of each mixed image for one head, times the weight that its data set has in it."""
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    for row, weight in enumerate(head.weights):
        each = tuple(logits[row : row + 1] for logits in several)
        yield weight * outputs_loss(each, head.target[row : row + 1])
