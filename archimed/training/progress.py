"""What is known of a training after each epoch, and which epoch is the best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archimed.errors import ArchimedError
from archimed.task import LOWER_IS_BETTER


class TrainingError(ArchimedError):
    """A network that could not be trained: its loss was not a number before one epoch was complete."""


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes:
        epoch: counted from 1.
        learning_rate: during this epoch.
        train_loss: mean over the training images, as the network changed, by class weight if there are any.
        validation_loss: of the validation images after the epoch, by the same loss.
        validation: metrics of the validation images; None where undefined, e.g. an AUC of one class.
        seconds: wall-clock time of training and validation.
    """

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation: Mapping[str, float | None]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """One line of epochs.jsonl."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "EpochRecord":
        """Read back what `to_dict` gave."""
        return cls(**value)


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        best_epoch: whose weights were kept, counted from 1.
        epochs: all records, in order.
        seconds: wall-clock time of all epochs, over all interruptions.
        stopped_early: patience ended it before the last epoch of the recipe.
        cautions: what a reader of the results should know, in plain words.
        checkpoints: of each metric by which weights were kept the best epoch, the network's own first.
    """

    best_epoch: int
    epochs: tuple[EpochRecord, ...]
    seconds: float
    stopped_early: bool
    cautions: tuple[str, ...]
    checkpoints: Mapping[str, int]


def is_better(record: EpochRecord, best: EpochRecord, metric: str) -> bool:
    """Whether an epoch beats the best one before it: better metric, at a tie lower validation loss.

    An undefined metric ranks lowest; where it is undefined throughout, the validation loss decides.
    """
    return _rank(record, metric) > _rank(best, metric)


def best_of(records: Sequence[EpochRecord], metric: str) -> EpochRecord:
    """The best epoch of at least one, the earliest of equals."""
    best = records[0]
    for record in records[1:]:
        if is_better(record, best, metric):
            best = record
    return best


def _rank(record: EpochRecord, metric: str) -> tuple[float, float]:
    value = record.validation[metric]
    if value is None:
        return (float("-inf"), -record.validation_loss)
    return (-value if metric in LOWER_IS_BETTER else value, -record.validation_loss)
