"""Weights on disk: safetensors files, and starting a network from one."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from archimed.errors import RunError, SettingsError
from archimed.files import write_through


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write named tensors and text to a safetensors file, atomically.

    Raises:
        OSError: the disk is full, or another fault of the file system.
    """
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def write(temporary: Path) -> None:
        try:
            save_file(content, temporary, metadata)
        except SafetensorError as error:  # the library tells the system's error in words only
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
            raise

    write_through(path, write)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a network's own weights.

    Raises:
        RunError: the file is missing or damaged, or of another network.
    """
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise RunError(f"Weights cannot be read: {path} ({error}). Delete the file and resume the run.") from None
    except RuntimeError:
        raise RunError(f"Weights of another network: {path}. Delete its folder and resume the run.") from None


def load_initial_weights(network: nn.Module, path: Path, num_outputs: int) -> tuple[str, ...]:
    """Start a network from a file of the same architecture; returns the tensors that were kept as they were.

    Those are the tensors of the classifier if it was made for another number of classes, which shows in nothing
    but their first dimension.

    Raises:
        SettingsError: the file cannot be read, or another tensor is missing, left over or of another shape.
    """
    given = _read_initial(path)
    own = network.state_dict()
    kept = []
    for name, tensor in own.items():
        if name not in given:
            raise _misfit(path, f"{name!r} is missing from the file")
        found, needed = tuple(given[name].shape), tuple(tensor.shape)
        if found == needed:
            continue
        if not (found and needed and found[1:] == needed[1:] and needed[0] == num_outputs):
            raise _misfit(path, f"{name!r} has shape {found} in the file, {needed} in the network")
        kept.append(name)
    if left := [name for name in given if name not in own]:
        raise _misfit(path, f"the network has no {left[0]!r}")
    with torch.no_grad():
        for name in own.keys() - set(kept):
            own[name].copy_(given[name])
    return tuple(kept)


def _read_initial(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SettingsError(
            f"training.initial_weights must be a readable .safetensors file; got {path} ({error}). "
            "Give the weights.safetensors of a run."
        ) from None
    return tensors


def _misfit(path: Path, fact: str) -> SettingsError:
    return SettingsError(
        f"training.initial_weights must fit the network tensor by tensor; in {path} {fact}. "
        "Give weights of the same space, genotype and channels."
    )
