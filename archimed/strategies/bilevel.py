"""Bilevel search by gradients (DARTS, Liu et al., 2019): its settings and its steps, on weights and on alpha.

Alpha here is all that is learnt of the architecture; what MixSearch calls beta is a group of its choices.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.strategies.mixtures import Alpha, Mixture, mixture_of

Loss = Callable[[Mixture], Tensor]  # of the supernet as it stands, on one batch
BatchLoss = Callable[[nn.Module, Batch, Mixture], Tensor]  # of a supernet on a batch by a mixture
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
class BilevelSettings:
    """How weights and architecture learn in turn, each on its own half of the training cases (by patient)."""

    epochs: int = Field(default=50, ge=1, description="passes over the weight half of the training cases (DARTS)")
    batch_size: int = Field(default=64, ge=1, description="images of each half per step (DARTS)")
    warmup_epochs: int = Field(
        default=0, ge=0, description="first epochs, in which only the weights learn (DARTS: none; PC-DARTS: 15 of 50)"
    )
    order: Literal["first", "second"] = Field(
        default="first",
        description="gradient of alpha: first takes the weights as they are, second looks one weight step ahead and "
        "costs about four times as much (DARTS)",
    )
    learning_rate: float = Field(default=0.025, gt=0, description="first step size of the weights, SGD (DARTS)")
    least_learning_rate: float = Field(
        default=0.001, ge=0, description="step size that a cosine leads to over the epochs (DARTS)"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of the weights' SGD (DARTS)")
    weight_decay: float = Field(default=3e-4, ge=0, description="L2 penalty on the weights (DARTS)")
    clip: float = Field(default=5.0, gt=0, description="largest norm of the weights' gradient (DARTS)")
    alpha_learning_rate: float = Field(default=3e-4, gt=0, description="step size of alpha, Adam (DARTS)")
    alpha_betas: tuple[float, float] = Field(default=(0.5, 0.999), description="Adam's averages for alpha (DARTS)")
    alpha_weight_decay: float = Field(default=1e-3, ge=0, description="L2 penalty on alpha (DARTS)")
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


def alpha_optimizer(alpha: Alpha, settings: BilevelSettings) -> torch.optim.Adam:
    """Adam on alpha."""
    first, second = settings.alpha_betas
    return torch.optim.Adam(
        list(alpha.values()),
        lr=settings.alpha_learning_rate,
        betas=(first, second),
        weight_decay=settings.alpha_weight_decay,
    )


def learning_rate_at(settings: BilevelSettings, epoch: int) -> float:
    """The weights' step size in an epoch, counted from 1: a cosine from the first to the least."""
    return cosine(settings.learning_rate, settings.least_learning_rate, epoch, settings.epochs)


@dataclass(frozen=True)
class Learner:
    """A supernet and its alpha while they learn.

    Attributes:
        supernet: called with images and a mixture.
        alpha: on the host.
        weights: steps the supernet.
        architecture: steps alpha.
        settings: `search.*`.
        batch_loss: what both lower.
    """

    supernet: nn.Module
    alpha: Alpha
    weights: torch.optim.SGD
    architecture: torch.optim.Adam
    settings: BilevelSettings
    batch_loss: BatchLoss

    @classmethod
    def of(cls, supernet: nn.Module, alpha: Alpha, settings: BilevelSettings, batch_loss: BatchLoss) -> "Learner":
        """A learner at its beginning, the optimizers fresh."""
        weights, architecture = weight_optimizer(supernet, settings), alpha_optimizer(alpha, settings)
        return cls(supernet, alpha, weights, architecture, settings, batch_loss)

    def begin_epoch(self, epoch: int) -> None:
        """Set the weights' step size of an epoch, counted from 1."""
        for group in self.weights.param_groups:
            group["lr"] = learning_rate_at(self.settings, epoch)

    def loss(self, batch: Batch) -> Loss:
        """The supernet's loss on a batch, as a function of the mixture."""
        return partial(self.batch_loss, self.supernet, batch)

    def learn(self, weight_batch: Batch, architecture_batch: Batch | None) -> tuple[Tensor, Tensor | None]:
        """One step on the weights and, with a batch for it, one on alpha, in turn; their losses."""
        if self.settings.turns.weights_first:
            on_weights = self.learn_weights(weight_batch)
        on_alpha = None if architecture_batch is None else self.learn_architecture(architecture_batch, weight_batch)
        if not self.settings.turns.weights_first:
            on_weights = self.learn_weights(weight_batch)
        return on_weights, on_alpha

    def learn_architecture(self, batch: Batch, weight_batch: Batch) -> Tensor:
        """One step on alpha, of each of its groups in turn; the loss of the architecture batch before the last."""
        loss = self.loss(batch)
        for names in self.settings.turns.groups(self.alpha):
            if self.settings.order == "first":
                value, gradients = first_order(self.supernet, self.alpha, loss, names)
            else:
                value, gradients = second_order(
                    self.supernet, self.alpha, loss, self.loss(weight_batch), self.weights, names
                )
            alpha_step(self.alpha, gradients, self.architecture, names)
        return value

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


