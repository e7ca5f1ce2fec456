"""The state of a training in its folder, from which it goes on exactly as if it had never stopped.

    checkpoint.safetensors            after the last complete epoch: network, optimizer, best weights; records as text
    previous-checkpoint.safetensors   after the epoch before, should the last one be damaged
    epochs.jsonl                      one line per epoch, for people and reports
    weights.safetensors, training.json   once the training is complete; the checkpoints are then gone

Random numbers need no state: every epoch has its own stream (see `archimed.seeding`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from archimed.errors import RunError
from archimed.files import append_line, read_json, read_lines, write_json, write_text
from archimed.training.progress import EpochRecord, Training, TrainingError
from archimed.training.weights import load_weights, save_tensors

UNFINISHED = (".*.part", ".tmp??????")  # what a killed write leaves: by archimed.files, by safetensors


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed write left in a folder of states."""
    for pattern in UNFINISHED:
        for leftover in folder.glob(pattern):
            leftover.unlink()


@dataclass
class TrainingState:
    """All that changes while a network is trained."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    best: EpochRecord | None = None
    records: list[EpochRecord] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    def keep_weights(self) -> None:
        """Take the network's present weights as the best."""
        self.best = self.records[-1]
        self.best_weights = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}


@dataclass(frozen=True)
class StateFolder:
    """The files of one training.

    Attributes:
        path: the folder.
        fingerprint: of the settings and the network; files of another training are refused.
    """

    path: Path
    fingerprint: str

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        return self.path / "checkpoint.safetensors", self.path / "previous-checkpoint.safetensors"

    @property
    def _weights(self) -> Path:
        return self.path / "weights.safetensors"

    def save(self, state: TrainingState) -> None:
        """Write the state after an epoch; a crash at any instant leaves this state or the one before it."""
        current, previous = self._checkpoints
        tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
        if state.best is not state.records[-1]:  # else the best weights are the network's
            tensors |= {f"best.{name}": tensor for name, tensor in state.best_weights.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(state.optimizer).items()}
        text = {
            "fingerprint": self.fingerprint,
            "best_epoch": state.best.epoch if state.best else None,
            "records": [record.to_dict() for record in state.records],
            "cautions": state.cautions,
        }
        if current.exists():
            current.replace(previous)
        save_tensors(current, tensors, {"state": json.dumps(text)})
        append_line(self.path / "epochs.jsonl", state.records[-1].to_dict())

    def restore(self, state: TrainingState, warn: Callable[[str], None]) -> None:
        """Put the state of the last usable checkpoint into `state`, and make epochs.jsonl agree with it.

        Without one, `state` stays as it is: the training starts anew.

        Raises:
            RunError: the checkpoint belongs to another training.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.path)
        for checkpoint in self._checkpoints:
            if not checkpoint.exists():
                continue
            try:
                self._restore_from(checkpoint, state)
                break
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                warn(f"A checkpoint is damaged and was passed over: {checkpoint} ({error}).")
        self._write_records(state.records)

    def _restore_from(self, checkpoint: Path, state: TrainingState) -> None:
        with safe_open(checkpoint, framework="pt") as file:
            text = json.loads(file.metadata()["state"])
            self._check(text["fingerprint"], checkpoint)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        records = [EpochRecord.from_dict(record) for record in text["records"]]
        best_epoch = text["best_epoch"]
        state.network.load_state_dict(below("network.", tensors))
        restore_optimizer(state.optimizer, below("optimizer.", tensors))
        state.best_weights = below("best.", tensors) or below("network.", tensors)
        state.records[:] = records
        state.cautions[:] = text["cautions"]
        state.best = None if best_epoch is None else records[best_epoch - 1]

    def finish(self, state: TrainingState, stopped_early: bool, failure: str | None) -> None:
        """Write the result, then remove the checkpoints."""
        if state.best_weights:
            save_tensors(self._weights, state.best_weights, {})
        self._write_records(state.records)
        result = {
            "fingerprint": self.fingerprint,
            "best_epoch": state.best.epoch if state.best else None,
            "seconds": sum(record.seconds for record in state.records),
            "stopped_early": stopped_early,
            "cautions": state.cautions,
            "failure": failure,
        }
        write_json(self.path / "training.json", result)
        self._remove_checkpoints()

    def finished(self, network: nn.Module) -> Training | None:
        """The result of a training that was completed here, its best weights put into the network; else None.

        Raises:
            TrainingError: it was completed by failing.
            RunError: it belongs to another training.
        """
        marker = self.path / "training.json"
        if not marker.exists():
            return None
        result = read_json(marker)
        self._check(result["fingerprint"], marker)
        self._remove_checkpoints()  # should the process have been killed just before it did
        if result["best_epoch"] is None:
            raise TrainingError(result["failure"])
        if not self._weights.exists():
            return None
        load_weights(network, self._weights)
        records = tuple(EpochRecord.from_dict(line) for line in read_lines(self.path / "epochs.jsonl"))
        return Training(
            result["best_epoch"], records, result["seconds"], result["stopped_early"], tuple(result["cautions"])
        )

    def _remove_checkpoints(self) -> None:
        for checkpoint in self._checkpoints:
            checkpoint.unlink(missing_ok=True)

    def _write_records(self, records: list[EpochRecord]) -> None:
        lines = [json.dumps(record.to_dict(), allow_nan=False) + "\n" for record in records]
        write_text(self.path / "epochs.jsonl", "".join(lines))

    def _check(self, fingerprint: str, path: Path) -> None:
        if fingerprint != self.fingerprint:
            raise RunError(
                f"A training resumes with the settings it began with; {path} was written with others. "
                "Restore the settings or choose a new output folder."
            )


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, by `<parameter>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": value for index, values in state.items() for key, value in values.items() if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer back what `optimizer_tensors` told."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", maxsplit=1)
        like = parameters[int(index)]
        placed = tensor
        if (
            tensor.shape == like.shape
        ):  # averages lie in memory as their weights do, or the fused step pairs them wrongly
            placed = torch.empty_like(like, requires_grad=False).copy_(tensor)
        values.setdefault(int(index), {})[key] = placed
    optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
