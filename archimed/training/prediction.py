"""Probabilities of a trained network."""

from collections.abc import Callable
from math import prod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.task import TaskKind
from archimed.training.machine import Machine

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
    """Logits of raw images on the CPU, float32, in eval mode; at most `batch_size` images are normalised at a time."""
    machine.place_network(network)
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            parts = torch.arange(len(images)).split(_at_once(images, batch_size))
            logits = [network(machine.place_images(normalise(taken(images, rows)))).cpu() for rows in parts]
    finally:
        network.train(training)
    return torch.cat(logits).float()


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
