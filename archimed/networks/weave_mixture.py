"""Mixed operations of the weave: the options of all edges that leave one state, as few and large operations.

An option is computed once for all nodes that read the state, their results side by side along the channels: dense
convolutions of the same features are one with more filters, others one with more groups, and one group normalisation
takes them all, with their weights as its scale. Identities, gated or not, are one number per channel, poolings are
computed once. What weighs nothing is not computed.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import GroupNorm, convolution_geometry, with_normalisation
from archimed.networks.mixed_operation import EdgeWeights, RunningSum
from archimed.networks.operations import ZERO, Operation
from archimed.networks.quick_convolution import Geometry, convolve
from archimed.networks.weave_operations import ChannelGate, ChannelShuffle

Layers = tuple[nn.Module, ...]
StateWeights = Mapping[str, tuple[tuple[int, ...], Tensor]]  # option: who reads it, and how each weighs it [reader]
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


def state_weights(names: Sequence[str], edges: Sequence[EdgeWeights]) -> StateWeights:
    """The weights of the options on one state, from those of its edges to each reader, without what weighs nothing."""
    found = {}
    for position, name in enumerate(names):
        readers = tuple(reader for reader, edge in enumerate(edges) if edge.active[position])
        if readers and name != ZERO.name:
            found[name] = readers, torch.stack([edges[reader].values[position] for reader in readers])
    return found


class MixedState(nn.Module):
    """All options of the edges that leave one state for one or more readers; norms have no learnt scale and shift."""

    def __init__(self, operations: Sequence[Operation], channels: int, spatial_dims: int, readers: int) -> None:
        super().__init__()
        self.readers = nn.ModuleList(
            nn.ModuleDict(
                {
                    operation.name: operation.build(channels, spatial_dims)
                    for operation in operations
                    if operation.name != ZERO.name
                }
            )
            for _ in range(readers)
        )
        with_normalisation(self.readers, "group", affine=False)

    def option(self, reader: int, name: str) -> nn.Module:
        """The module of one reader's option."""
        options: nn.ModuleDict = self.readers[reader]  # type: ignore[assignment]
        return options[name]

    def forward(
        self, features: Float[Tensor, "batch channel *space"], weights: StateWeights
    ) -> list[Float[Tensor, "batch channel *other"] | None]:
        """The weighted sum for each reader; None where all its weights are zero."""
        source, sums = _Source(features), _Sums(len(self.readers))
        for name, (readers, values) in weights.items():
            options = [_layers(self.option(reader, name)) for reader in readers]
            if isinstance(options[0][-1], GroupNorm):
                sums.add(readers, _weighed(options, _joined(options, source), values))
        for name, (readers, values) in weights.items():
            options = [_layers(self.option(reader, name)) for reader in readers]
            first = options[0][0]
            if isinstance(options[0][-1], GroupNorm):
                continue
            if isinstance(first, ChannelGate):
                sums.weigh(readers, features, source.gates(options) * values.unsqueeze(-1))
            else:
                sums.weigh(readers, first(features), values.unsqueeze(-1))
        return sums.each()


def _layers(option: nn.Module) -> Layers:
    return tuple(option) if isinstance(option, nn.Sequential) else (option,)


class _Source:
    """The features that leave a state, and what is made of them before the first convolutions."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    @cached_property
    def active(self) -> Tensor:
        """After a ReLU."""
        return functional.relu(self.features)

    @cached_property
    def means(self) -> Tensor:
        """Over space, [batch, channel]."""
        return self.features.mean(dim=tuple(range(2, self.features.ndim)))

    def repeated(self, readers: int) -> Tensor:
        """After a ReLU, once for each reader."""
        return torch.cat([self.active] * readers, dim=1) if readers > 1 else self.active

    def gates(self, options: Sequence[Layers]) -> Tensor:
        """The numbers by which each reader gates the channels, [batch, reader, channel]."""
        gates = [layers[0] for layers in options if isinstance(layers[0], ChannelGate)]
        squeeze, excite = ([getattr(gate, name) for gate in gates] for name in ("squeeze", "excite"))
        within, beyond = torch.stack([layer.weight for layer in squeeze]), torch.stack([e.weight for e in excite])
        offset, further = torch.stack([layer.bias for layer in squeeze]), torch.stack([e.bias for e in excite])
        hidden = torch.relu(torch.einsum("bc,rhc->brh", self.means, within) + offset)
        return torch.sigmoid(torch.einsum("brh,rch->brc", hidden, beyond) + further)


class _Sums:
    """The sum for each reader; what all readers get is summed for all at once, side by side along the channels."""

    def __init__(self, readers: int) -> None:
        self.together: Tensor | None = None
        self.apart = [RunningSum() for _ in range(readers)]

    def add(self, readers: Sequence[int], term: Tensor) -> None:
        """Add to the readers' sums a term that nobody else holds, [batch, reader x channel, *space]."""
        if len(readers) < len(self.apart):
            for reader, part in zip(readers, term.chunk(len(readers), dim=1), strict=True):
                self.apart[reader].add(part)
        else:
            self.together = term if self.together is None else self.together.add_(term)

    def weigh(self, readers: Sequence[int], features: Tensor, factors: Tensor) -> None:
        """Add the features times a factor for each reader, [(batch,) reader, channel or 1]."""
        innermost = features.movedim(1, -1).unsqueeze(-2)
        factors = (
            factors
            if factors.ndim == 2
            else factors.view(len(factors), *(1,) * (features.ndim - 2), *factors.shape[1:])
        )
        if len(readers) == len(self.apart) and self.together is not None:
            self.together.movedim(1, -1).unflatten(-1, (len(readers), -1)).addcmul_(innermost, factors)
        else:
            self.add(readers, (innermost * factors).flatten(-2).movedim(-1, 1))

    def each(self) -> list[Tensor | None]:
        """The sum of each reader."""
        if self.together is not None:
            for total, part in zip(self.apart, self.together.chunk(len(self.apart), dim=1), strict=True):
                total.add(part)
        return [total.value for total in self.apart]


