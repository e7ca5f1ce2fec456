"""Networks that begin with weights from a file: of a run, or of a network trained elsewhere, in any usual layout."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from archimed.errors import SettingsError

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "weights")  # under which files hold weights
PREFIX = re.compile(r"(module|model|network|net|backbone|encoder)\.")
CHILDREN = {
    "0": "conv1",
    "1": "bn1",
    "4": "layer1",
    "5": "layer2",
    "6": "layer3",
    "7": "layer4",
}  # of a ResNet, in order
COUNTER = "num_batches_tracked"  # of batch normalisations; older files lack it, and nothing depends on it
KINDS = "a .safetensors file, or weights that PyTorch saved (.pt, .pth)"


def load_initial_weights(network: nn.Module, path: Path, num_outputs: int) -> tuple[str, ...]:
    """Start a network from a file of the same architecture; returns the tensors that were kept as they were.

    Those are the tensors of the classifier, if it was made for other classes, which shows in nothing but their first
    dimension, or if the file has none.

    Raises:
        SettingsError: the file cannot be read, or another tensor is missing, left over or of another shape.
    """
    given = renamed(read_weights(path), network.state_dict())
    if fact := misfit(network, given, num_outputs):
        raise misfit_error(path, fact)
    own = network.state_dict()
    taken = [name for name in own if name in given and given[name].shape == own[name].shape]
    with torch.no_grad():
        for name in taken:
            own[name].copy_(given[name])
    return tuple(name for name in own if name not in taken and not name.endswith(COUNTER))


def misfit(network: nn.Module, given: Mapping[str, Tensor], num_outputs: int) -> str | None:
    """What forbids the network to begin with these tensors, in words; None if nothing does."""
    own = network.state_dict()
    head = head_of(own, num_outputs)
    for name, tensor in own.items():
        if name not in given:
            if name in head or name.endswith(COUNTER):
                continue
            return f"{name!r} is missing from the file"
        found, needed = tuple(given[name].shape), tuple(tensor.shape)
        other_classes = found and needed and found[1:] == needed[1:] and needed[0] == num_outputs
        if found != needed and not other_classes:
            return f"{name!r} has shape {found} in the file, {needed} in the network"
    left = next((name for name in given if name not in own), None)
    return None if left is None else f"the network has no {left!r}"


def misfit_error(path: Path, fact: str) -> SettingsError:
    """The one line for a file that does not fit."""
    channels = " (colour weights need --set data.channels=3)" if ", 3, " in fact and ", 1, " in fact else ""
    return SettingsError(
        f"training.initial_weights must fit the network tensor by tensor; in {path} {fact}. "
        f"Give weights of the same space, genotype and channels{channels}."
    )


def head_of(own: Mapping[str, Tensor], num_outputs: int) -> set[str]:
    """The tensors of the classifier: those of the last layer, if it has an output for each class."""
    layer = [*own][-1].rpartition(".")[0]
    names = {name for name in own if name.rpartition(".")[0] == layer}
    return names if all(own[name].shape[:1] == (num_outputs,) for name in names) else set()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by their names; nothing in it is executed.

    Raises:
        SettingsError: the file cannot be read, or holds no named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise SettingsError(
            f"training.initial_weights must be readable: {KINDS}; got {path} ({reason}). Give another file, such as "
            "the weights.safetensors of a run."
        ) from None
    while isinstance(content, dict) and (inner := next((k for k in WRAPPERS if isinstance(content.get(k), dict)), "")):
        content = content[inner]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise SettingsError(
            f"training.initial_weights must hold named tensors: {KINDS}; {path} holds none. Save the state_dict of the "
            "network."
        )
    return tensors


def renamed(given: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """The tensors under the names of the network, if theirs are those but for a wrapper's prefix or numbers.

    Files of networks that were wrapped say `module.conv1.weight`; the layers of a ResNet without its classifier are
    numbered where they were put in a row. Of all readings that one is taken which has the most names of the network.
    """
    wanted = set(own)
    readings = [dict(given)]
    while any(PREFIX.match(name) for name in readings[-1]):
        readings.append(
            {PREFIX.sub("", name, count=1) if PREFIX.match(name) else name: one for name, one in readings[-1].items()}
        )
    readings += [{numbered(name): one for name, one in reading.items()} for reading in readings]
    return max(readings, key=lambda reading: len(wanted & reading.keys()))


def numbered(name: str) -> str:
    """The name of a ResNet's layer from its number in a row."""
    number, dot, rest = name.partition(".")
    return f"{CHILDREN[number]}.{rest}" if dot and number in CHILDREN else name


def same_names(network: nn.Module, given: Mapping[str, Tensor], num_outputs: int) -> bool:
    """Whether all tensors but those of the classifier have the names of the network's, whatever their shapes."""
    own = network.state_dict()
    head = head_of(own, num_outputs)
    rest = {name for name in own if name not in head and not name.endswith(COUNTER)}
    return rest <= given.keys()
