"""The game whose players are the options of a supernet, and the step on alpha that plays it once an epoch."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.seeding import torch_generator
from archimed.strategies.bilevel import GoOn, Learner, Load
from archimed.strategies.mixtures import Alpha, Mixture, mixture_of
from archimed.strategies.shapley import Estimate, ShapleySettings, drops, standardised

Score = Callable[[Float[Tensor, "batch output"], Num[Tensor, "batch *label"]], float]  # of logits; higher is better


class SupernetGame:
    """Options are players; the value of a coalition is the supernet's score where only its options keep their weights.

    The others weigh zero and nothing is renormalised. Players count through the options of the choices, in turn.
    """

    def __init__(self, supernet: nn.Module, mixture: Mixture, batch: Batch, score: Score) -> None:
        """The supernet is in eval mode; it may define `on(images)`, a quicker function of a mixture alone."""
        on: Callable[[Tensor], Callable[[Mixture], Tensor]] | None = getattr(supernet, "on", None)
        self._logits = partial(supernet, batch.images) if on is None else on(batch.images)
        self._target, self._score = batch.target, score
        self._mixture = mixture
        self._weights = torch.cat(list(mixture.values()))
        self.players = len(self._weights)
        self.evaluations = 0
        self._last: tuple[frozenset[int], float] | None = None

    def value(self, coalition: frozenset[int]) -> float:
        """The score of a coalition; that asked for last is not computed again."""
        if self._last is not None and self._last[0] == coalition:
            return self._last[1]
        kept = torch.zeros_like(self._weights)
        there = torch.tensor(sorted(coalition), dtype=torch.int64)
        kept[there] = self._weights[there]
        parts = kept.split([len(weights) for weights in self._mixture.values()])
        self.evaluations += 1
        score = self._score(self._logits(dict(zip(self._mixture, parts, strict=True))), self._target)
        self._last = coalition, score
        return score


@contextmanager
def evaluating(supernet: nn.Module) -> Iterator[None]:
    """Eval mode, in which running statistics stay as they are, and no gradients; the mode is put back."""
    training = supernet.training
    supernet.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        supernet.train(training)


class OutOfTimeError(Exception):
    """Asked to end within a permutation."""


@dataclass
class ShapleyStep:
    """One step along the Shapley values of all options for an epoch of the weights, before them.

    Attributes:
        settings: `search.*`.
        alpha: on the host.
        optimizer: steps alpha.
        score: of the game.
        seed: of the permutations.
    """

    settings: ShapleySettings
    alpha: Alpha
    optimizer: torch.optim.SGD
    score: Score
    seed: int
    _epoch: int = 0
    _told: dict[str, Any] = field(default_factory=dict)

    def begin_epoch(self, epoch: int) -> None:
        """Note which epoch it is, for its permutations."""
        self._epoch, self._told = epoch, {}

    def dealt(self, loads: Sequence[Load]) -> Sequence[Sequence[Load]]:
        """All to a step before the first of the weights."""
        return [tuple(loads) if position == 0 else () for position in range(len(loads))]

    def learn(self, learner: Learner, loads: Sequence[Load], weight_batch: Batch, go_on: GoOn) -> None:  # noqa: ARG002
        """Play the game along each permutation, on images of its own as far as there are some; then step.

        Out of time, permutations that were played to their end count; alpha stays as it is without any.
        """
        started = time.perf_counter()
        played = _Played()
        with torch.no_grad():
            mixture = mixture_of(self.alpha)
        with evaluating(learner.supernet):
            try:
                for number in range(self.settings.permutations):
                    game = SupernetGame(learner.supernet, mixture, self._batch(loads, number), self.score)
                    self._play(game, number, played, go_on)
            except OutOfTimeError:
                pass
        if played.drops:
            self._step(Estimate.of(played.drops), played, time.perf_counter() - started)

    def _batch(self, loads: Sequence[Load], number: int) -> Batch:
        """The images of a permutation: from the batch of its number on, as many as are asked for and there are."""
        wanted, parts = self.settings.game_images, list[Batch]()
        for k in range(len(loads)):
            if sum(map(len, parts)) < wanted:
                parts.append(loads[(number + k) % len(loads)]())
        return Batch(
            torch.cat([part.images for part in parts])[:wanted], torch.cat([part.target for part in parts])[:wanted]
        )

    def _play(self, game: SupernetGame, number: int, played: "_Played", go_on: GoOn) -> None:
        settings = self.settings
        generator = torch_generator(self.seed, "shapley", self._epoch, number)
        order = torch.randperm(game.players, generator=generator).tolist()

        def value(coalition: frozenset[int]) -> float:
            share = (number + 1 - len(coalition) / game.players) / settings.permutations
            if not go_on(min(share, 0.999)):
                raise OutOfTimeError
            return game.value(coalition)

        nobody = game.value(frozenset())
        ground = nobody if settings.ground == "nobody" else 0.0
        played.nobodies.append(nobody)
        played.starts.append(game.value(frozenset(order)))
        played.drops.append(drops(value, order, settings.stop_below, ground))
        played.evaluations += game.evaluations

    def _step(self, estimate: Estimate, played: "_Played", seconds: float) -> None:
        sizes = [len(numbers) for numbers in self.alpha.values()]
        values = dict(zip(self.alpha, estimate.value.split(sizes), strict=True))
        for name, wanted in standardised(values).items():
            self.alpha[name].grad = -wanted.to(self.alpha[name].dtype)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._told = {
            "shapley": {name: numbers.tolist() for name, numbers in values.items()},
            "start": sum(played.starts) / len(played.starts),
            "nobody": sum(played.nobodies) / len(played.nobodies),
            "evaluations": played.evaluations,
            "permutations": len(played.drops),
            "seconds": seconds,
        }

    def rehearse(self, learner: Learner, batch: Batch) -> None:
        """The score of all players together."""
        with torch.no_grad():
            mixture = mixture_of(self.alpha)
        with evaluating(learner.supernet):
            game = SupernetGame(learner.supernet, mixture, batch, self.score)
            game.value(frozenset(range(game.players)))

    def rehearsals(self, steps: int) -> float:  # noqa: ARG002
        """As many as coalitions, of which half the players are there on average, on images of the game."""
        players = sum(len(numbers) for numbers in self.alpha.values())
        return self.settings.permutations * players / 2 * self.settings.game_images / self.settings.batch_size

    def told(self) -> Mapping[str, Any]:
        """The Shapley values of the options, and what they cost."""
        return self._told


@dataclass
class _Played:
    """What came of the permutations so far."""

    drops: list[Tensor] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    nobodies: list[float] = field(default_factory=list)
    evaluations: int = 0
