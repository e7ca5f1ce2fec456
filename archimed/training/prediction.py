"""Probabilities of a trained network."""

import math
from collections.abc import Callable, Iterator
from math import prod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.task import TaskKind
from archimed.training.machine import Machine
from archimed.workers.limits import is_out_of_memory

VALUES_AT_ONCE = 2**22  # of images in one forward pass

Normalise = Callable[[Tensor], Tensor]  # raw images as stored -> float32, each pixel by itself


def predict(
    network: nn.Module,
    images: Shaped[Tensor, "case channel *space"] | Arrays,
    normalise: Normalise,
    task_kind: TaskKind,
    machine: Machine,
    *,
    batch_size: int = 256,
) -> Float[Tensor, "case class *space"]:
    """Probabilities of raw images: softmax over the classes, or a sigmoid per label of a multi-label task.

    Always float32 and in eval mode; the network is moved to the machine and its mode is left as found.
    """
    with machine.session():
        return probabilities(predict_logits(network, images, normalise, machine, batch_size), task_kind)


def predict_logits(
    network: nn.Module,
    images: Shaped[Tensor, "case channel *space"] | Arrays,
    normalise: Normalise,
    machine: Machine,
    batch_size: int,
) -> Float[Tensor, "case output *space"]:
    """Logits of raw images on the CPU, float32, in eval mode.

    At most `batch_size` images are normalised at a time, fewer if they do not fit into memory.
    """
    machine.place_network(network)
    training, at_once = network.training, _at_once(images, batch_size)
    network.eval()
    try:
        with torch.inference_mode():
            while True:
                try:
                    return torch.cat(list(_logits(network, images, normalise, machine, at_once))).float()
                except (RuntimeError, MemoryError) as error:
                    if at_once == 1 or not is_out_of_memory(error):
                        raise
                at_once = math.ceil(at_once / 2)
    finally:
        network.train(training)


def _logits(
    network: nn.Module, images: Tensor | Arrays, normalise: Normalise, machine: Machine, at_once: int
) -> Iterator[Tensor]:
    for rows in torch.arange(len(images)).split(at_once):
        yield network(machine.place_images(normalise(taken(images, rows)))).cpu()


def taken(images: Tensor | Arrays, rows: Tensor) -> Tensor:
    """Some consecutive images."""
    return images.take(rows) if isinstance(images, Arrays) else images[int(rows[0]) : int(rows[-1]) + 1]


def _at_once(images: Tensor | Arrays, batch_size: int) -> int:
    """How many images to predict at once: `batch_size`, fewer of large ones, whose activations would fill memory."""
    shape = images.shape if isinstance(images, Arrays) else images.shape[1:]
    return max(1, min(batch_size, VALUES_AT_ONCE // max(1, prod(shape or ()))))


def probabilities(logits: Float[Tensor, "case output *space"], task_kind: TaskKind) -> Tensor:
    """Logits as probabilities of classes, which add to 1, or of labels, each by itself."""
    return logits.sigmoid() if task_kind == "multi-label" else logits.softmax(1)
