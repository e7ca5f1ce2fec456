"""Measures paths of one network that holds them all, whose weights learn on (EMARS, Sec. IV).

Unlike other evaluators this one remembers: what it measures depends on what was trained before, so a path that stays
in the population is measured again after every epoch, and its accuracies over the epochs tell its potential.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from archimed.batch import Batch
from archimed.candidate import Measurements
from archimed.errors import ArchimedError
from archimed.evaluators.training_free import reason_of
from archimed.genotype import Genotype, random_genotype
from archimed.seeding import numpy_generator, torch_seed
from archimed.spaces.protocol import Mixture, RelaxableSpace, canonical
from archimed.strategies.bilevel import descend

Load = Callable[[], Batch]
Tell = Callable[[int, int], bool]  # steps done, steps planned -> whether to go on
Sample = tuple[int, float]  # epoch, accuracy
BYTES_PER_PARAMETER = 4
MEGABYTE = 2**20


class PathData(Protocol):
    """What paths learn from, and what judges them."""

    def batches(self, epoch: int, least: int) -> Sequence[Load]:
        """How to get the batches of an epoch, counted from 1; a multiple of `least`, so that paths get equally many."""
        ...

    def batch_loss(self, supernet: nn.Module, batch: Batch, mixture: Mixture) -> Tensor:
        """What the weights of a path lower."""
        ...

    def judge(self, supernet: nn.Module, mixture: Mixture) -> tuple[float, float]:
        """Accuracy (0 to 1) and loss of a path on the cases held out."""
        ...


@dataclass(frozen=True)
class PathSteps:
    """How a step changes the weights.

    Attributes:
        population_size: paths that an epoch of the warm-up draws for each round of batches.
        clip: largest norm of the gradient.
        learning_rate_at: step size in an epoch, counted from 1.
    """

    population_size: int
    clip: float
    learning_rate_at: Callable[[int], float]


@dataclass
class SharedWeights:
    """A supernet whose paths are trained in turn and measured as they are.

    Attributes:
        space: the paths.
        supernet: in training mode; called with images and the mixture of one path.
        optimizer: steps its weights.
        data: what paths learn from.
        steps: how.
        parameters: of the network that a genotype builds.
        seed: every stream of random numbers derives from it.
        epoch: passes done, the warm-up included.
        histories: of each path, by canonical form, the accuracy in each epoch that measured it.
    """

    space: RelaxableSpace
    supernet: nn.Module
    optimizer: torch.optim.SGD
    data: PathData
    steps: PathSteps
    parameters: Callable[[Genotype], int]
    seed: int
    epoch: int = 0
    histories: dict[Genotype, list[Sample]] = field(default_factory=dict)
    _sizes: dict[Genotype, float] = field(default_factory=dict, init=False, repr=False)

    def warm_up_epoch(self, tell: Tell) -> float | None:
        """One epoch on paths drawn uniformly; as `train_epoch`."""
        epoch, rng = self.epoch + 1, numpy_generator(self.seed, "warm-up", self.epoch + 1)
        loads = self.data.batches(epoch, self.steps.population_size)
        return self._learn(loads, [random_genotype(self.space.choices, rng) for _ in loads], tell)

    def train_epoch(self, population: Sequence[Genotype], tell: Tell) -> float | None:
        """One epoch in which every path gets equally many batches, one path per batch, in a random order each round.

        Returns:
            The mean loss, as the weights changed; None if `tell` ended it, and then the weights are of no use.
        """
        epoch, rng = self.epoch + 1, numpy_generator(self.seed, "turns", self.epoch + 1)
        loads = self.data.batches(epoch, len(population))
        turns = np.concatenate([rng.permutation(len(population)) for _ in range(len(loads) // len(population))])
        return self._learn(loads, [population[turn] for turn in turns], tell)

    def _learn(self, loads: Sequence[Load], paths: Sequence[Genotype], tell: Tell) -> float | None:
        epoch = self.epoch + 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.steps.learning_rate_at(epoch)
        self.supernet.train()
        losses = []
        with torch_seed(self.seed, "shared weights", epoch, "layers"):
            for number, (load, path) in enumerate(zip(loads, paths, strict=True), start=1):
                losses.append(self.step(load(), path))
                if not tell(number, len(loads)):
                    return None
        self.epoch = epoch
        return float(torch.stack(losses).mean())

    def step(self, batch: Batch, path: Genotype) -> Tensor:
        """One step on the weights of one path; the others stay as they are. Returns the loss, detached."""
        loss = self.data.batch_loss(self.supernet, batch, self.space.one_hot(path))
        descend(self.supernet, loss, self.optimizer, self.steps.clip)
        return loss.detach()

    def __call__(self, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        """Measure each path of a generation with the weights as they are now; see `Evaluate`.

        Values are accuracy, loss, size (MB) and potential: the slope of the accuracies of the path over its epochs.
        Paths measured once have no slope and get the median of the generation, 0 if it has none.
        """
        measured = [self.measure(genotype) for genotype in genotypes]
        slopes = [potential(self.histories.get(canonical(self.space, genotype), ())) for genotype in genotypes]
        defined = [slope for slope in slopes if slope is not None]
        middle = statistics.median(defined) if defined else 0.0
        for one, slope in zip(measured, slopes, strict=True):
            values = one.values if one.failure else {**one.values, "potential": middle if slope is None else slope}
            yield Measurements(values, one.seconds, one.failure)

    def measure(self, genotype: Genotype) -> Measurements:
        """Accuracy, loss and size of one path, the first remembered; its failure, if it fails, is told, not raised."""
        started = time.perf_counter()
        try:
            accuracy, loss = self.data.judge(self.supernet, self.space.one_hot(genotype))
            values, failure = {"accuracy": accuracy, "loss": loss, "size": self.size(genotype)}, None
            self.remember(genotype, self.epoch, accuracy)
        except ArchimedError:
            raise
        except Exception as error:  # noqa: BLE001 - as in `TrainingFree.measure`
            values, failure = {}, reason_of(error)
        return Measurements(values, time.perf_counter() - started, failure)

    def remember(self, genotype: Genotype, epoch: int, accuracy: float) -> None:
        """Add to the history of a path."""
        self.histories.setdefault(canonical(self.space, genotype), []).append((epoch, accuracy))

    def size(self, genotype: Genotype) -> float:
        """Megabytes (2^20 bytes) of the parameters of the network that a genotype builds, at four bytes each."""
        form = canonical(self.space, genotype)
        if form not in self._sizes:
            self._sizes[form] = self.parameters(form) * BYTES_PER_PARAMETER / MEGABYTE
        return self._sizes[form]


def potential(history: Sequence[Sample]) -> float | None:
    """Slope of the least-squares line through (epoch, accuracy), per epoch; None of fewer than two epochs (EMARS)."""
    if len({epoch for epoch, _ in history}) < 2:
        return None
    epochs, accuracies = np.array(history, dtype=np.float64).T
    centred = epochs - epochs.mean()
    return float((centred * (accuracies - accuracies.mean())).sum() / (centred**2).sum())
