"""Weights on disk as safetensors files."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from archimed.errors import RunError
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
