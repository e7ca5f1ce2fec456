"""Mixed samples over the union of several data sets (MixSearch, III-A, Eq. 1-4).

A mixed image is a weighted sum of k different images of the union, and so are its labels. An epoch has as many mixed
images as the union has images: each image is the first of the k once, and the others are drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass
from torch import Tensor

from archimed.errors import DataError, SettingsError
from archimed.seeding import numpy_generator, torch_generator

Weights = Literal["beta", "dirichlet"]
Sampling = Literal["proportional", "balanced"]
MOST_MIXED = 4


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MixingSettings:
    """How samples are mixed; the search settings of a method that mixes take these over."""

    k: int = Field(
        default=3,
        ge=1,
        le=MOST_MIXED,
        description="images that a mixed one is made of; 1 mixes none (MixSearch: 2 to 4, its UnionSearch 1)",
    )
    mu: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="both parameters of the Beta distribution of weights before their softmax, or the one of the "
        "Dirichlet distribution (MixSearch: 0.5 or 1)",
    )
    mixing_weights: Weights = Field(
        default="beta",
        description="beta: softmax of Beta draws, which keeps all k images visible (MixSearch, Eq. 3: at k=3 each "
        "weighs 0.155 to 0.576); dirichlet: one image may outweigh the others",
    )
    sampling: Sampling = Field(
        default="proportional",
        description="proportional: every image of the union is equally likely (MixSearch); balanced: every data set is",
    )


class Part(Protocol):
    """The images of one data set, as `archimed.training.steps.NormalisedImages` holds them."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, cases: Tensor, generator: torch.Generator | None = None, /) -> tuple[Tensor, Tensor]:
        """Images [case, channel, *space] and class numbers [case, *space] (int64) of some of them, on the device."""


@dataclass(frozen=True)
class Drawn:
    """What the mixed images of one step are made of.

    Attributes:
        images: numbers in the union of the k images of each mixed one; all different.
        weights: of each of them; they add to 1.
    """

    images: Int[np.ndarray, "batch k"]
    weights: Float[np.ndarray, "batch k"]


@dataclass(frozen=True)
class HeadTarget:
    """What the head of one data set is to answer to those mixed images of a batch that hold images of its own.

    Attributes:
        dataset: number of the data set.
        rows: which mixed images.
        target: shares of the data set's classes among its own images in each; they add to 1 at each pixel.
        weights: how much its own images weigh in each mixed one, above 0 up to 1.
    """

    dataset: int
    rows: Int[Tensor, " row"]
    target: Float[Tensor, "row class *space"]
    weights: Float[Tensor, " row"]


