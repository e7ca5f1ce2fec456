"""Mixed operations: the options of an edge summed by their weights, each computed at most once and never for nothing.

An option of weight zero is not computed, nor is the operation `zero`. Edges that leave the same features are one
module: they share one ReLU, the poolings and skips (which have no weights to learn), and their dense convolutions are
one convolution with more filters. An option that ends with a normalisation takes its weight as the scale of that
normalisation, so that weighing costs no pass over the features and its gradient needs no copy of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.joint_options import Option, Source, joint, norms_together
from archimed.networks.layers import Normalisation, with_normalisation
from archimed.networks.operations import ZERO, Operation


@dataclass(frozen=True)
class EdgeWeights:
    """The weights of one edge's options, and, known without asking the device, which of them are not zero."""

    values: Sequence[Tensor]
    active: Sequence[bool]


class MixedOperation(nn.Module):
    """All options of the edges that leave one state for one or more readers."""

    def __init__(
        self,
        operations: Sequence[Operation],
        channels: int,
        spatial_dims: int,
        *,
        stride: int = 1,
        readers: int = 1,
        normalisation: Normalisation = "batch",
    ) -> None:
        """Options without weights to learn are one module for all readers; norms have no learnt scale and shift."""
        super().__init__()
        self.names = tuple(operation.name for operation in operations)
        self.shared = nn.ModuleDict()
        self.own = nn.ModuleList(nn.ModuleDict() for _ in range(readers))
        for reader in range(readers):
            for operation in operations:
                if operation.name == ZERO.name or operation.name in self.shared:
                    continue
                option = with_normalisation(operation.build(channels, spatial_dims, stride), normalisation, False)
                learns = any(True for _ in option.parameters())
                kept = self._own(reader) if learns else self.shared
                kept[operation.name] = option

    def _own(self, reader: int) -> nn.ModuleDict:
        modules: nn.ModuleDict = self.own[reader]  # type: ignore[assignment]
        return modules

    def option(self, reader: int, name: str) -> nn.Module:
        """The module of one reader's option."""
        return self.shared[name] if name in self.shared else self._own(reader)[name]

    def forward(
        self, features: Float[Tensor, "batch channel *space"], edges: Sequence[EdgeWeights]
    ) -> list[Float[Tensor, "batch channel *smaller"] | None]:
        """The weighted sum for each reader; None where all its weights are zero."""
        source = Source(features)
        sums = [RunningSum() for _ in edges]
        together = RunningSum()  # of all readers, [batch, reader, channel, *space]
        last: list[tuple[Tensor, list[int], list[Tensor]]] = []
        for position, name in enumerate(self.names):
            readers = [reader for reader, edge in enumerate(edges) if edge.active[position]]
            if not readers or name == ZERO.name:
                continue
            weights = [edges[reader].values[position] for reader in readers]
            if name in self.shared:
                last.append((self.shared[name](features), readers, weights))
                continue
            options = [Option.of(self._own(reader)[name]) for reader in readers]
            result = joint(options, source, weights)
            if result is not None and len(readers) == len(edges):
                together.add(result.unflatten(1, (len(edges), -1)))
                continue
            terms = _each(options, source, weights) if result is None else result.chunk(len(readers), dim=1)
            for reader, term in zip(readers, terms, strict=True):
                sums[reader].add(term)
        for result, readers, weights in last:
            if together.value is not None and len(readers) == len(edges):
                factors = torch.stack(weights).view(-1, *(1,) * (features.ndim - 1))
                together.add(result.unsqueeze(1), factors)
                continue
            for reader, weight in zip(readers, weights, strict=True):
                sums[reader].add(result, weight)
        if together.value is not None:
            for total, part in zip(sums, together.value.flatten(1, 2).chunk(len(edges), dim=1), strict=True):
                total.add(part)
        return [total.value for total in sums]


class RunningSum:
    """A sum of features that grows in place once it has memory of its own."""

    def __init__(self) -> None:
        self.value: Tensor | None = None
        self._ours = False

    def add(self, term: Tensor, weight: Tensor | None = None) -> None:
        """Add a term, or weight times the term."""
        if self.value is None:
            self.value = term if weight is None else term * weight
            self._ours = weight is not None
        elif not self._ours:
            self.value = self.value + term if weight is None else torch.addcmul(self.value, term, weight)
            self._ours = True
        elif weight is None:
            self.value.add_(term)
        else:
            self.value.addcmul_(term, weight)


def _each(options: Sequence[Option], source: Source, weights: Sequence[Tensor]) -> list[Tensor]:
    """The option of each reader by itself, times its weight."""
    return [
        weight * option.before_norm(source)
        if option.norm is None
        else norms_together([option.norm], option.before_norm(source), [weight])
        for option, weight in zip(options, weights, strict=True)
    ]
