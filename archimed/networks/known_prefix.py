"""A mixed network on the same images by many mixtures in turn: what still gives the same is not computed again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Float
from torch import Tensor

from archimed.networks.operations import ZERO

if TYPE_CHECKING:
    from archimed.networks.mixed_cell import MixedCell, MixedCellNetwork


class KnownPrefix:
    """Keeps what left each cell, and begins at the first cell whose weights are others than at the call before.

    The network and the images must not change meanwhile. Without gradients only; in eval mode also with folded
    operations (see `archimed.networks.folded_operation`).
    """

    def __init__(self, network: "MixedCellNetwork", images: Float[Tensor, "batch channel *space"]) -> None:
        self._network = network
        stem = network.enter(images)
        self._states = [(stem, stem)]  # what each cell reads; the last is what the head reads
        self._weights: dict[str, Tensor] = {}
        mixed = cast("list[MixedCell]", list(network.cells))
        self._cells = mixed if network.training else [cell.folded() for cell in mixed]

    def __call__(self, mixture: Mapping[str, Float[Tensor, " option"]]) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        network = self._network
        weights = network.read(mixture, self._states[0][0].device)
        counted = {kind: self._counted(kind, mixture) for kind in weights}
        same = {kind for kind in counted if kind in self._weights and torch.equal(counted[kind], self._weights[kind])}
        first = next((k for k, kind in enumerate(network.kinds) if kind not in same), len(network.kinds))
        del self._states[first + 1 :]
        for position in range(first, len(network.kinds)):
            before, last = self._states[position]
            self._states.append((last, self._cells[position]((before, last), weights[network.kinds[position]])))
        self._weights = counted
        logits: Tensor = network.head(self._states[-1][1])
        return logits

    def _counted(self, kind: str, mixture: Mapping[str, Tensor]) -> Tensor:
        """The weights of a cell type's options but zero, which adds nothing."""
        choices = [choice for choice in self._network.choices if choice.name.startswith(f"{kind}.")]
        kept = [[option != ZERO.name for option in choice.options] for choice in choices]
        return torch.cat([mixture[choice.name][torch.tensor(keep)] for choice, keep in zip(choices, kept, strict=True)])