def _weighed(options: Sequence[Layers], joint: Tensor, weights: Tensor) -> Tensor:
    """The joint features normalised, each reader's times its weight."""
    norm: GroupNorm = options[0][-1]  # type: ignore[assignment]
    scale = weights.repeat_interleave(norm.num_features)
    groups = len(options) * norm.num_groups
    if joint.requires_grad or not scale.requires_grad:
        return torch.group_norm(joint, groups, scale, None, norm.eps)
    # PyTorch's gradient by the scale alone reads memory that is not there
    return torch.group_norm(joint, groups, None, None, norm.eps) * scale.view(-1, *(1,) * (joint.ndim - 2))


def _joined(options: Sequence[Layers], source: _Source) -> Tensor:
    """What enters the normalisation of each reader, side by side along the channels."""
    if isinstance(options[0][0], ChannelGate):
        return _gated(options, source)
    firsts, then, count = [layers[1] for layers in options], options[0][2], len(options)
    weights: list[Tensor] = [layer.get_parameter("weight") for layer in firsts]
    if isinstance(then, ChannelShuffle):
        return _shuffled(firsts[0], weights, source.active, then.groups)
    if isinstance(then, GroupNorm):
        return _convolve(firsts[0], source.active, _side_by_side(firsts[0], weights), 1)
    width = len(weights[0])
    depthwise = _convolve(firsts[0], source.repeated(count), torch.cat(weights), count * width)
    points = [layers[2].get_parameter("weight").flatten(1) for layers in options]
    parts = zip(depthwise.movedim(1, -1).chunk(count, dim=-1), points, strict=True)
    return torch.cat([functional.linear(part, point) for part, point in parts], dim=-1).movedim(-1, 1)


def _gated(options: Sequence[Layers], source: _Source) -> Tensor:
    """Convolutions of gated features: of the features as they are, by filters that each image gates."""
    first = options[0][1]
    filters = torch.stack([layers[1].get_parameter("weight") for layers in options])
    numbers = source.gates(options).unsqueeze(3 if isinstance(first, TRANSPOSED) else 2)
    gated = filters * numbers.view(*numbers.shape, *(1,) * (source.features.ndim - 2))
    alone = zip(source.features.split(1), gated, strict=True)
    return torch.cat([_convolve(first, image, _side_by_side(first, own.unbind()), 1) for image, own in alone])


def _side_by_side(layer: nn.Module, weights: Sequence[Tensor]) -> Tensor:
    """The filters of a dense convolution that gives the results of all."""
    return torch.cat(list(weights), dim=int(isinstance(layer, TRANSPOSED))) if len(weights) > 1 else weights[0]


def _shuffled(layer: nn.Module, weights: Sequence[Tensor], features: Tensor, groups: int) -> Tensor:
    """Grouped convolutions and the shuffles after them: each group's filters of all readers read the same features."""
    filters = torch.stack([weight.unflatten(0, (groups, -1)) for weight in weights], dim=1)
    found = _convolve(layer, features, filters.flatten(0, 2), groups)
    innermost = found.movedim(1, -1).unflatten(-1, (groups, len(weights), -1)).movedim(-3, -1)
    shuffled: Tensor = innermost.flatten(-3).movedim(-1, 1)
    return shuffled


def _convolve(layer: nn.Module, features: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A convolution of the layer's geometry; in 2D as the library computes it, which is best for these shapes."""
    geometry = convolution_geometry(layer)  # type: ignore[arg-type]
    stride, padding, dilation = geometry.stride, geometry.padding, geometry.dilation
    if isinstance(layer, TRANSPOSED):
        double = functional.conv_transpose2d if features.ndim == 4 else functional.conv_transpose3d
        doubled: Tensor = double(features, weight, None, stride, padding, 1, groups, dilation)
        return doubled
    if features.ndim == 4:
        return functional.conv2d(features, weight, None, stride, padding, dilation, groups)
    return convolve(features, weight, Geometry(stride, padding, dilation, groups))
