"""Bilevel search (DARTS, Liu et al., 2019): its settings, its step on the weights, and what a step on alpha is.

Alpha here is all that is learnt of the architecture; what MixSearch calls beta is a group of its choices.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.strategies.mixtures import Alpha, Mixture, mixture_of
from archimed.task import ImagingTask

Loss = Callable[[Mixture], Tensor]  # of the supernet as it stands, on one batch
BatchLoss = Callable[[nn.Module, Batch, Mixture], Tensor]  # of a supernet on a batch by a mixture
Load = Callable[[], Batch]  # how to get a batch
GoOn = Callable[[float], bool]  # told which share of a long step is done; False asks to end it
Memory = Literal["auto", "none", "checkpoint", "partial"]


@dataclass(frozen=True)
class Turns:
    """In which order weights and alpha step.

    Attributes:
        weights_first: the weights before alpha (MixSearch, Algorithm 1), not after (DARTS, Algorithm 1).
        before: alpha's choices whose names begin so take their step first and by themselves, the others theirs after
            it, on the same images (MixSearch, Algorithm 1: beta, then alpha); None lets all step at once.
    """

    weights_first: bool = False
    before: str | None = None

    def groups(self, names: Iterable[str]) -> list[list[str]]:
        """The names of choices that step together, in turn."""
        every = list(names)
        if self.before is None:
            return [every]
        first = [name for name in every if name.startswith(self.before)]
        return [group for group in (first, [name for name in every if name not in first]) if group]


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BilevelSettings(ABC):
    """How weights and architecture learn in turn, each on its own half of the training cases (by patient)."""

    epochs: int = Field(default=50, ge=1, description="passes over the weight half of the training cases (DARTS)")
    batch_size: int = Field(default=64, ge=1, description="images of each half per step (DARTS)")
    warmup_epochs: int = Field(
        default=0, ge=0, description="first epochs, in which only the weights learn (DARTS: none; PC-DARTS: 15 of 50)"
    )
    learning_rate: float = Field(default=0.025, gt=0, description="first step size of the weights, SGD (DARTS)")
    least_learning_rate: float = Field(
        default=0.001, ge=0, description="step size that a cosine leads to over the epochs (DARTS)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of the weights' SGD (DARTS)")
    weight_decay: float = Field(default=3e-4, ge=0, description="L2 penalty on the weights (DARTS)")
    clip: float = Field(default=5.0, gt=0, description="largest norm of the weights' gradient (DARTS)")
    memory: Memory = Field(
        default="auto",
        description="none keeps all features for the backward pass; checkpoint computes each cell again in it; partial "
        "mixes a share of the channels only (PC-DARTS), which is another search; auto is none if that fits into the "
        "free memory by an estimate, else checkpoint",
    )
    channel_share: int = Field(
        default=4, ge=2, description="k: memory=partial mixes 1/k of the channels (PC-DARTS, CIFAR)"
    )
    pick_by: Literal["auc", "loss", "last"] = Field(
        default="auc",
        description="what picks the epoch whose alpha is derived: the supernet's validation AUC (ties to the lower "
        "loss), its validation loss, or the last epoch (DARTS); ties go to the earlier epoch, the warm-up has no part "
        "(ours)",
    )
    stop_at_skips: int | None = Field(
        default=None,
        ge=1,
        description="stop once the derived normal cell has that many skip connections, and pick an epoch before it "
        "(DARTS+: 2); empty: never",
    )
    image_size: int | None = Field(default=None, ge=8, description="pixels per side in the search; empty: as the data")

    @model_validator(mode="after")
    def _alpha_learns(self) -> "BilevelSettings":
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs must leave epochs in which alpha learns; got {self.warmup_epochs} of {self.epochs}"
            )
        return self

    @property
    def planned_candidates(self) -> int:
        """None: architectures are not scored one by one."""
        return 0

    @property
    def turns(self) -> Turns:
        """Alpha, then the weights (DARTS, Algorithm 1)."""
        return Turns()

    @abstractmethod
    def architecture_step(self, alpha: Alpha, task: ImagingTask, seed: int) -> "ArchitectureStep":
        """How this alpha learns in a search for the task, with the seed of the search."""


class ArchitectureStep(Protocol):
    """How alpha learns: the part that methods exchange, by gradients or by Shapley values."""

    @property
    def alpha(self) -> Alpha:
        """What learns."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """What steps alpha; all that outlives an epoch is in its state."""
        ...

    def begin_epoch(self, epoch: int) -> None:
        """Called before an epoch, counted from 1."""
        ...

    def dealt(self, loads: Sequence[Load]) -> Sequence[Sequence[Load]]:
        """The batches of an epoch as it wants them: for each step of the weights those of a step on alpha, or none."""
        ...

    def learn(self, learner: "Learner", loads: Sequence[Load], weight_batch: Batch, go_on: GoOn) -> Tensor | None:
        """One step on alpha, from the batches dealt for it; a loss where there is one. The weights stay as they are."""
        ...

    def rehearse(self, learner: "Learner", batch: Batch) -> None:
        """Once what takes most memory, and in which time is counted; what becomes of alpha does not matter."""
        ...

    def rehearsals(self, steps: int) -> float:
        """How many times that an epoch of so many steps takes, at most."""
        ...

    def told(self) -> Mapping[str, Any]:
        """What the epoch's record says of its steps on alpha, as JSON; empty if there were none."""
        ...


