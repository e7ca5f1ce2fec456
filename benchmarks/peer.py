"""Where the code of others lies that is timed beside ours, and zero-cost-nas as an arm; nothing of it is kept here."""

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from archimed.batch import Batch

FindMeasures = Callable[..., dict[str, float]]


def peer_folder(marker: str) -> Path | None:
    """The folder that holds a file of somebody's code: the one that PEER_DIR names, or one up to two below it."""
    root = os.environ.get("PEER_DIR")
    places = (place for level in ("", "*/", "*/*/") for place in sorted(Path(root or "").glob(level + marker)))
    found = next(places, None) if root else None
    return found and found.parents[marker.count("/")]


def load_peer() -> FindMeasures | str:
    """Its `find_measures`, or why it cannot be had."""
    folder = peer_folder("foresight/pruners/predictive.py")
    if folder is None:
        return "PEER_DIR names no folder with the public zero-cost-nas code, so its arms were skipped."
    sys.path.insert(0, str(folder))
    warnings.filterwarnings("ignore")
    find_measures: FindMeasures = importlib.import_module("foresight.pruners.predictive").find_measures
    return find_measures


def measure(find_measures: FindMeasures, network: nn.Module, batch: Batch, names: Sequence[str]) -> dict[str, float]:
    """Its values for a network, quietly."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        loader = [(batch.images, batch.target)]
        return find_measures(network, loader, ("random", 1, 2), torch.device("cpu"), measure_names=names)


def naswot_as_published(network: nn.Module, images: Tensor) -> float:
    """NASWOT v2 by the steps of its public code, which zero-cost-nas does not contain, in our words.

    A forward and a backward pass, then a forward pass whose ReLU modules add to a NumPy kernel.
    """
    images = images.clone().requires_grad_()
    logits = network(images)
    logits.backward(torch.ones_like(logits))
    kernel = np.zeros((len(images), len(images)))

    def add(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        nonlocal kernel
        codes = (inputs[0].detach().reshape(len(images), -1) > 0).float().numpy()
        kernel = kernel + codes @ codes.T + (1 - codes) @ (1 - codes.T)

    handles = [m.register_forward_hook(add) for m in network.modules() if isinstance(m, nn.ReLU)]
    network(images.detach().clone())
    for handle in handles:
        handle.remove()
    return float(np.linalg.slogdet(kernel)[1])