def first_order(
    supernet: nn.Module, alpha: Alpha, architecture_loss: Loss, names: Sequence[str] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The loss of the architecture half and its gradient by alpha, the weights held; theirs are not computed.

    With names the gradient is by these choices alone.
    """
    with held(supernet):
        value = architecture_loss(mixture_of(alpha))
        return value.detach(), _gradients(value, _named(alpha, names))


def second_order(
    supernet: nn.Module,
    alpha: Alpha,
    architecture_loss: Loss,
    weight_loss: Loss,
    optimizer: torch.optim.SGD,
    names: Sequence[str] | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The loss of the architecture half after one step on the weights, and its gradient by alpha through that step.

    With w' = w - r (m b + dL_w/dw + d w), the SGD step from w (rate r, momentum m, its average b, decay d; clipping
    left out), the gradient is dL_a(w')/dalpha - r v d2L_w/(dw dalpha), v = dL_a(w')/dw' (DARTS, Eq. 7). The product
    with v is exact, by a second backward pass. The weights are as they were afterwards, to the bit. With names the
    gradient is by these choices alone.
    """
    weights, numbers = [one for one in supernet.parameters() if one.requires_grad], _named(alpha, names)
    with torch.no_grad():
        mixture = mixture_of(alpha)
    gradients = _gradients(weight_loss(mixture), weights)
    with _moved(weights, _sgd_step(weights, gradients, optimizer)):
        value = architecture_loss(mixture_of(alpha))
        both = _gradients(value, [*numbers, *weights])
    direct, by_weights = both[: len(numbers)], both[len(numbers) :]
    slopes = torch.autograd.grad(weight_loss(mixture_of(alpha)), weights, create_graph=True, materialize_grads=True)
    pairs = [(slope, v) for slope, v in zip(slopes, by_weights, strict=True) if slope.requires_grad]
    through = torch.autograd.grad(
        [slope for slope, _ in pairs], numbers, grad_outputs=[v for _, v in pairs], materialize_grads=True
    )
    rate = optimizer.param_groups[0]["lr"]
    return value.detach(), [one - rate * other for one, other in zip(direct, through, strict=True)]


def alpha_step(
    alpha: Alpha, gradients: Sequence[Tensor], optimizer: torch.optim.Adam, names: Sequence[str] | None = None
) -> None:
    """One step on alpha, or on the choices named, by the gradients of `first_order` or `second_order`."""
    optimizer.zero_grad(set_to_none=True)  # Adam passes over what has no gradient
    for numbers, gradient in zip(_named(alpha, names), gradients, strict=True):
        numbers.grad = gradient
    optimizer.step()


@contextmanager
def held(supernet: nn.Module) -> Iterator[None]:
    """No gradient by the weights is computed in this block, which must contain the backward pass too."""
    learning = [weight for weight in supernet.parameters() if weight.requires_grad]
    for weight in learning:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)


def _named(alpha: Alpha, names: Sequence[str] | None) -> list[Tensor]:
    return list(alpha.values()) if names is None else [alpha[name] for name in names]


def _gradients(value: Tensor, of: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(value, of, materialize_grads=True))


def _sgd_step(weights: Sequence[Tensor], gradients: Sequence[Tensor], optimizer: torch.optim.SGD) -> list[Tensor]:
    """Where one step of the optimizer would lead."""
    group = optimizer.param_groups[0]
    ahead = []
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            average = optimizer.state[weight].get("momentum_buffer") if weight in optimizer.state else None
            direction = gradient + group["weight_decay"] * weight
            if average is not None:
                direction = direction + group["momentum"] * average
            ahead.append(weight - group["lr"] * direction)
    return ahead


@contextmanager
def _moved(weights: Sequence[Tensor], there: Sequence[Tensor]) -> Iterator[None]:
    """The weights elsewhere for a while: their memory itself, so that cells computed again see the same."""
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        torch._foreach_copy_(list(weights), list(there))
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(weights), before)
