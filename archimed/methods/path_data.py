"""What the paths of a supernet learn from: most of the training cases; the others, held out by patient, judge them."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any

from torch import Tensor, nn

from archimed.batch import Batch
from archimed.data.dataset import Subset
from archimed.data.halves import held_out
from archimed.evaluators.shared_weights import Load
from archimed.methods.bilevel_data import Cases, orders
from archimed.strategies.mixtures import Mixture
from archimed.training.statistics import statistics_of
from archimed.training.steps import NormalisedImages, batches

SCORES = ("accuracy", "label_accuracy")  # the second of labels, of which each image has any number


@dataclass(frozen=True, kw_only=True)
class PathCases(Cases):
    """The cases of one problem; its validation cases have no part in the evolution of paths.

    Attributes:
        batch_size: images per step.
        fraction: of the training cases that judge.
        most: of the cases that judge, about; None for no limit.
        rounds: batches of each path in an epoch; None for as many as show every case once.
        statistics: cases that the weights learn from, about, whose features a path is normalised by when it is judged;
            0 takes the averages of the supernet, of all paths.
    """

    batch_size: int
    fraction: float
    most: int | None = None
    rounds: int | None = None
    statistics: int = 0

    @cached_property
    def cases(self) -> tuple[Subset, Subset]:
        """The cases that the weights learn from, and those that judge paths."""
        problem = self.problem
        limit = 1.0 if self.most is None else self.most / len(problem.train)
        fraction = min(self.fraction, limit)
        return held_out(problem.train, problem.patients, problem.task, problem.seed, "paths", fraction)

    @cached_property
    def parts(self) -> tuple[NormalisedImages, NormalisedImages]:
        """The images that the weights learn from, and those that judge paths."""
        problem = self.problem
        learnt, judging = (NormalisedImages(part, problem.normalise, problem.machine) for part in self.cases)
        return learnt, judging

    @property
    def sizes(self) -> tuple[int, int]:
        """Images that the weights learn from, and that judge paths."""
        return len(self.cases[0]), len(self.cases[1])

    def identity(self) -> Mapping[str, Any]:
        """What must be the same for a search to go on, as JSON."""
        return {"cases": [self.problem.train.ids, self.problem.validation.ids]}

    def batches(self, epoch: int, least: int) -> Sequence[Load]:
        """Rounds of `least` batches; every pass over the cases in an order of its own."""
        size = self.sizes[0]
        passes = orders(self.problem.seed, size, epoch, "paths", self.batch_size)
        first = list(next(passes))
        count = least * (self.rounds or -(-len(first) // least))
        cases = islice(chain(first, chain.from_iterable(passes)), count)
        return [partial(self._batch, some) for some in cases]

    def _batch(self, cases: Tensor) -> Batch:
        return Batch(*self.parts[0].batch(cases))

    @cached_property
    def _statistics(self) -> list[Tensor]:
        """Batches of cases, the same throughout a search."""
        count = min(self.statistics, self.sizes[0])
        order = next(orders(self.problem.seed, self.sizes[0], 0, "statistics", max(count, 1)))
        return list(batches(next(order), self.batch_size)) if count else []

    def judge(self, supernet: nn.Module, mixture: Mixture) -> tuple[float, float]:
        """Accuracy (of labels the share that is right) and mean loss on the cases held out."""

        def run(cases: Tensor) -> None:
            supernet(self._batch(cases).images, mixture)

        passes = [partial(run, cases) for cases in self._statistics]
        with statistics_of(supernet, passes) if passes else nullcontext():
            loss, measured = self.judged(supernet, mixture, self.parts[1])
        accuracy = next((measured[name] for name in SCORES if measured.get(name) is not None), None)
        if accuracy is None:
            raise ValueError("the accuracy is undefined on the cases held out")
        return accuracy, float(loss)