def cosine(first: float, least: float, epoch: int, epochs: int) -> float:
    """A step size that falls along half a wave from the first towards the least, at an epoch counted from 1."""
    height = (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
    return least + (first - least) * height


def weight_optimizer(supernet: nn.Module, settings: BilevelSettings) -> torch.optim.SGD:
    """SGD on the weights."""
    return torch.optim.SGD(
        supernet.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate_at(settings: BilevelSettings, epoch: int) -> float:
    """The weights' step size in an epoch, counted from 1: a cosine from the first to the least."""
    return cosine(settings.learning_rate, settings.least_learning_rate, epoch, settings.epochs)


@dataclass(frozen=True)
class Learner:
    """A supernet and its alpha while they learn.

    Attributes:
        supernet: called with images and a mixture.
        architecture: alpha, and how it learns.
        weights: steps the supernet.
        settings: `search.*`.
        batch_loss: what both lower.
    """

    supernet: nn.Module
    architecture: ArchitectureStep
    weights: torch.optim.SGD
    settings: BilevelSettings
    batch_loss: BatchLoss

    @classmethod
    def of(
        cls, supernet: nn.Module, architecture: ArchitectureStep, settings: BilevelSettings, batch_loss: BatchLoss
    ) -> "Learner":
        """A learner at its beginning, the optimizer of the weights fresh."""
        return cls(supernet, architecture, weight_optimizer(supernet, settings), settings, batch_loss)

    @property
    def alpha(self) -> Alpha:
        """On the host."""
        return self.architecture.alpha

    def begin_epoch(self, epoch: int) -> None:
        """Set the weights' step size of an epoch, counted from 1."""
        self.architecture.begin_epoch(epoch)
        for group in self.weights.param_groups:
            group["lr"] = learning_rate_at(self.settings, epoch)

    def loss(self, batch: Batch) -> Loss:
        """The supernet's loss on a batch, as a function of the mixture."""
        return partial(self.batch_loss, self.supernet, batch)

    def learn(
        self, weight_batch: Batch, loads: Sequence[Load], go_on: GoOn = lambda _: True
    ) -> tuple[Tensor, Tensor | None]:
        """One step on the weights and, with batches for it, one on alpha, in turn; their losses."""
        if self.settings.turns.weights_first:
            on_weights = self.learn_weights(weight_batch)
        on_alpha = self.learn_architecture(loads, weight_batch, go_on) if loads else None
        if not self.settings.turns.weights_first:
            on_weights = self.learn_weights(weight_batch)
        return on_weights, on_alpha

    def learn_architecture(
        self, loads: Sequence[Load], weight_batch: Batch, go_on: GoOn = lambda _: True
    ) -> Tensor | None:
        """One step on alpha; its loss, where there is one."""
        return self.architecture.learn(self, loads, weight_batch, go_on)

    def learn_weights(self, batch: Batch) -> Tensor:
        """One step on the weights; the loss of their batch."""
        return weight_step(self.supernet, self.alpha, self.loss(batch), self.weights, self.settings.clip)


def weight_step(
    supernet: nn.Module, alpha: Alpha, loss: Loss, optimizer: torch.optim.SGD, clip: float
) -> Float[Tensor, ""]:
    """One step on the weights, alpha held; returns the loss, detached."""
    with torch.no_grad():
        mixture = mixture_of(alpha)
    value = loss(mixture)
    descend(supernet, value, optimizer, clip)
    return value.detach()


def descend(supernet: nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer, clip: float) -> None:
    """One step down a loss, its gradient clipped to a norm; weights that have no part in the loss stay as they are."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(supernet.parameters(), clip)
    optimizer.step()
