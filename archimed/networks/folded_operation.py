"""Mixed operations in eval mode as fewer and larger steps: normalisations and weights are folded into convolutions.

There a batch normalisation is a scale and a shift. So what an option of DARTS computes last is a matrix on the channels
of each pixel, and options are summed by weight where these matrices are multiplied. Without gradients, and only while
neither weights nor statistics change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import convolution_geometry
from archimed.networks.mixed_operation import EdgeWeights, MixedOperation
from archimed.networks.operations import ZERO
from archimed.networks.quick_convolution import Geometry, convolve


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution."""

    weight: Tensor
    geometry: Geometry


@dataclass(frozen=True)
class Matrix:
    """A matrix [out, in] on the channels of each pixel, and a shift [out]."""

    weight: Tensor
    shift: Tensor


Step = Depthwise | Matrix | nn.ReLU
First = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Chain:
    """An option: any function, then steps that several options can take as one, the last of them a matrix."""

    first: First
    steps: tuple[Step, ...]
    last: Matrix

    @property
    def form(self) -> object:
        """Chains of equal form on the same features can be computed as one."""
        sizes = (
            (step.geometry, step.weight.shape) if isinstance(step, Depthwise) else type(step) for step in self.steps
        )
        return self.first, tuple(sizes)


def folded(module: nn.Module, channels: int) -> Chain:
    """The chain of an option's module in eval mode, which leaves this many channels."""
    layers = [*module] if isinstance(module, nn.Sequential) else [module]
    steps: list[Step] = []
    while layers and (step := _taken(layers)) is not None:
        steps.insert(0, step)
    if steps and isinstance(steps[-1], Matrix):
        last = steps.pop()
    else:
        like = next(module.parameters(), torch.empty(0))
        last = Matrix(torch.eye(channels, device=like.device), torch.zeros(channels, device=like.device))
    return Chain(_first(layers), tuple(steps), last)  # type: ignore[arg-type]


def _first(layers: Sequence[nn.Module]) -> First:
    """What the other steps follow, as few different functions as can be."""
    if not layers:
        return _same
    if len(layers) > 1:
        return nn.Sequential(*layers)
    if isinstance(layers[0], nn.ReLU):
        return functional.relu
    pool = layers[0]
    if isinstance(pool, nn.MaxPool2d | nn.MaxPool3d) and (pool.kernel_size, pool.stride, pool.padding) == (3, 1, 1):
        return largest_of_three
    return pool


def _same(features: Tensor) -> Tensor:
    return features


