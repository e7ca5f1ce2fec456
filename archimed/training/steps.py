"""One step of training and what it is fed: the optimizer, batches, normalised images."""

from collections.abc import Callable, Iterator
from itertools import chain
from math import prod
from typing import Protocol

import psutil
import torch
from torch import Tensor, nn

from archimed.batch import target_loss
from archimed.data.arrays import Arrays
from archimed.errors import SettingsError
from archimed.training.machine import Machine
from archimed.training.prediction import Normalise
from archimed.training.recipe import Recipe

Change = Callable[[Tensor, int], Tensor]
NORMALISED_BYTES_LIMIT = 2**30  # above, images are kept as stored and normalised batch by batch
PART = 256  # images normalised at a time


class Examples(Protocol):
    """Images and targets, e.g. `archimed.data`'s Subset."""

    @property
    def images(self) -> Arrays:
        """Raw, as stored: [channel, *space] of each case."""

    @property
    def target(self) -> Tensor:
        """As in `archimed.batch.Batch`."""


def adam(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; one fused kernel updates all weights, if there are any."""
    group = {"params": [*network.parameters()]}
    return torch.optim.Adam([group], lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)


def training_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    images: Tensor,
    target: Tensor,
    weights: Tensor | None,
    machine: Machine,
) -> Tensor:
    """One step on a batch that lies on the machine's device; returns the loss, detached.

    Of a network that gives several outputs in training (members, or exits at several depths) it is their mean loss.
    """
    with machine.autocast():
        outputs = network(images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = torch.stack([target_loss(logits.float(), target, weights) for logits in outputs]).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def training_pass(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    images: "NormalisedImages",
    order: Tensor,
    batch_size: int,
    weights: Tensor | None,
    machine: Machine,
    change: Change | None = None,
) -> float:
    """One pass over the cases in the given order; returns the mean loss of the cases, each as it was trained on.

    `change` gets the images of each step, and its number from 0, and gives those that are trained on.
    """
    network.train()
    total = torch.zeros((), dtype=torch.float64, device=machine.device)  # read once: reading waits for a GPU
    for step, cases in enumerate(batches(order, batch_size)):
        batch, target = images.batch(cases)
        if change is not None:
            batch = change(batch, step)
        loss = training_step(network, optimizer, images=batch, target=target, weights=weights, machine=machine)
        total += loss * len(cases)
    return float(total) / len(order)


def batches(order: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Split an order of cases; a last batch of one joins the batch before it, for batch norm needs two."""
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) == 1 < batch_size:
        parts[-2:] = [torch.cat(parts[-2:])]
    return iter(parts)


def least_batch(network: nn.Module) -> int:
    """The fewest images of a step: 2 with batch normalisation, which has nothing to average in one image, else 1."""
    return 2 if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules()) else 1


def refuse_batches_of_one(network: nn.Module, batch_size: int, setting: str) -> None:
    """SettingsError if a network with batch normalisation would be trained one image at a time."""
    if batch_size < least_batch(network):
        raise SettingsError(
            f"Batch normalisation needs batches of two or more; {setting} is 1. Set it to 2 or more, or use "
            "--set space.normalisation=instance."
        )


class NormalisedImages:
    """Examples normalised once if that fits into memory, else batch by batch, which gives the same numbers."""

    def __init__(self, examples: Examples, normalise: Normalise, machine: Machine) -> None:
        self.target = examples.target
        limit = min(NORMALISED_BYTES_LIMIT, psutil.virtual_memory().available // 4)
        arrays = Arrays.of(examples.images)
        fits = arrays.shape is not None and 4 * sum(map(prod, arrays.shapes)) <= limit
        self.images: Tensor | Arrays = _all_normalised(arrays, normalise, machine) if fits else arrays
        self.normalise: Normalise = _unchanged if fits else normalise
        self._device_target = examples.target.to(machine.device)
        self._machine = machine

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, cases: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images and targets of some cases, on the device."""
        held = self.images
        raw = held.take(cases) if isinstance(held, Arrays) else _gathered(held, cases.to(held.device))
        images = self._machine.place_images(self.normalise(raw))
        return images, self._device_target[cases.to(images.device)]


def _all_normalised(arrays: Arrays, normalise: Normalise, machine: Machine) -> Tensor:
    """All images on the device, in its memory layout, without all of them in memory as stored."""
    parts = (machine.place_images(normalise(part)) for part in arrays.parts(PART))
    first = next(parts)
    whole = first.new_empty_strided((len(arrays), *first.shape[1:]), first.stride())
    done = 0
    for part in chain([first], parts):
        whole[done : done + len(part)] = part
        done += len(part)
    return whole


def _gathered(images: Tensor, cases: Tensor) -> Tensor:
    """images[cases] in the same memory layout, several times faster."""
    if images.is_contiguous():
        return images.index_select(0, cases)
    return images.movedim(1, -1).index_select(0, cases).movedim(-1, 1)


def _unchanged(images: Tensor) -> Tensor:
    return images