class MixedBatches:
    """Batches of mixed images: one random epoch after the other, each step the same whenever it is asked for.

    `for images, target in mixed.epoch(1)` gives images [batch, channel, *space] and targets [batch, class, *space]
    whose classes add to 1; `mixed.step(epoch, number)` gives one step of it, and steps beyond `len(mixed)` go on in
    another order. `epoch_of_heads` and `step_of_heads` give a `HeadTarget` for each data set in place of the target.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        k: int,
        mu: float,
        weights: Weights = "beta",
        batch_size: int = 12,
        seed: int = 0,
        *,
        classes: int | Sequence[int] = 2,
        sampling: Sampling = "proportional",
        name: str = "mixing",
    ) -> None:
        """Mixed images of all parts.

        Args:
            parts: the data sets; their images have one size and number of channels.
            k: images that a mixed one is made of.
            mu: both parameters of the Beta distribution, or the one of the Dirichlet distribution.
            weights: beta (Eq. 3) or dirichlet.
            batch_size: mixed images of a step; a last one alone joins the step before it.
            seed: of all draws, together with the epoch, the step and `name`.
            classes: of the labels, the background included; one number for all data sets, or one for each.
            sampling: whether every image of the union is equally likely, or every data set.
            name: what the batches are for; each use has draws of its own.

        Raises:
            DataError: there are fewer images than k.
            SettingsError: k is not a number of images that can be mixed.
        """
        self.parts = tuple(parts)
        sizes = [len(part) for part in parts]
        self.count = sum(sizes)
        if not 1 <= k <= MOST_MIXED:
            raise SettingsError(f"search.k is a number of images from 1 to {MOST_MIXED}; got {k}. Set it with --set.")
        require_images(k, self.count)
        self.k, self.mu, self.weights, self.sampling = k, mu, weights, sampling
        self.batch_size, self.seed, self.name = batch_size, seed, name
        self.classes = (classes,) * len(sizes) if isinstance(classes, int) else tuple(classes)
        self._starts = np.array([0, *accumulate(sizes)])
        alike = sampling == "proportional"
        shares = [1 / self.count if alike else 1 / (len(sizes) * size) for size in sizes if size]
        self._chances = np.repeat(shares, [size for size in sizes if size])

    def __len__(self) -> int:
        """Steps of an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return max(1, whole + (rest > 1))

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every step of an epoch: images and the shares of the classes."""
        return (self.step(number, step) for step in range(len(self)))

    def epoch_of_heads(self, number: int) -> Iterator[tuple[Tensor, tuple[HeadTarget, ...]]]:
        """Every step of an epoch: images and what each head is to answer."""
        return (self.step_of_heads(number, step) for step in range(len(self)))

    def step(self, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """One step; every data set has the same classes.

        Returns:
            images [batch, channel, *space] and shares of the classes [batch, class, *space] (float32).
        """
        images, labels, weights, _ = self._mixed(epoch, step)
        if len(set(self.classes)) > 1:
            raise ValueError(f"One head needs the same classes in all data sets; they have {self.classes}.")
        return images, mixed_labels(labels, weights, self.classes[0])

    def step_of_heads(self, epoch: int, step: int) -> tuple[Tensor, tuple[HeadTarget, ...]]:
        """One step, with the labels of each data set kept apart."""
        images, labels, weights, sources = self._mixed(epoch, step)
        found = []
        for number, classes in enumerate(self.classes):
            own = torch.where(sources == number, weights, 0.0)
            rows = torch.nonzero(own.sum(1) > 0)[:, 0]
            if len(rows):
                shares = own[rows] / own[rows].sum(1, keepdim=True)
                inside = torch.where(
                    (sources == number)[rows].view(*shares.shape, *label_axes(labels)), labels[rows], 0
                )
                target = mixed_labels(inside, shares, classes)
                found.append(HeadTarget(number, rows, target, own[rows].sum(1)))
        return images, tuple(found)

    def drawn(self, epoch: int, step: int) -> Drawn:
        """What the mixed images of a step are made of."""
        rng = numpy_generator(self.seed, self.name, epoch, step)
        firsts = self._firsts(epoch, step)
        images = np.array([[first, *self._others(first, rng)] for first in firsts.tolist()])
        return Drawn(images, draw_weights(len(firsts), self.k, self.mu, self.weights, rng))

    def _firsts(self, epoch: int, step: int) -> Int[np.ndarray, " batch"]:
        """The images of a step that come in turn."""
        again, place = divmod(step, len(self))
        rng = numpy_generator(self.seed, self.name, epoch, "order", again)
        if self.sampling == "proportional" or len(self.parts) == 1:
            order = rng.permutation(self.count)
        else:
            order = self._balanced_order(rng)
        end = self.count if place == len(self) - 1 else (place + 1) * self.batch_size
        return order[place * self.batch_size : end]

    def _balanced_order(self, rng: np.random.Generator) -> Int[np.ndarray, " image"]:
        """As many images as there are, of each data set about equally many, each as often as any other of its set."""
        each = -(-self.count // len(self.parts))
        columns = []
        for start, end in zip(self._starts[:-1], self._starts[1:], strict=True):
            rounds = -(-each // (end - start))
            columns.append(start + np.concatenate([rng.permutation(end - start) for _ in range(rounds)])[:each])
        return np.array([rng.permutation(row) for row in np.array(columns).T]).ravel()[: self.count]

    def _others(self, first: int, rng: np.random.Generator) -> list[int]:
        """Images beside the first, k in all, that differ from it and from each other."""
        if self.k == 1:
            return []
        chances = self._chances.copy()
        chances[first] = 0
        found: list[int] = rng.choice(self.count, self.k - 1, replace=False, p=chances / chances.sum()).tolist()
        return found

    def _mixed(self, epoch: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mixed images [batch, channel, *space]; labels [batch, k, *space]; weights and data sets [batch, k]."""
        drawn = self.drawn(epoch, step)
        sources = np.searchsorted(self._starts, drawn.images, side="right") - 1
        flat, cases = sources.ravel(), (drawn.images - self._starts[sources]).ravel()
        found = []
        for number in np.unique(flat).tolist():
            generator = torch_generator(self.seed, self.name, epoch, step, number)
            found.append(self.parts[number].batch(torch.from_numpy(cases[flat == number]), generator))
        images, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
        weights = torch.from_numpy(drawn.weights).to(images.device, torch.float32, non_blocking=True)
        place = np.argsort(np.argsort(flat, kind="stable"), kind="stable").reshape(sources.shape)
        where = torch.from_numpy(place).to(images.device, non_blocking=True)
        by_image = labels.index_select(0, where.ravel()).view(*where.shape, *labels.shape[1:])
        of_sets = torch.from_numpy(sources).to(images.device, non_blocking=True)
        return mixed_images(images, where, weights), by_image, weights, of_sets


