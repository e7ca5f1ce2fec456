"""The state of a bilevel search: supernet, alpha and both optimizers as tensors, the records of epochs as text."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from archimed.methods.search_folder import Kept, StateFiles, joined
from archimed.strategies.bilevel import Learner, Memory
from archimed.training.checkpoint import below, optimizer_tensors, restore_optimizer


@dataclass(frozen=True)
class SearchEpoch:
    """One epoch of a bilevel search; its fields are a line of search/epochs.jsonl.

    Attributes:
        epoch: counted from 1.
        learning_rate: of the weights.
        batch_size: images of each half per step.
        weight_loss: mean over the weight half, as the weights changed.
        architecture_loss: mean over the steps on alpha; None in the warm-up.
        validation_loss: of the supernet on the validation images, after the epoch.
        validation: metrics of the same; None where undefined.
        skip_share: mean weight of the skip connection in the mixture.
        zero_share: mean weight of the zero operation in the mixture.
        entropy: mean entropy of the choices; 1 where all options weigh the same. Without the kinds of cell.
        kind_entropy: the same of the choices between kinds of cell, where there are any.
        skips: skip connections of the derived normal cell.
        alpha: of each mixed choice, after the epoch.
        architecture: what the steps on alpha tell beside their loss.
        complete: False if the time budget ended it.
        seconds: wall-clock time, validation included.
    """

    epoch: int
    learning_rate: float
    batch_size: int
    weight_loss: float
    architecture_loss: float | None
    validation_loss: float
    validation: Mapping[str, float | None]
    skip_share: float
    zero_share: float
    entropy: float
    skips: int
    alpha: Mapping[str, list[float]]
    complete: bool
    seconds: float
    kind_entropy: float | None = None
    architecture: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """One line of epochs.jsonl."""
        return asdict(self)


@dataclass
class SearchState:
    """All that changes while a supernet and its alpha learn.

    Attributes:
        learner: supernet, alpha and optimizers.
        memory: how the supernet is computed.
        batch_size: images of each half per step; halved once where memory ran out.
        records: the epochs so far.
        cautions: what a reader of the results should know.
    """

    learner: Learner
    memory: Memory
    batch_size: int
    records: list[SearchEpoch] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)


MakeState = Callable[[Memory | None, int | None], SearchState]  # fresh: of this memory and batch size, if told


@dataclass(frozen=True)
class SearchFolder(StateFiles):
    """The files of one bilevel search."""

    def save(self, state: SearchState) -> None:
        """Write the state after an epoch; a crash at any instant leaves this state or the one before it."""
        learner = state.learner
        tensors = joined(
            supernet=learner.supernet.state_dict(),
            alpha=learner.alpha,
            weights=optimizer_tensors(learner.weights),
            architecture=optimizer_tensors(learner.architecture.optimizer),
        )
        text = {
            "memory": state.memory,
            "batch_size": state.batch_size,
            "records": [record.to_dict() for record in state.records],
            "cautions": state.cautions,
        }
        self.write(tensors, text)

    def restore(self, make: MakeState, say: Callable[[str], None]) -> SearchState:
        """The state of the last usable checkpoint; a fresh one without any.

        Raises:
            RunError: the checkpoint belongs to another search.
        """
        return self.read(lambda kept: _restored(kept, make), say) or make(None, None)


def _restored(kept: Kept, make: MakeState) -> SearchState:
    tensors, text = kept
    state = make(text["memory"], text["batch_size"])
    learner = state.learner
    learner.supernet.load_state_dict(below("supernet.", tensors))
    for name, numbers in below("alpha.", tensors).items():
        learner.alpha[name].data.copy_(numbers)
    restore_optimizer(learner.weights, below("weights.", tensors))
    restore_optimizer(learner.architecture.optimizer, below("architecture.", tensors))
    state.records[:] = [SearchEpoch(**record) for record in text["records"]]
    state.cautions[:] = text["cautions"]
    return state
