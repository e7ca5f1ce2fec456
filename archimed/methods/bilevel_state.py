"""The state of a search that learns, in its folder, from which it goes on exactly as if it had never stopped.

    checkpoint.safetensors            after the last complete epoch: supernet, alpha, both optimizers; records as text
    previous-checkpoint.safetensors   after the epoch before, should the last one be damaged
    finished.json                     once the search is complete; the checkpoints are then gone

Random numbers need no state: every epoch has its own streams (see `archimed.seeding`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from archimed.errors import RunError
from archimed.files import read_json, write_json
from archimed.strategies.bilevel import Learner, Memory
from archimed.training.checkpoint import below, optimizer_tensors, remove_unfinished, restore_optimizer
from archimed.training.weights import save_tensors

FORM_ERRORS = (SafetensorError, OSError, ValueError, KeyError, TypeError)


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
class SearchFolder:
    """The files of one search.

    Attributes:
        path: the folder.
        fingerprint: of settings, choices and cases; files of another search are refused.
    """

    path: Path
    fingerprint: str

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        return self.path / "checkpoint.safetensors", self.path / "previous-checkpoint.safetensors"

    def save(self, state: SearchState) -> None:
        """Write the state after an epoch; a crash at any instant leaves this state or the one before it."""
        current, previous = self._checkpoints
        learner = state.learner
        tensors: dict[str, Tensor] = {}
        for name, part in (
            ("supernet", learner.supernet.state_dict()),
            ("alpha", learner.alpha),
            ("weights", optimizer_tensors(learner.weights)),
            ("architecture", optimizer_tensors(learner.architecture)),
        ):
            tensors |= {f"{name}.{key}": tensor for key, tensor in part.items()}
        text = {
            "fingerprint": self.fingerprint,
            "memory": state.memory,
            "batch_size": state.batch_size,
            "records": [record.to_dict() for record in state.records],
            "cautions": state.cautions,
        }
        if current.exists():
            current.replace(previous)
        save_tensors(current, tensors, {"state": json.dumps(text, allow_nan=False)})

    def restore(self, make: MakeState, say: Callable[[str], None]) -> SearchState:
        """The state of the last usable checkpoint; a fresh one without any.

        Raises:
            RunError: the checkpoint belongs to another search.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.path)
        for checkpoint in self._checkpoints:
            if not checkpoint.exists():
                continue
            try:
                return self._restored(checkpoint, make)
            except FORM_ERRORS as error:
                say(f"A state of the search is damaged and was passed over: {checkpoint} ({error}).")
        return make(None, None)

    def _restored(self, checkpoint: Path, make: MakeState) -> SearchState:
        with safe_open(checkpoint, framework="pt") as file:
            text = json.loads(file.metadata()["state"])
            self._check(text["fingerprint"], checkpoint)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        state = make(text["memory"], text["batch_size"])
        learner = state.learner
        learner.supernet.load_state_dict(below("supernet.", tensors))
        for name, numbers in below("alpha.", tensors).items():
            learner.alpha[name].data.copy_(numbers)
        restore_optimizer(learner.weights, below("weights.", tensors))
        restore_optimizer(learner.architecture, below("architecture.", tensors))
        state.records[:] = [SearchEpoch(**record) for record in text["records"]]
        state.cautions[:] = text["cautions"]
        return state

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, then remove the checkpoints."""
        write_json(self.path / "finished.json", {"fingerprint": self.fingerprint, **result})
        self._remove_checkpoints()

    def finished(self) -> dict[str, Any] | None:
        """The result of a search that was completed here; None if none was.

        Raises:
            RunError: it belongs to another search.
        """
        marker = self.path / "finished.json"
        if not marker.exists():
            return None
        result: dict[str, Any] = read_json(marker)
        self._check(result["fingerprint"], marker)
        self._remove_checkpoints()  # should the process have been killed just before it did
        return result

    def _remove_checkpoints(self) -> None:
        for checkpoint in self._checkpoints:
            checkpoint.unlink(missing_ok=True)

    def _check(self, fingerprint: str, path: Path) -> None:
        if fingerprint != self.fingerprint:
            raise RunError(
                f"A search resumes with the settings it began with; {path} was written with others. "
                "Restore the settings or choose a new output folder."
            )
