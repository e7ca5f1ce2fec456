"""The state of a search that learns, in its folder, from which it goes on exactly as if it had never stopped.

    checkpoint.safetensors            after the last complete epoch: weights and optimizers; all else as text
    previous-checkpoint.safetensors   after the epoch before, should the last one be damaged
    finished.json                     once the search is complete; the checkpoints are then gone

Random numbers need no state: every epoch has its own streams (see `archimed.seeding`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from archimed.errors import RunError
from archimed.files import read_json, write_json
from archimed.training.checkpoint import remove_unfinished
from archimed.training.weights import save_tensors

FORM_ERRORS = (SafetensorError, OSError, ValueError, KeyError, TypeError)
Kept = tuple[dict[str, Tensor], dict[str, Any]]  # tensors and text of a checkpoint
State = TypeVar("State")


@dataclass(frozen=True)
class StateFiles:
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

    def write(self, tensors: Mapping[str, Tensor], text: Mapping[str, Any]) -> None:
        """Keep a state; a crash at any instant leaves this one or the one before it."""
        current, previous = self._checkpoints
        if current.exists():
            current.replace(previous)
        told = json.dumps({"fingerprint": self.fingerprint, **text}, allow_nan=False)
        save_tensors(current, dict(tensors), {"state": told})

    def read(self, restored: Callable[[Kept], State], say: Callable[[str], None]) -> State | None:
        """What `restored` makes of the last usable checkpoint; None without any.

        Raises:
            RunError: the checkpoint belongs to another search.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.path)
        for checkpoint in self._checkpoints:
            if not checkpoint.exists():
                continue
            try:
                return restored(self._kept(checkpoint))
            except FORM_ERRORS as error:
                say(f"A state of the search is damaged and was passed over: {checkpoint} ({error}).")
        return None

    def _kept(self, checkpoint: Path) -> Kept:
        with safe_open(checkpoint, framework="pt") as file:
            text = json.loads(file.metadata()["state"])
            self._check(text["fingerprint"], checkpoint)
            return {name: file.get_tensor(name) for name in file.keys()}, text  # noqa: SIM118 (not a mapping)

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


def joined(**parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of several parts in one mapping, by `<part>.<name>`."""
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
