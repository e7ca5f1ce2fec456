"""Mixed operations of the weave: all options of the edges that leave one state, as few and large operations.

Convolutions of one geometry on the same features are one convolution with more filters, whatever the option: a
depthwise convolution and the pointwise one that follows it are a dense convolution of their composed filters, a grouped
and shuffled one is dense with zeros. One group normalisation takes them all, with the weights as its scale. Identities,
gated or not, are one number per channel. What weighs nothing is not computed.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import GroupNorm, convolution_geometry, with_normalisation
from archimed.networks.mixed_operation import EdgeWeights, RunningSum
from archimed.networks.operations import ZERO, Operation
from archimed.networks.quick_convolution import Geometry, convolve
from archimed.networks.weave_operations import ChannelGate, ChannelShuffle

Convolution = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class _Term:
    """An option that a reader weighs, as layers."""

    reader: int
    layers: tuple[nn.Module, ...]
    weight: Tensor


@dataclass(frozen=True)
class _Form:
    """How convolutions compute: those of one form on the same features are joined."""

    geometry: Geometry
    transposed: bool
    size: tuple[int, ...]


class MixedState(nn.Module):
    """All options of the edges that leave one state for one or more readers; norms have no learnt scale and shift."""

    def __init__(self, operations: Sequence[Operation], channels: int, spatial_dims: int, readers: int) -> None:
        super().__init__()
        self.names = tuple(operation.name for operation in operations)
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

    def _terms(self, edges: Sequence[EdgeWeights]) -> list[_Term]:
        return [
            _Term(reader, _layers(self.option(reader, name)), edge.values[position])
            for position, name in enumerate(self.names)
            for reader, edge in enumerate(edges)
            if edge.active[position] and name != ZERO.name
        ]

    def forward(
        self, features: Float[Tensor, "batch channel *space"], edges: Sequence[EdgeWeights]
    ) -> list[Float[Tensor, "batch channel *other"] | None]:
        """The weighted sum for each reader; None where all its weights are zero."""
        sums = [RunningSum() for _ in edges]
        terms = self._terms(edges)
        means = _means(features) if any(isinstance(term.layers[0], ChannelGate) for term in terms) else None
        for readers, result in (*_convolved(terms, features), *_gated(terms, features, means)):
            for reader, part in zip(readers, result.chunk(len(readers), dim=1), strict=True):
                sums[reader].add(part)
        _add_pooled(sums, terms, features)
        for reader, factor in _factors(terms, features, means):
            sums[reader].add(features, factor)
        return [total.value for total in sums]


def _layers(option: nn.Module) -> tuple[nn.Module, ...]:
    return tuple(option) if isinstance(option, nn.Sequential) else (option,)


def _means(features: Tensor) -> Tensor:
    """[batch, channel]."""
    return features.mean(dim=tuple(range(2, features.ndim)))


def _over_space(numbers: Tensor, features: Tensor) -> Tensor:
    """[batch, channel] in a form to multiply the features by."""
    return numbers.view(*numbers.shape, *(1,) * (features.ndim - 2))


def _convolved(terms: Sequence[_Term], features: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """Of each form of convolution that begins with a ReLU: its readers, and their sums along the channels."""
    begin = [term for term in terms if isinstance(term.layers[0], nn.ReLU)]
    if not begin:
        return
    active = functional.relu(features)
    forms = [(term, *_dense_form(term.layers[1:-1])) for term in begin]
    order = {form: position for position, form in enumerate(dict.fromkeys(form for _, form, _ in forms))}
    for form, group in groupby(sorted(forms, key=lambda found: order[found[1]]), key=lambda found: found[1]):
        members = list(group)
        joint = _apply(form, active, [filters for _, _, filters in members], 1)
        yield from _summed([term for term, _, _ in members], joint)


def _dense_form(layers: Sequence[nn.Module]) -> tuple[_Form, Tensor]:
    """The one dense convolution that the layers between ReLU and normalisation are, and its filters [out, in, ...].

    Those of transposed convolutions are [in, out, ...].
    """
    first = layers[0]
    if not isinstance(first, CONVOLUTIONS):
        raise TypeError(f"The options of a weave begin with a convolution; got {type(first).__name__}.")
    form = _form(first)
    if len(layers) == 1:
        return form, first.weight
    if isinstance(layers[1], ChannelShuffle):
        return form, _shuffled(first.weight, layers[1].groups)
    pointwise = layers[1].get_parameter("weight").flatten(1)  # [out, in]
    if form.transposed:
        return form, torch.einsum("oi,iu...->io...", pointwise, first.weight)
    return form, torch.einsum("oi,iu...->oi...", pointwise, first.weight)


def _form(layer: Convolution) -> _Form:
    geometry = convolution_geometry(layer)  # type: ignore[arg-type]
    dense = Geometry(geometry.stride, geometry.padding, geometry.dilation, 1)
    return _Form(dense, isinstance(layer, TRANSPOSED), tuple(layer.kernel_size))


def _shuffled(filters: Tensor, groups: int) -> Tensor:
    """Filters [out, in / groups, ...] of a grouped convolution whose channels are shuffled, as dense ones."""
    own = filters.unflatten(0, (groups, -1)).unsqueeze(2)  # [group, out, 1, in, ...]
    eye = torch.eye(groups, dtype=filters.dtype, device=filters.device)
    spread = own * eye.view(groups, 1, groups, 1, *(1,) * (filters.ndim - 2))
    dense: Tensor = spread.transpose(0, 1).flatten(2, 3).flatten(0, 1)
    return dense


def _apply(form: _Form, features: Tensor, filters: Sequence[Tensor], groups: int) -> Tensor:
    """Convolutions of one form, their results along the channels; `groups` read each its own part of the features."""
    geometry = Geometry(form.geometry.stride, form.geometry.padding, form.geometry.dilation, groups)
    if not form.transposed:
        return convolve(features, torch.cat(list(filters)), geometry)
    together = torch.cat(list(filters), dim=0 if groups > 1 else 1)
    double: Callable[..., Tensor] = functional.conv_transpose2d if features.ndim == 4 else functional.conv_transpose3d
    result: Tensor = double(features, together, None, geometry.stride, geometry.padding, 1, groups, geometry.dilation)
    return result


def _summed(terms: Sequence[_Term], joint: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """Each term's part of the joint features, normalised and times its weight; those of the same readers summed."""
    norm: GroupNorm = terms[0].layers[-1]  # type: ignore[assignment]
    scale = torch.stack([term.weight for term in terms]).repeat_interleave(norm.num_features)
    weighed = torch.group_norm(joint, len(terms) * norm.num_groups, scale, None, norm.eps)
    readers = sorted({term.reader for term in terms})
    times = len(terms) // len(readers)
    if [term.reader for term in terms] == readers * times:
        yield readers, weighed.unflatten(1, (times, -1)).sum(1) if times > 1 else weighed
        return
    for term, part in zip(terms, weighed.chunk(len(terms), dim=1), strict=True):
        yield [term.reader], part