def largest_of_three(features: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
    """Max-pooling over 3 pixels along each axis at stride 1, several times faster than PyTorch's of few channels."""
    for axis in range(2, features.ndim):
        size = features.shape[axis] - 1
        result = features.clone()
        for here, there in ((0, 1), (1, 0)):
            part = result.narrow(axis, here, size)
            torch.maximum(part, features.narrow(axis, there, size), out=part)
        features = result
    return features


def _taken(layers: list[nn.Module]) -> Step | None:
    """Take the last step off the layers; None if it is of another kind, or the ReLU that they begin with."""
    last, before = layers[-1], layers[-2] if len(layers) > 1 else None
    if isinstance(last, nn.BatchNorm2d | nn.BatchNorm3d) and last.running_var is not None:
        layers.pop()
        scale, shift = _scale_and_shift(last)
        if before is None or not _is_pointwise(before):
            return Matrix(scale.diag(), shift)
        layers.pop()
        return Matrix(scale[:, None] * before.weight.flatten(1), shift)  # type: ignore[operator]
    if isinstance(last, nn.ReLU) and before is not None:
        layers.pop()
        return last
    if isinstance(last, nn.Conv2d | nn.Conv3d) and _is_depthwise(last):
        layers.pop()
        return Depthwise(last.weight, convolution_geometry(last))
    return None


def _scale_and_shift(norm: nn.BatchNorm2d | nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """What a batch normalisation does in eval mode."""
    scale = torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[arg-type, operator]
    scale = scale if norm.weight is None else scale * norm.weight
    shift = -norm.running_mean * scale  # type: ignore[operator]
    return scale, shift if norm.bias is None else shift + norm.bias


def _is_depthwise(layer: nn.Conv2d | nn.Conv3d) -> bool:
    return layer.bias is None and layer.groups == layer.in_channels == layer.out_channels


def _is_pointwise(layer: nn.Module) -> bool:
    plain = isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.bias is None and layer.groups == 1
    return plain and {*layer.kernel_size, *layer.stride} == {1}  # type: ignore[misc]


@dataclass(frozen=True)
class Part:
    """Chains computed as one, each on its own part of the channels, and the matrix from them to all readers."""

    first: First
    copies: int
    steps: tuple[Step, ...]
    into: Float[Tensor, "channel reader_channel"]

    def computed(self, sources: dict[First, Tensor], features: Tensor) -> Float[Tensor, "batch channel *space"]:
        """What the matrix is multiplied with; `sources` holds what first functions make of the features."""
        if self.first not in sources:
            sources[self.first] = self.first(features)
        found = sources[self.first]
        if self.copies > 1:
            found = torch.cat([found] * self.copies, dim=1)
        for step in self.steps:
            if isinstance(step, Depthwise):
                found = convolve(found, step.weight, step.geometry)
            elif isinstance(step, Matrix):
                found = functional.linear(found.movedim(1, -1), step.weight, step.shift).movedim(-1, 1)
            else:
                found = found.relu()
        return found


class FoldedOperation(nn.Module):
    """Computes what a `MixedOperation` in eval mode does, as long as its weights and statistics stay as they are."""

    def __init__(self, mixed: MixedOperation, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.positions = [k for k, name in enumerate(mixed.names) if name != ZERO.name]
        self.shared = {
            k: folded(mixed.shared[mixed.names[k]], channels) for k in self.positions if mixed.names[k] in mixed.shared
        }
        self.own = {
            (reader, k): folded(mixed.option(reader, mixed.names[k]), channels)
            for reader in range(len(mixed.own))
            for k in self.positions
            if k not in self.shared
        }
        self._weights = torch.empty(0)
        self._parts: list[Part] = []
        self._shift = torch.empty(0)

    def forward(
        self, features: Float[Tensor, "batch channel *space"], edges: Sequence[EdgeWeights]
    ) -> list[Float[Tensor, "batch channel *smaller"] | None]:
        """The weighted sum for each reader; None where all its weights are zero."""
        weights = torch.stack([torch.stack([edge.values[k] for k in self.positions]) for edge in edges])
        if not torch.equal(weights, self._weights):
            self._plan(weights, edges)
        if not self._parts:
            return [None] * len(edges)
        sources: dict[First, Tensor] = {}
        found = [part.computed(sources, features) for part in self._parts]
        total = self._shift.expand(found[0][:, 0].numel(), -1)
        for part, one in zip(self._parts, found, strict=True):
            pixels = one.movedim(1, -1).reshape(-1, one.shape[1])
            total = torch.addmm(total, pixels, part.into) if total.stride(0) == 0 else total.addmm_(pixels, part.into)
        size = found[0].shape
        summed = total.view(size[0], *size[2:], -1).movedim(-1, 1)
        some = [any(edge.active[k] for k in self.positions) for edge in edges]
        return [part if there else None for part, there in zip(summed.chunk(len(edges), dim=1), some, strict=True)]

    def _plan(self, weights: Float[Tensor, "reader option"], edges: Sequence[EdgeWeights]) -> None:
        """What is to be computed with these weights."""
        self._weights, self._parts = weights, []
        self._shift = weights.new_zeros(len(edges) * self.channels)
        for column, k in enumerate(self.positions):
            readers = [reader for reader, edge in enumerate(edges) if edge.active[k]]
            groups: dict[object, list[int]] = {}
            for reader in readers:
                groups.setdefault(self._chain(reader, k).form, []).append(reader)
            self._parts += [self._part(k, group, weights[:, column]) for group in groups.values()]

    def _chain(self, reader: int, k: int) -> Chain:
        return self.shared[k] if k in self.shared else self.own[reader, k]

    def _part(self, k: int, readers: Sequence[int], weights: Float[Tensor, " reader"]) -> Part:
        """The chains of some readers' option of one form."""
        chains = [self._chain(reader, k) for reader in readers]
        copies = 1 if k in self.shared else len(chains)
        width = chains[0].last.weight.shape[1]
        into = weights.new_zeros(copies * width, len(self._shift))
        for place, (reader, one) in enumerate(zip(readers, chains, strict=True)):
            rows = slice(place * width, (place + 1) * width) if copies > 1 else slice(None)
            columns = slice(reader * self.channels, (reader + 1) * self.channels)
            into[rows, columns] = weights[reader] * one.last.weight.t()
            self._shift[columns] += weights[reader] * one.last.shift
        steps = tuple(_together(of_each) for of_each in zip(*(one.steps for one in chains[:copies]), strict=True))
        return Part(chains[0].first, copies, steps, into)


def _together(steps: Sequence[Step]) -> Step:
    """The same step of several chains, each on its own part of the channels."""
    first = steps[0]
    if isinstance(first, Depthwise):
        weight = torch.cat([step.weight for step in steps if isinstance(step, Depthwise)])
        old = first.geometry
        return Depthwise(weight, Geometry(old.stride, old.padding, old.dilation, old.groups * len(steps)))
    if isinstance(first, Matrix):
        matrices = [step for step in steps if isinstance(step, Matrix)]
        return Matrix(torch.block_diag(*(one.weight for one in matrices)), torch.cat([one.shift for one in matrices]))
    return first