def require_images(k: int, count: int, where: str = "to mix") -> None:
    """DataError unless there are k different images; `where` says which are counted."""
    if k > count:
        raise DataError(
            f"Mixing takes search.k={k} different images; there are {count} {where}. Lower search.k, or add images."
        )


def draw_weights(
    count: int, k: int, mu: float, weights: Weights, rng: np.random.Generator
) -> Float[np.ndarray, "count k"]:
    """Weights of mixed images, which add to 1: softmax of Beta(mu, mu) draws (Eq. 3), or Dirichlet(mu, ..., mu)."""
    if weights == "dirichlet":
        return rng.dirichlet([mu] * k, size=count)
    powers = np.exp(rng.beta(mu, mu, size=(count, k)))
    found: Float[np.ndarray, "count k"] = powers / powers.sum(1, keepdims=True)
    return found


def mixed_images(
    images: Float[Tensor, "image channel *space"], where: Int[Tensor, "batch k"], weights: Float[Tensor, "batch k"]
) -> Float[Tensor, "batch channel *space"]:
    """Weighted sums of the images named by `where` (Eq. 2), in the memory layout of the images."""
    last = images.movedim(1, -1)
    last = images if images.is_contiguous() else last
    shape = (-1, *(1,) * (images.ndim - 1))
    total = last.index_select(0, where[:, 0]).mul_(weights[:, 0].view(shape))
    for number in range(1, where.shape[1]):
        total.addcmul_(last.index_select(0, where[:, number]), weights[:, number].view(shape))
    return total if images.is_contiguous() else total.movedim(-1, 1)


def mixed_labels(
    labels: Int[Tensor, "batch k *space"], weights: Float[Tensor, "batch k"], classes: int
) -> Float[Tensor, "batch class *space"]:
    """Weighted sums of the labels as ones and zeros of each class (Eq. 4)."""
    total = torch.zeros(len(labels), classes, *labels.shape[2:], device=labels.device)
    for number in range(labels.shape[1]):
        share = weights[:, number].view(-1, 1, *label_axes(labels))
        total.scatter_add_(1, labels[:, number, None], share.expand(-1, 1, *labels.shape[2:]).contiguous())
    return total


def label_axes(labels: Tensor) -> tuple[int, ...]:
    """A one for each axis of space of labels [batch, k, *space]."""
    return (1,) * (labels.ndim - 2)
