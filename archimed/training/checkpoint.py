"""The state of a training in its folder, from which it goes on exactly as if it had never stopped.

    checkpoint.safetensors            after the last complete epoch: network, optimizer, best weights; records as text
    previous-checkpoint.safetensors   after the epoch before, should the last one be damaged
    epochs.jsonl                      one line per epoch, for people and reports
    weights.safetensors, training.json   once the training is complete; the checkpoints are then gone
    weights.epoch<n>.safetensors      where another checkpoint metric has another best epoch

Random numbers need no state: every epoch has its own stream (see `archimed.seeding`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from archimed.errors import RunError
from archimed.files import append_line, read_json, read_lines, write_json, write_text
from archimed.training.progress import EpochRecord, Training, TrainingError, is_better
from archimed.training.weights import load_weights, save_tensors

UNFINISHED = (".*.part", ".tmp??????")  # what a killed write leaves: by archimed.files, by safetensors


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed write left in a folder of states."""
    for pattern in UNFINISHED:
        for leftover in folder.glob(pattern):
            leftover.unlink()


@dataclass
class TrainingState:
    """All that changes while a network is trained.

    `best` has the best epoch of each checkpoint metric, `kept` the weights of each of these epochs by its number;
    `parts` is in how many parts a batch fits into memory.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    best: dict[str, EpochRecord] = field(default_factory=dict)
    kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    records: list[EpochRecord] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    parts: int = 1

    @property
    def own(self) -> EpochRecord | None:
        """The best epoch by the first metric, which gives the network; None before any."""
        return next(iter(self.best.values()), None)

    def keep_weights(self, metrics: Sequence[str]) -> None:
        """Keep the network's weights where the last epoch is the best by some metric; forget those of no metric."""
        last = self.records[-1]
        for metric in metrics:
            if metric not in self.best or is_better(last, self.best[metric], metric):
                self.best[metric] = last
        epochs = {record.epoch for record in self.best.values()}
        self.kept = {epoch: weights for epoch, weights in self.kept.items() if epoch in epochs}
        if last.epoch in epochs:
            self.kept[last.epoch] = {name: one.detach().clone() for name, one in self.network.state_dict().items()}

    def told(self) -> dict[str, Any]:
        """What another process goes on with from here (`take`)."""
        return {
            "network": {name: tensor.cpu() for name, tensor in self.network.state_dict().items()},
            "optimizer": {name: tensor.cpu() for name, tensor in optimizer_tensors(self.optimizer).items()},
            "best": dict(self.best),
            "records": list(self.records),
            "parts": self.parts,
        }

    def take(self, told: Mapping[str, Any]) -> None:
        """Go on from what another process told."""
        self.network.load_state_dict(told["network"])
        restore_optimizer(self.optimizer, told["optimizer"])
        self.best, self.parts = told["best"], told["parts"]
        self.records[:] = told["records"]


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

    def save(self, state: TrainingState) -> None:
        """Write the state after an epoch; a crash at any instant leaves this state or the one before it."""
        current, previous = self._checkpoints
        tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
        for epoch, weights in state.kept.items():
            if epoch != state.records[-1].epoch:  # else they are the network's
                tensors |= {f"kept.{epoch}.{name}": tensor for name, tensor in weights.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(state.optimizer).items()}
        text = {
            "fingerprint": self.fingerprint,
            "best": {metric: record.epoch for metric, record in state.best.items()},
            "records": [record.to_dict() for record in state.records],
            "cautions": state.cautions,
            "parts": state.parts,
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
        best = {metric: records[epoch - 1] for metric, epoch in text["best"].items()}
        state.network.load_state_dict(below("network.", tensors))
        restore_optimizer(state.optimizer, below("optimizer.", tensors))
        epochs = {record.epoch for record in best.values()}
        state.kept = {epoch: below(f"kept.{epoch}.", tensors) or below("network.", tensors) for epoch in epochs}
        state.records[:] = records
        state.cautions[:] = text["cautions"]
        state.best = best
        state.parts = text.get("parts", 1)  # which states of older versions lack

    def finish(self, state: TrainingState, stopped_early: bool, failure: str | None) -> None:
        """Write the result, then remove the checkpoints."""
        own = state.own.epoch if state.own else None
        for epoch, weights in state.kept.items():
            save_tensors(self.path / weights_name(epoch, own), weights, {})
        self._write_records(state.records)
        result = {
            "fingerprint": self.fingerprint,
            "best_epoch": own,
            "checkpoints": {metric: record.epoch for metric, record in state.best.items()},
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
        own, checkpoints = result["best_epoch"], result["checkpoints"]
        if not all((self.path / weights_name(epoch, own)).exists() for epoch in {own, *checkpoints.values()}):
            return None
        load_weights(network, self.path / weights_name(own, own))
        records = tuple(EpochRecord.from_dict(line) for line in read_lines(self.path / "epochs.jsonl"))
        cautions = tuple(result["cautions"])
        return Training(own, records, result["seconds"], result["stopped_early"], cautions, checkpoints)

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


def weights_name(epoch: int, own: int | None) -> str:
    """The file of an epoch's weights: of the network's own epoch the one that everybody looks for."""
    return "weights.safetensors" if epoch == own else f"weights.epoch{epoch}.safetensors"


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
