"""One step of training and what it is fed: the optimizer, batches, normalised images."""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from math import prod
from typing import Protocol

import psutil
import torch
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.errors import RunError, SettingsError
from archimed.training.losses import loss_count, loss_shares, training_loss
from archimed.training.machine import Machine
from archimed.training.patches import WHOLE, PatchSampler
from archimed.training.prediction import Normalise
from archimed.training.progress import TrainingError
from archimed.training.recipe import Recipe
from archimed.training.team import ALONE, Team
from archimed.workers.limits import is_out_of_memory

Feed = Callable[[Tensor, int], tuple[Tensor, Tensor]]  # cases, number of the step -> images and targets on the device
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


class Optimizer(Protocol):
    """What a step needs of an optimizer, e.g. PyTorch's."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""

    def step(self) -> object:
        """Update the weights by their gradients."""


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; one fused kernel updates all weights, if there are any."""
    group = {"params": [*network.parameters()]}
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD([group], lr=rate, momentum=recipe.momentum, weight_decay=decay, fused=True)
    return torch.optim.Adam([group], lr=rate, weight_decay=decay, fused=True)


def training_step(
    network: nn.Module,
    optimizer: Optimizer,
    *,
    images: Tensor,
    target: Tensor,
    weights: Tensor | None,
    machine: Machine,
    parts: int = 1,
    team: Team = ALONE,
) -> Tensor:
    """One step on a batch that lies on the machine's device; returns the loss, detached.

    Of a network that gives several outputs in training (members, or exits at several depths) it is their mean loss.

    `parts` computes the batch in so many equal parts and adds up their gradients, which are those of the whole but for
    batch normalisation, whose averages are of a part then, and for class weights of pixels. So it is with a team, each
    process of which is given its part of the batch; step and loss are those of the whole.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = _backward(network, images, target, weights, machine, parts)
    return _step(network, optimizer, loss, target, weights, team)


def _backward(
    network: nn.Module, images: Tensor, target: Tensor, weights: Tensor | None, machine: Machine, parts: int
) -> Tensor:
    """Add the gradients of the mean loss to those of the network; returns it, detached."""
    if parts == 1:
        loss = _loss(network, images, target, weights, machine)
        loss.backward()
        return loss.detach()
    size = math.ceil(len(images) / parts)
    pairs = [*zip(images.split(size), target.split(size), strict=True)]
    total = torch.zeros((), device=images.device)
    for (some, known), share in zip(pairs, loss_shares([known for _, known in pairs], weights), strict=True):
        loss = _loss(network, some, known, weights, machine) * share
        loss.backward()
        total += loss.detach()
    return total


def _step(
    network: nn.Module,
    optimizer: Optimizer,
    loss: Tensor,
    target: Tensor,
    weights: Tensor | None,
    team: Team,
) -> Tensor:
    """Step by the gradients of the whole batch; returns its loss."""
    if team.several:
        loss = team.average(network, loss, loss_count(target, weights))
    optimizer.step()
    return loss


def _loss(network: nn.Module, images: Tensor, target: Tensor, weights: Tensor | None, machine: Machine) -> Tensor:
    with machine.autocast():
        outputs = network(images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return torch.stack([training_loss(logits.float(), target, weights) for logits in outputs]).mean()


def fitting_step(
    network: nn.Module,
    optimizer: Optimizer,
    *,
    images: Tensor,
    target: Tensor,
    weights: Tensor | None,
    machine: Machine,
    parts: int = 1,
    team: Team = ALONE,
) -> tuple[Tensor, int]:
    """`training_step` in as few parts as fit into memory, `parts` or more; returns the loss and their number.

    Each process of a team finds its own number: they meet once the gradients are there.

    Raises:
        TrainingError: not even parts of one image fit, or of two with batch normalisation.
    """
    state, least = torch.get_rng_state(), least_batch(network)
    optimizer.zero_grad(set_to_none=True)
    while True:
        try:
            loss = _backward(network, images, target, weights, machine, parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            break
        if len(images) // (2 * parts) < least:
            raise _too_large(least)
        optimizer.zero_grad(set_to_none=True)  # outside of the handler, which holds on to the failed pass
        if images.is_cuda:
            torch.cuda.empty_cache()
        torch.set_rng_state(state)
        parts *= 2
    try:
        return _step(network, optimizer, loss, target, weights, team), parts
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _too_large(least) from None
        raise


def _too_large(least: int) -> TrainingError:
    return TrainingError(
        f"A network must fit into memory with {least} images at a time; it does not. Choose smaller images "
        "(data.image_size, training.patch_size), a smaller network, or a machine with more memory."
    )


def training_pass(
    network: nn.Module,
    optimizer: Optimizer,
    *,
    feed: Feed,
    order: Tensor,
    batch_size: int,
    weights: Tensor | None,
    machine: Machine,
    parts: int = 1,
    team: Team = ALONE,
) -> tuple[float, int]:
    """One pass over the cases in the given order.

    A batch that does not fit into memory is computed in parts, and so are those after it (`fitting_step`).

    Args:
        network: in training mode afterwards.
        optimizer: of its weights.
        feed: gives a batch, of a team the part of this process.
        order: the cases.
        batch_size: of all processes together.
        weights: of the loss.
        machine: how to compute.
        parts: in which a batch is known to fit.
        team: the processes that make this pass together.

    Returns:
        The mean loss of the cases, each as it was trained on, and the parts of the last batch, at least `parts`.

    Raises:
        TrainingError: the network does not fit into memory.
        RunError: it does not, and others wait for this process.
    """
    network.train()
    total = torch.zeros((), dtype=torch.float64, device=machine.device)  # read once: reading waits for a GPU
    for step, cases in enumerate(batches(order, batch_size)):
        images, target = feed(cases, step)
        try:
            loss, parts = fitting_step(
                network,
                optimizer,
                images=images,
                target=target,
                weights=weights,
                machine=machine,
                parts=parts,
                team=team,
            )
        except TrainingError as error:
            if team.several:
                raise RunError(f"{error} It was trained by {team.size} processes; one goes on without it.") from None
            raise
        total += loss * len(cases)
    return float(total) / len(order), parts


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
    """Examples normalised once if that fits into memory, else batch by batch, which gives the same numbers.

    Attributes:
        images: normalised on the device, or as stored.
        normalise: what is still to be done to `images`.
        target: as in the examples.
        masks: as in the examples; where there are any, they are the target of a batch.
    """

    def __init__(
        self,
        examples: Examples,
        normalise: Normalise,
        machine: Machine,
        patch_size: tuple[int, ...] | None = None,
        foreground_share: float = 0.0,
    ) -> None:
        """Examples to take batches of; those with masks by patches of this size, where it is not their own.

        Args:
            examples: images and targets.
            normalise: raw images -> float32, each pixel by itself.
            machine: where batches are needed.
            patch_size: pixels per axis; None takes whole images.
            foreground_share: as `archimed.training.recipe.Recipe.foreground_share`.
        """
        self.target = examples.target
        self.masks = masks_of(examples)
        self._machine = machine
        self._device_target = examples.target.to(machine.device)
        arrays = Arrays.of(examples.images)
        self._patches = None
        if self.masks is not None and patch_size not in (None, (arrays.shape or ())[1:]):
            self._patches = PatchSampler(arrays, self.masks, patch_size, foreground_share)
        limit = min(NORMALISED_BYTES_LIMIT, psutil.virtual_memory().available // 4)
        whole = self._patches is None and arrays.shape is not None
        fits = whole and 4 * sum(map(prod, arrays.shapes)) <= limit
        self.images: Tensor | Arrays = _all_normalised(arrays, normalise, machine) if fits else arrays
        self.normalise: Normalise = _unchanged if fits else normalise

    def __len__(self) -> int:
        return len(self.target)

    def batch(
        self, cases: Tensor, generator: torch.Generator | None = None, part: slice = WHOLE
    ) -> tuple[Tensor, Tensor]:
        """Normalised images and targets of some cases, on the device; the generator draws patches, if there are any.

        `part` takes some of the cases only, as they are among all.
        """
        held, machine = self.images, self._machine
        if self._patches is not None:
            raw, masks = self._patches.take(cases, generator or torch.Generator(), part)
            return machine.place_images(self.normalise(raw)), self._placed(masks).long()
        cases = cases[part]
        placed = self._placed(cases)
        raw = held.take(cases) if isinstance(held, Arrays) else _gathered(held, placed)
        images = machine.place_images(self.normalise(raw))
        if self.masks is not None:
            return images, self._placed(self.masks.take(cases)).long()
        return images, self._device_target[placed]

    def _placed(self, numbers: Tensor) -> Tensor:
        """On the device, without waiting for what it computes."""
        return numbers.to(self._machine.device, non_blocking=True)


def masks_of(examples: Examples) -> Arrays | None:
    """The masks of examples that have some."""
    masks: Tensor | Arrays | None = getattr(examples, "masks", None)
    return None if masks is None else Arrays.of(masks)


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
