"""Mixed operations: the options of an edge summed by their weights, each computed at most once and never for nothing.

An option of weight zero is not computed, nor is the operation `zero`. Edges that leave the same features are one
module: they share one ReLU, the poolings and skips (which have no weights to learn), and their dense convolutions are
one convolution with more filters. An option that ends with a normalisation takes its weight as the scale of that
normalisation, so that weighing costs no pass over the features and its gradient needs no copy of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import (
    InstanceNorm,
    Normalisation,
    convolution_geometry,
    instance_norm,
    with_normalisation,
)
from archimed.networks.operations import ZERO, FactorisedReduction, Operation
from archimed.networks.quick_convolution import convolve

Norm = nn.BatchNorm2d | nn.BatchNorm3d | InstanceNorm


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
        source = _Source(features)
        sums = [RunningSum() for _ in edges]
        for position, name in enumerate(self.names):
            readers = [reader for reader, edge in enumerate(edges) if edge.active[position]]
            if not readers or name == ZERO.name:
                continue
            weights = [edges[reader].values[position] for reader in readers]
            if name in self.shared:
                result = self.shared[name](features)
                for reader, weight in zip(readers, weights, strict=True):
                    sums[reader].add(result, weight)
                continue
            options = [_Option.of(self._own(reader)[name]) for reader in readers]
            for reader, term in zip(readers, _weighted(options, source, weights), strict=True):
                sums[reader].add(term)
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


class _Source:
    """The features that leave a state, and what they are after a ReLU, computed once if it is asked for."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    @cached_property
    def active(self) -> Tensor:
        return functional.relu(self.features)


@dataclass(frozen=True)
class _Option:
    """An option in three parts: whether it begins with a ReLU, what follows, and the normalisation at its end."""

    begins_with_relu: bool
    body: tuple[Callable[[Tensor], Tensor], ...]
    norm: Norm | None

    @classmethod
    def of(cls, module: nn.Module) -> "_Option":
        if isinstance(module, FactorisedReduction):
            return cls(True, (module.halved,), _as_norm(module.norm))
        layers = tuple(module) if isinstance(module, nn.Sequential) else (module,)
        begins = isinstance(layers[0], nn.ReLU)
        norm = _as_norm(layers[-1])
        return cls(begins, layers[begins : len(layers) - (norm is not None)], norm)

    def before_norm(self, source: _Source) -> Tensor:
        features = source.active if self.begins_with_relu else source.features
        for layer in self.body:
            features = layer(features)
        return features

    @property
    def dense(self) -> nn.Conv2d | nn.Conv3d | None:
        """The convolution over all channels that is the whole body, if so."""
        layer = self.body[0] if len(self.body) == 1 else None
        return layer if isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.groups == 1 and layer.bias is None else None


def _as_norm(layer: nn.Module) -> Norm | None:
    return layer if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d | InstanceNorm) else None


def _weighted(options: Sequence[_Option], source: _Source, weights: Sequence[Tensor]) -> Sequence[Tensor]:
    """Each option of one kind on the same features, times its weight."""
    norms = [option.norm for option in options if option.norm is not None]
    layers = [layer for option in options if (layer := option.dense) is not None]
    if len(options) > 1 and len(norms) == len(layers) == len(options):
        images = source.active if options[0].begins_with_relu else source.features
        filters = torch.cat([layer.weight for layer in layers])
        together = convolve(images, filters, convolution_geometry(layers[0]))
        return _normalised_together(norms, together, weights).chunk(len(options), dim=1)
    return [
        weight * option.before_norm(source)
        if option.norm is None
        else scaled_norm(option.norm, option.before_norm(source), weight.expand(option.norm.num_features))
        for option, weight in zip(options, weights, strict=True)
    ]


def scaled_norm(norm: Norm, features: Tensor, scale: Tensor) -> Tensor:
    """A normalisation without learnt scale, times `scale` [channel]."""
    if isinstance(norm, InstanceNorm):
        return instance_norm(features, scale, None, norm.eps)
    batch = norm.training or norm.running_mean is None
    means, variances = norm.running_mean, norm.running_var
    scale = scale.contiguous()  # the gradient of PyTorch's channels-last form reads an expanded scale as if it were not
    return functional.batch_norm(features, means, variances, scale, None, batch, norm.momentum or 0.0, norm.eps)


def _normalised_together(norms: Sequence[Norm], features: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """`scaled_norm` of features that lie one after the other along the channels; running statistics go to each norm."""
    scale = torch.cat([weight.expand(norm.num_features) for norm, weight in zip(norms, weights, strict=True)])
    first = norms[0]
    if isinstance(first, InstanceNorm):
        return instance_norm(features, scale, None, first.eps)
    running = [(norm.running_mean, norm.running_var) for norm in norms]
    means, variances = (torch.cat(parts) for parts in zip(*running, strict=True))
    result = functional.batch_norm(
        features, means, variances, scale, None, first.training, first.momentum or 0.0, first.eps
    )
    if first.training:
        for norm, mean, variance in zip(norms, means.chunk(len(norms)), variances.chunk(len(norms)), strict=True):
            norm.running_mean.copy_(mean)  # type: ignore[operator, union-attr]
            norm.running_var.copy_(variance)  # type: ignore[operator, union-attr]
    return result
