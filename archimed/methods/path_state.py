"""The state of an evolution of paths: shared weights and optimizer as tensors, all that was measured as text."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from archimed.candidate import Candidate
from archimed.evaluators.shared_weights import SharedWeights
from archimed.methods.search_folder import Kept, StateFiles, joined
from archimed.strategies.renewal import Renewal
from archimed.training.checkpoint import below, optimizer_tensors, restore_optimizer

Generation = tuple[Candidate, ...]


@dataclass
class PathState:
    """All that changes while paths evolve.

    Attributes:
        evaluator: shared weights, and the accuracies of every path.
        strategy: the survivors.
        generations: the candidates of each generation as measured, in order; the first follows the warm-up.
        records: one for each epoch, and one for each finalist.
        cautions: what a reader of the results should know.
    """

    evaluator: SharedWeights
    strategy: Renewal
    generations: list[Generation] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    @property
    def candidates(self) -> list[Candidate]:
        """Every measurement so far, in order."""
        return [candidate for generation in self.generations for candidate in generation]


@dataclass(frozen=True)
class PathFolder(StateFiles):
    """The files of one evolution of paths."""

    def save(self, state: PathState) -> None:
        """Write the state after an epoch; a crash at any instant leaves this state or the one before it."""
        evaluator = state.evaluator
        tensors = joined(supernet=evaluator.supernet.state_dict(), weights=optimizer_tensors(evaluator.optimizer))
        text = {
            "epoch": evaluator.epoch,
            "generations": [[asdict(candidate) for candidate in one] for one in state.generations],
            "histories": [[genotype, samples] for genotype, samples in evaluator.histories.items()],
            "records": state.records,
            "cautions": state.cautions,
        }
        self.write(tensors, text)

    def restore(self, make: Callable[[], PathState], say: Callable[[str], None]) -> PathState:
        """The state of the last usable checkpoint; a fresh one without any.

        Raises:
            RunError: the checkpoint belongs to another search.
        """
        return self.read(lambda kept: _restored(kept, make()), say) or make()


def _restored(kept: Kept, state: PathState) -> PathState:
    """A fresh state brought to where the checkpoint was; the strategy by being told the same again."""
    tensors, text = kept
    evaluator = state.evaluator
    evaluator.supernet.load_state_dict(below("supernet.", tensors))
    restore_optimizer(evaluator.optimizer, below("weights.", tensors))
    evaluator.epoch = text["epoch"]
    for genotype, samples in text["histories"]:
        evaluator.histories[tuple(genotype)] = [(epoch, accuracy) for epoch, accuracy in samples]
    state.records[:] = text["records"]
    state.cautions[:] = text["cautions"]
    for generation in text["generations"]:
        told = tuple(_candidate(record) for record in generation)
        if state.strategy.ask() != [candidate.genotype for candidate in told]:
            raise ValueError("the paths are not those that the settings ask for")
        state.strategy.tell(told)
        state.generations.append(told)
    return state


def _candidate(record: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**record, "genotype": tuple(record["genotype"])})