def _gated(terms: Sequence[_Term], features: Tensor, means: Tensor | None) -> Iterator[tuple[list[int], Tensor]]:
    """Convolutions of gated features, one group for each reader."""
    found = [(term, gate) for term in terms if len(term.layers) > 1 and isinstance(gate := term.layers[0], ChannelGate)]
    if not found or means is None:
        return
    gates = torch.cat([gate.gate(means) for _, gate in found], dim=1)
    read = torch.cat([features] * len(found), dim=1) * _over_space(gates, features)
    layers: list[Convolution] = [term.layers[1] for term, _ in found]  # type: ignore[misc]
    joint = _apply(_form(layers[0]), read, [layer.weight for layer in layers], len(layers))
    yield from _summed([term for term, _ in found], joint)


def _add_pooled(sums: Sequence[RunningSum], terms: Sequence[_Term], features: Tensor) -> None:
    """Options without weights to learn, each computed once for all readers."""
    pools: dict[str, Tensor] = {}
    for term in terms:
        pool = term.layers[0]
        if len(term.layers) > 1 or isinstance(pool, ChannelGate | nn.Identity):
            continue
        kind = type(pool).__name__
        if kind not in pools:
            pools[kind] = pool(features)
        sums[term.reader].add(pools[kind], term.weight)


def _factors(terms: Sequence[_Term], features: Tensor, means: Tensor | None) -> Iterator[tuple[int, Tensor]]:
    """For each reader of the features themselves, gated or not: the number that each channel is weighed by."""
    found: dict[int, Tensor] = {}
    for term in terms:
        first = term.layers[0]
        if isinstance(first, ChannelGate) and len(term.layers) == 1 and means is not None:
            gate = _over_space(first.gate(means), features) * term.weight
            found[term.reader] = found[term.reader] + gate if term.reader in found else gate
        elif isinstance(first, nn.Identity):
            found[term.reader] = found[term.reader] + term.weight if term.reader in found else term.weight
    yield from found.items()
