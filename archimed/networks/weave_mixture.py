"""Mixed operations of the weave: the options of all edges that leave one state, as few and large operations.

An option is computed once for all nodes that read the state, their results side by side along the channels: dense
convolutions of the same features are one with more filters, others one with more groups, and one group normalisation
takes them all, with their weights as its scale. The filters of all readers are one parameter, so that none are gathered
or scattered in a step. Identities, gated or not, are one number per channel, poolings are computed once. What weighs
nothing is not computed.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from operator import add

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import GroupNorm, convolution_geometry, group_norm, with_normalisation
from archimed.networks.mixed_operation import EdgeWeights
from archimed.networks.operations import ZERO, Operation
from archimed.networks.quick_convolution import Geometry, convolve
from archimed.networks.weave_operations import ChannelGate, ChannelShuffle

StateWeights = Mapping[str, tuple[tuple[int, ...], Tensor]]  # option: who reads it, and how each weighs it [reader]
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def state_weights(names: Sequence[str], edges: Sequence[EdgeWeights]) -> StateWeights:
    """The weights of the options on one state, from those of its edges to each reader, without what weighs nothing."""
    found = {}
    for position, name in enumerate(names):
        readers = tuple(reader for reader, edge in enumerate(edges) if edge.active[position])
        if readers and name != ZERO.name:
            found[name] = readers, torch.stack([edges[reader].values[position] for reader in readers])
    return found


class MixedState(nn.Module):
    """All options of the edges that leave one state for one or more readers; norms have no learnt scale and shift.

    An option is one module whose parameters are those of all readers, stacked: [reader, *shape of one's]. An optimizer
    that has momentum or decay therefore also moves those of a reader that gives an option no weight while others do.
    """

    def __init__(
        self, operations: Sequence[Operation], channels: int, spatial_dims: int, readers: int, group_size: int
    ) -> None:
        super().__init__()
        self.readers = readers
        made = [operation for operation in operations if operation.name != ZERO.name]
        built = [[operation.build(channels, spatial_dims) for operation in made] for _ in range(readers)]
        stacked = map(_stacked, zip(*built, strict=True))
        self.options = nn.ModuleDict({operation.name: option for operation, option in zip(made, stacked, strict=True)})
        with_normalisation(self.options, group_size, affine=False)

    def weights_of(self, reader: int, name: str) -> dict[str, Tensor]:
        """The weights of one reader's option by their names in it, as views."""
        return {path: stacked[reader] for path, stacked in self.options[name].named_parameters()}

    def forward(
        self, features: Float[Tensor, "batch channel *space"], weights: StateWeights
    ) -> Float[Tensor, "batch *other reader channel"] | None:
        """The weighted sum for each reader, zeros where all its weights are zero; None if no reader has any."""
        source, total = _Source(features), _Sum(self.readers)
        factors: list[Tensor] = []  # of the features as they are
        pooled, normed = [], []
        for name, (readers, values) in weights.items():
            option = _Option(self.options[name], readers if len(readers) < self.readers else None)
            if isinstance(option.layers[-1], GroupNorm):
                normed.append((option, readers, values))
            elif isinstance(option.layers[0], ChannelGate):
                factors.append(_for_all(readers, source.gates(option) * values.unsqueeze(-1), self.readers))
            elif isinstance(option.layers[0], nn.Identity):
                factors.append(_for_all(readers, values.view(1, -1, 1), self.readers))
            else:
                pooled.append((option.layers[0](features), readers, values))
        if factors:  # first, as the sum then has memory of its own
            total.weigh(range(self.readers), features, reduce(add, factors))
        for result, readers, values in pooled:
            total.weigh(readers, result, values.view(1, -1, 1))
        for option, readers, values in normed:
            term = _normalised(option, _joined(option, source), values)
            total.add(readers, term.movedim(1, -1).unflatten(-1, (len(readers), -1)))
        return total.value


def _stacked(options: Sequence[nn.Module]) -> nn.Module:
    """The first option, with the parameters of all."""
    own = [dict(option.named_parameters()) for option in options]
    gated = any(isinstance(layer, ChannelGate) for layer in options[0].children())  # then by image, stacked plainly
    for path in own[0]:
        owner, _, name = path.rpartition(".")
        together = torch.stack([parameters[path].detach() for parameters in own])
        layer = options[0].get_submodule(owner)
        setattr(layer, name, nn.Parameter(together if gated else _laid_out(together, layer)))
    return options[0]


def _laid_out(stacked: Tensor, layer: nn.Module) -> Tensor:
    """The same numbers, in memory as their gradient comes from the library, so that it need not be copied."""
    if not isinstance(layer, CONVOLUTIONS) or layer.groups > 1:
        return stacked
    if isinstance(layer, TRANSPOSED):  # [into, *space, reader, out of]
        order = (1, *range(3, stacked.ndim), 0, 2)
    elif max(layer.kernel_size) == 1:  # a matrix for each reader, [reader, into, out of]
        order = (0, 2, *range(3, stacked.ndim), 1)
    else:  # [reader, out of, *space, into]
        order = (0, 1, *range(3, stacked.ndim), 2)
    back = [order.index(axis) for axis in range(stacked.ndim)]
    return stacked.permute(order).contiguous().permute(back)


class _Option:
    """An option of all readers or of some."""

    def __init__(self, module: nn.Module, readers: Sequence[int] | None) -> None:
        self.layers = tuple(module) if isinstance(module, nn.Sequential) else (module,)
        self.readers = None if readers is None else list(readers)

    def weights(self, position: int, name: str = "weight") -> Tensor:
        """A parameter of one layer, [reader, *shape of one's]."""
        stacked: Tensor = self.layers[position].get_parameter(name)
        return stacked if self.readers is None else stacked[self.readers]


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
        """Over space, [batch, channel]; with channels innermost, as its gradient then lies."""
        return self.features.movedim(1, -1).flatten(1, -2).mean(1)

    def repeated(self, readers: int) -> Tensor:
        """After a ReLU, once for each reader."""
        return torch.cat([self.active] * readers, dim=1) if readers > 1 else self.active

    def gates(self, option: _Option) -> Tensor:
        """The numbers by which each reader gates the channels, [batch, reader, channel]."""
        within, offset, beyond, further = (
            option.weights(0, name) for name in ("squeeze.weight", "squeeze.bias", "excite.weight", "excite.bias")
        )
        hidden = torch.relu(functional.linear(self.means, within.flatten(0, 1), offset.flatten()))
        apart = hidden.unflatten(1, (len(within), -1)).transpose(0, 1)
        return torch.baddbmm(further.unsqueeze(1), apart, beyond.transpose(1, 2)).sigmoid().transpose(0, 1)


class _Sum:
    """A sum for each reader, side by side before the channels; it grows in place once it has memory of its own."""

    def __init__(self, readers: int) -> None:
        self.readers = readers
        self.value: Tensor | None = None
        self._ours = False

    def add(self, readers: Sequence[int], term: Tensor) -> None:
        """Add to the readers' sums a term [batch, *space, reader, channel]."""
        if len(readers) < self.readers:
            if self.value is None:
                self.value = term.new_zeros(*term.shape[:-2], self.readers, term.shape[-1])
            elif not self._ours:
                self.value = self.value.clone()
            self.value.index_add_(-2, torch.tensor(readers).to(term.device, non_blocking=True), term)
            self._ours = True
        elif self.value is None:
            self.value = term
        else:
            self.value = self.value.add_(term) if self._ours else self.value + term
            self._ours = True

    def weigh(self, readers: Sequence[int], features: Tensor, factors: Tensor) -> None:
        """Add the features times a factor for each reader, [batch or 1, reader, channel or 1]."""
        innermost = features.movedim(1, -1).unsqueeze(-2)
        factors = factors.view(len(factors), *(1,) * (features.ndim - 2), *factors.shape[1:])
        if len(readers) < self.readers or self.value is None:
            self.add(readers, innermost * factors)
        else:
            change = self.value.addcmul_ if self._ours else self.value.addcmul
            self.value = change(innermost, factors)
        self._ours = True


def _for_all(readers: Sequence[int], numbers: Tensor, count: int) -> Tensor:
    """Numbers of some readers, [any, reader, any], with zeros for the others."""
    if len(readers) == count:
        return numbers
    zeros = numbers.new_zeros(len(numbers), count, numbers.shape[2])
    return zeros.index_copy(1, torch.tensor(readers).to(numbers.device, non_blocking=True), numbers)


def _normalised(option: _Option, joint: Tensor, weights: Tensor) -> Tensor:
    """The joint features normalised, each reader's times its weight."""
    norm: GroupNorm = option.layers[-1]  # type: ignore[assignment]
    scale = weights.repeat_interleave(norm.num_features)  # in memory: batch norm misreads an expanded one
    groups = len(weights) * norm.num_groups
    if joint.requires_grad or not scale.requires_grad:
        return group_norm(joint, groups, scale, None, norm.eps)
    # PyTorch's gradient by the scale alone reads memory that is not there
    return group_norm(joint, groups, None, None, norm.eps) * scale.view(-1, *(1,) * (joint.ndim - 2))


def _joined(option: _Option, source: _Source) -> Tensor:
    """What enters the normalisation of each reader, side by side along the channels."""
    first, then, filters = option.layers[1], option.layers[2], option.weights(1)
    if isinstance(option.layers[0], ChannelGate):
        return _gated(first, filters, source.gates(option), source.features)
    if isinstance(then, ChannelShuffle):
        return _shuffled(first, filters, source.active, then.groups)
    if isinstance(then, GroupNorm):
        return _convolve(first, source.active, _side_by_side(first, filters), 1)
    count, width = filters.shape[:2]
    depthwise = _convolve(first, source.repeated(count), filters.flatten(0, 1), count * width).movedim(1, -1)
    apart = depthwise.unflatten(-1, (count, width)).flatten(0, -3).transpose(0, 1)
    products = torch.bmm(apart, option.weights(2).flatten(2).transpose(1, 2)).transpose(0, 1)
    joined: Tensor = products.flatten(1).unflatten(0, depthwise.shape[:-1]).movedim(-1, 1)
    return joined


def _gated(layer: nn.Module, filters: Tensor, gates: Tensor, features: Tensor) -> Tensor:
    """Convolutions of gated features: of the features as they are, by filters that each image gates."""
    numbers = gates.unsqueeze(3 if isinstance(layer, TRANSPOSED) else 2)
    gated = filters * numbers.view(*numbers.shape, *(1,) * (features.ndim - 2))
    alone = zip(features.split(1), gated.unbind(), strict=True)
    return torch.cat([_convolve(layer, image, _side_by_side(layer, own), 1) for image, own in alone])


def _side_by_side(layer: nn.Module, filters: Tensor) -> Tensor:
    """The filters of a dense convolution that gives the results of all readers."""
    return filters.transpose(0, 1).flatten(1, 2) if isinstance(layer, TRANSPOSED) else filters.flatten(0, 1)


def _shuffled(layer: nn.Module, filters: Tensor, features: Tensor, groups: int) -> Tensor:
    """Grouped convolutions and the shuffles after them: each group's filters of all readers read the same features."""
    count = len(filters)
    found = _convolve(layer, features, filters.unflatten(1, (groups, -1)).transpose(0, 1).flatten(0, 2), groups)
    innermost = found.movedim(1, -1).unflatten(-1, (groups, count, -1)).movedim(-3, -1)
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
