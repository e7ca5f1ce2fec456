"""Prepared images and masks, kept one after the other while a data set is read."""

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from archimed.data.arrays import Arrays


class Sink(Protocol):
    """Takes the prepared cases in order, and hands them back as arrays."""

    def put(self, image: Tensor, mask: Tensor | None) -> None:
        """Keep one case."""

    def images(self) -> Arrays:
        """All images so far."""

    def masks(self) -> Arrays | None:
        """All masks so far; None if there are none."""


@dataclass
class MemorySink:
    """Keeps cases in memory."""

    _images: list[Tensor] = field(default_factory=list)
    _masks: list[Tensor] = field(default_factory=list)

    def put(self, image: Tensor, mask: Tensor | None) -> None:
        """Keep one case."""
        self._images.append(image)
        if mask is not None:
            self._masks.append(mask)

    def images(self) -> Arrays:
        """All images so far."""
        return Arrays.of(self._images)

    def masks(self) -> Arrays | None:
        """All masks so far; None if there are none."""
        return Arrays.of(self._masks) if self._masks else None
