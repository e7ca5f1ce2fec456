"""Spreads the genotypes of a population over workers: this process, others, or those of a cluster."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

from archimed.candidate import Measurements
from archimed.evaluators.protocol import Evaluate
from archimed.genotype import Genotype
from archimed.workers import Crew, Lost, spread
from archimed.workers.limits import OUT_OF_MEMORY
from archimed.workers.spreading import Answers

MakeEvaluate = Callable[[], Evaluate]


@contextmanager
def spread_candidates(
    make_evaluate: MakeEvaluate, crew: Crew, threads: int, *, gpu: bool = False
) -> Iterator[Evaluate]:
    """An evaluator that measures on several workers, in order, with the same results for any number of them.

    A candidate whose worker died twice, or that took too long, is told as a failure with its reason; one that had too
    little memory is tried once more by a fresh worker, as those before it may have left it less.

    Args:
        make_evaluate: makes the evaluator of one worker, importable and picklable (see `archimed.workers.spread`).
        crew: who measures, and what one candidate may take.
        threads: PyTorch threads of each.
        gpu: whether each worker of a cluster needs a GPU.

    Raises:
        SettingsError: as `archimed.workers.spread`.
    """
    with spread(partial(OneByOne.made, make_evaluate), crew, threads, gpu=gpu, spent=is_spent) as answers:
        yield partial(_measured, answers)


@dataclass(frozen=True)
class OneByOne:
    """An evaluator as the work on one genotype."""

    evaluate: Evaluate

    @classmethod
    def made(cls, make_evaluate: MakeEvaluate) -> "OneByOne":
        """Make the evaluator here."""
        return cls(make_evaluate())

    def __call__(self, genotype: Genotype) -> Measurements:
        """Measure one genotype."""
        return next(iter(self.evaluate([genotype])))


def is_spent(measured: Measurements) -> bool:
    """Whether a candidate failed for want of memory."""
    return measured.failure is not None and measured.failure.startswith(OUT_OF_MEMORY)


def _measured(
    answers: Answers[Genotype, Measurements], genotypes: Sequence[Genotype]
) -> Generator[Measurements, None, None]:
    with closing(answers(genotypes)) as found:
        for answer in found:
            yield Measurements({}, answer.seconds, answer.reason) if isinstance(answer, Lost) else answer
