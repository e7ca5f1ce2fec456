"""The end of a search by weight sharing: the best paths are trained by themselves for a while, and one is chosen."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from archimed.candidate import Candidate
from archimed.evaluation.metrics import metrics
from archimed.genotype import describe
from archimed.methods.protocol import SearchProblem
from archimed.seeding import derive_seed, torch_seed
from archimed.spaces.protocol import RelaxableSpace
from archimed.task import LOWER_IS_BETTER
from archimed.training.loop import train
from archimed.training.progress import EpochRecord, TrainingError, best_of
from archimed.training.recipe import Recipe, checkpoint_metric


@dataclass(frozen=True)
class ShortTraining:
    """Trains paths by the recipe of the run, for a few epochs; the validation cases judge.

    Attributes:
        space: builds the networks.
        problem: what may be seen of the data.
        recipe: of the run; its epochs are replaced.
        epochs: of each training.
        folder: where trainings keep their state.
        shared: the supernet whose weights they begin with; None for weights of their own.
    """

    space: RelaxableSpace
    problem: SearchProblem
    recipe: Recipe
    epochs: int
    folder: Path
    shared: nn.Module | None = None

    @property
    def metric(self) -> str:
        """What chooses epoch and network."""
        return checkpoint_metric(self.recipe, self.problem.task.kind)

    def train(
        self, candidate: Candidate, rank: int, on_epoch: Callable[[EpochRecord], None], say: Callable[[str], None]
    ) -> dict[str, Any]:
        """Train one finalist, or go on where an attempt was cut off; what came of it, for the log."""
        problem = self.problem
        told = {
            "finalist": rank,
            "generation": candidate.generation,
            "genotype": describe(candidate.genotype, self.space.choices),
            "shared": dict(candidate.measurements),
        }
        recipe = replace(
            self.recipe, epochs=self.epochs, initial_weights=None, members=1, checkpoint_metric=self.metric
        )
        seed = derive_seed(problem.seed, "short training")
        with torch_seed(problem.seed, "short training", candidate.genotype):
            network = self.space.build(candidate.genotype, problem.task)
        if self.shared is not None:
            self.space.inherit(self.shared, candidate.genotype, network)
        try:
            training = train(
                network,
                problem.train,
                problem.validation,
                problem.normalise,
                task=problem.task,
                recipe=recipe,
                seed=seed,
                machine=problem.machine,
                state_folder=self.folder / f"finalist{rank}",
                on_epoch=on_epoch,
                validation_metrics=lambda target, scores: metrics(problem.task, target, scores),
                warn=say,
            )
        except TrainingError as error:
            return told | {"failure": str(error), "seconds": 0.0}
        best = best_of(training.epochs, self.metric)
        return told | {
            "best_epoch": best.epoch,
            "validation_loss": best.validation_loss,
            "validation": dict(best.validation),
            "seconds": training.seconds,
        }


def choose(records: Sequence[Mapping[str, Any]], metric: str) -> Mapping[str, Any] | None:
    """The finalist of the best validation metric, of equals that of the lower loss, then the earlier; None of none."""
    trained = [record for record in records if "failure" not in record]

    def rank(record: Mapping[str, Any]) -> tuple[float, float]:
        value = record["validation"][metric]
        signed = -math.inf if value is None else -value if metric in LOWER_IS_BETTER else value
        return signed, -record["validation_loss"]

    return max(trained, key=rank, default=None)
