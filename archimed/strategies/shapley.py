"""Shapley values by permutations, and how alpha follows them (Xiao et al., CVPR 2022): its settings and its average.

"Shapley-NAS: Discovering Operation Contribution for Neural Architecture Search"; what it leaves open is as in its
public code: values are standardised cell type by cell type, and new ones weigh 1 - mu in the running average.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor

from archimed.strategies.bilevel import BilevelSettings, Memory
from archimed.strategies.mixtures import Alpha

Value = Callable[[frozenset[int]], float]  # of a coalition of the players 0, 1, ...
Ground = Literal["none", "nobody"]


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ShapleySettings(BilevelSettings):
    """How alpha learns by Shapley values, one step for every epoch of the weights."""

    warmup_epochs: int = Field(
        default=25, ge=0, description="first epochs, in which only the weights learn (Shapley-NAS)"
    )
    memory: Memory = Field(
        default="partial",
        description="as for darts; partial mixes a share of the channels only (PC-DARTS; Shapley-NAS: a quarter)",
    )
    permutations: int = Field(
        default=10, ge=1, description="random orders in which the operations leave, in each epoch (Shapley-NAS)"
    )
    game_images: int = Field(
        default=64,
        ge=1,
        description="images of the architecture half that one permutation is scored on (ours, for small data sets and "
        "processors; Shapley-NAS, public code: 1024)",
    )
    stop_below: float | None = Field(
        default=0.5,
        ge=0,
        le=1,
        description="a permutation ends when the score is below this share of that with all operations; what is left "
        "then counts zero (Shapley-NAS); empty: it goes on to the end, the plain estimator",
    )
    ground: Ground = Field(
        default="nobody",
        description="from where stop_below counts: none, from zero (Shapley-NAS); nobody, from the score without any "
        "operation (ours: half of an AUC or of a two-class accuracy is worse than chance, so nothing would end)",
    )
    alpha_learning_rate: float = Field(
        default=0.1, gt=0, description="step size of alpha, times its averaged Shapley values (Shapley-NAS)"
    )
    alpha_momentum: float = Field(
        default=0.8, ge=0, lt=1, description="weight of the past in the averaged Shapley values (Shapley-NAS)"
    )


def drops(
    value: Value, order: Sequence[int], stop_below: float | None = None, ground: float = 0.0
) -> Float[Tensor, " player"]:
    """How much the value falls as each player leaves, one after the other; the sum is v(all) - v(none).

    Args:
        value: of the coalition of those still there.
        order: every player once.
        stop_below: end below this share of the start, counted from `ground`; players left then drop nothing.
        ground: see there.
    """
    there = frozenset(order)
    found = torch.zeros(len(order), dtype=torch.float64)
    before = value(there)
    least = -math.inf if stop_below is None else ground + stop_below * (before - ground)
    for player in order:
        there -= {player}
        after = value(there)
        found[player] = before - after
        before = after
        if after < least:
            break
    return found


@dataclass(frozen=True)
class Estimate:
    """Shapley values from some permutations.

    Attributes:
        mean: of a player's drops, the plain Monte Carlo estimate; exact over all permutations.
        spread: their standard deviation, by the number of permutations.
    """

    mean: Float[Tensor, " player"]
    spread: Float[Tensor, " player"]

    @classmethod
    def of(cls, found: Sequence[Float[Tensor, " player"]]) -> "Estimate":
        """From the drops of each permutation."""
        every = torch.stack(list(found))
        return cls(every.mean(0), every.std(0, correction=0))

    @property
    def value(self) -> Float[Tensor, " player"]:
        """The mean less the standard deviation: what helps by chance counts less (Shapley-NAS, public code)."""
        return self.mean - self.spread


def shapley_values(
    value: Value, permutations: Sequence[Sequence[int]], stop_below: float | None = None, ground: float = 0.0
) -> Estimate:
    """Shapley values of a game, estimated from the drops along some permutations (see `drops`)."""
    return Estimate.of([drops(value, order, stop_below, ground) for order in permutations])


def standardised(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mean 0 and variance 1 over all options of a cell type, whose name choices begin with; 0 where all are alike."""
    found: dict[str, Tensor] = {}
    for cell in dict.fromkeys(name.partition(".")[0] for name in values):
        names = [name for name in values if name.partition(".")[0] == cell]
        together = torch.cat([values[name] for name in names])
        spread = together.std() if len(together) > 1 else together.new_zeros(())
        even = (together - together.mean()) / spread if spread > 0 else torch.zeros_like(together)
        found |= dict(zip(names, even.split([len(values[name]) for name in names]), strict=True))
    return found


def shapley_optimizer(alpha: Alpha, settings: ShapleySettings) -> torch.optim.SGD:
    """What adds to alpha the learning rate times s, s <- mu s + (1 - mu) x, from s = 0, where -x is the gradient."""
    rate, momentum = settings.alpha_learning_rate, settings.alpha_momentum
    optimizer = torch.optim.SGD(list(alpha.values()), lr=rate, momentum=momentum, dampening=momentum)
    for numbers in alpha.values():  # else PyTorch takes the first x whole
        optimizer.state[numbers]["momentum_buffer"] = torch.zeros_like(numbers)
    return optimizer
