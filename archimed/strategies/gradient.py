"""Alpha learns by gradients (DARTS, Liu et al., 2019): its settings, and its steps of first and second order."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.strategies.bilevel import BilevelSettings, GoOn, Learner, Load, Loss
from archimed.strategies.mixtures import Alpha, mixture_of
from archimed.task import ImagingTask


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class GradientSettings(BilevelSettings):
    """How alpha learns by gradients, a step of its own for every step of the weights."""

    order: Literal["first", "second"] = Field(
        default="first",
        description="gradient of alpha: first takes the weights as they are, second looks one weight step ahead and "
        "costs about four times as much (DARTS)",
    )
    alpha_learning_rate: float = Field(default=3e-4, gt=0, description="step size of alpha, Adam (DARTS)")
    alpha_betas: tuple[float, float] = Field(default=(0.5, 0.999), description="Adam's averages for alpha (DARTS)")
    alpha_weight_decay: float = Field(default=1e-3, ge=0, description="L2 penalty on alpha (DARTS)")

    def architecture_step(self, alpha: Alpha, task: ImagingTask, seed: int) -> "GradientStep":  # noqa: ARG002
        """Down the gradient of the loss of the architecture half."""
        return GradientStep(self, alpha, alpha_optimizer(alpha, self))


def alpha_optimizer(alpha: Alpha, settings: GradientSettings) -> torch.optim.Adam:
    """Adam on alpha."""
    first, second = settings.alpha_betas
    return torch.optim.Adam(
        list(alpha.values()),
        lr=settings.alpha_learning_rate,
        betas=(first, second),
        weight_decay=settings.alpha_weight_decay,
    )


@dataclass(frozen=True)
class GradientStep:
    """One step down the gradient by alpha for every step of the weights (see `ArchitectureStep`).

    Attributes:
        settings: `search.*`.
        alpha: on the host.
        optimizer: steps alpha.
    """

    settings: GradientSettings
    alpha: Alpha
    optimizer: torch.optim.Adam

    def begin_epoch(self, epoch: int) -> None:
        """Nothing: epochs are alike."""

    def dealt(self, loads: Sequence[Load]) -> Sequence[Sequence[Load]]:
        """To every step one batch."""
        return [(load,) for load in loads]

    def learn(self, learner: Learner, loads: Sequence[Load], weight_batch: Batch, go_on: GoOn) -> Tensor:  # noqa: ARG002
        """One step on alpha, of each of its groups in turn; the loss of the architecture batch before the last."""
        loss = learner.loss(loads[0]())
        for names in self.settings.turns.groups(self.alpha):
            if self.settings.order == "first":
                value, gradients = first_order(learner.supernet, self.alpha, loss, names)
            else:
                value, gradients = second_order(
                    learner.supernet, self.alpha, loss, learner.loss(weight_batch), learner.weights, names
                )
            alpha_step(self.alpha, gradients, self.optimizer, names)
        return value

    def rehearse(self, learner: Learner, batch: Batch) -> None:
        """A step."""
        float(self.learn(learner, [lambda: batch], batch, lambda _: True))  # reading waits for a GPU

    def rehearsals(self, steps: int) -> float:
        """As many as steps of the weights."""
        return steps

    def told(self) -> dict[str, object]:
        """Nothing but its loss."""
        return {}


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
