"""The same option of several edges on the same features, computed as one: fewer and larger operations.

Each reader's features lie one after the other along the channels. Dense convolutions of the same features are one
convolution with more filters, depthwise ones one depthwise convolution of repeated features, and each layer that
follows is computed for all readers at once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from archimed.networks.layers import InstanceNorm, convolution_geometry, instance_norm, laid_out_back
from archimed.networks.operations import FactorisedReduction
from archimed.networks.quick_convolution import convolve, is_small

Norm = nn.BatchNorm2d | nn.BatchNorm3d | InstanceNorm
SMALL = 2**19  # numbers in the features of all readers, up to which separate operations cost more than they compute


class Source:
    """The features that leave a state, and what they are after a ReLU, computed once if it is asked for."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self._repeated: dict[int, Tensor] = {}

    @cached_property
    def active(self) -> Tensor:
        """After a ReLU."""
        return functional.relu(self.features)

    def repeated(self, count: int) -> Tensor:
        """After a ReLU, side by side along the channels."""
        if count not in self._repeated:
            self._repeated[count] = torch.cat([self.active] * count, dim=1)
        return self._repeated[count]


@dataclass(frozen=True)
class Option:
    """An option in three parts: whether it begins with a ReLU, what follows, and the normalisation at its end."""

    begins_with_relu: bool
    body: tuple[Callable[[Tensor], Tensor], ...]
    norm: Norm | None

    @classmethod
    def of(cls, module: nn.Module) -> "Option":
        """The parts of an operation's module."""
        if isinstance(module, FactorisedReduction):
            return cls(True, (_Halved(module),), as_norm(module.norm))
        layers = tuple(module) if isinstance(module, nn.Sequential) else (module,)
        begins = isinstance(layers[0], nn.ReLU)
        norm = as_norm(layers[-1])
        return cls(begins, layers[begins : len(layers) - (norm is not None)], norm)

    def before_norm(self, source: Source) -> Tensor:
        """What enters the last normalisation."""
        features = source.active if self.begins_with_relu else source.features
        for layer in self.body:
            features = layer(features)
        return features


@dataclass(frozen=True)
class _Halved:
    """What a factorised reduction computes between its ReLU and its normalisation."""

    reduction: FactorisedReduction

    def __call__(self, active: Tensor) -> Tensor:
        return self.reduction.halved(active)


def as_norm(layer: nn.Module) -> Norm | None:
    """The layer if it normalises."""
    return layer if isinstance(layer, Norm) else None


def joint(options: Sequence[Option], source: Source, weights: Sequence[Tensor]) -> Tensor | None:
    """Each reader's option times its weight, [batch, reader x channel, *space]; None if it is not worth it or unknown.

    Dense convolutions are always joined, options of further layers where the features are small.
    """
    first = options[0]
    if len(options) < 2 or not first.body or not first.begins_with_relu or first.norm is None:
        return None
    small = is_small(len(options) * source.features.numel(), SMALL)
    if not (small or (len(first.body) == 1 and _is_dense(first.body[0]))):
        return None
    if not all(_is_known(layer, position) for position, layer in enumerate(first.body)):
        return None
    features = _first([option.body[0] for option in options], source)
    for layers in zip(*(option.body[1:] for option in options), strict=True):
        features = _next(layers, features)
    return norms_together([option.norm for option in options], features, weights)  # type: ignore[misc]


def _is_convolution(layer: object) -> bool:
    return isinstance(layer, nn.Conv2d | nn.Conv3d) and layer.bias is None and layer.padding_mode == "zeros"


def _is_dense(layer: object) -> bool:
    return _is_convolution(layer) and layer.groups == 1  # type: ignore[attr-defined]


def _is_known(layer: object, position: int) -> bool:
    if position == 0:
        return isinstance(layer, _Halved) or _is_dense(layer) or _is_depthwise(layer)
    return isinstance(layer, nn.ReLU | Norm) or _is_dense(layer) or _is_depthwise(layer)


def _is_depthwise(layer: object) -> bool:
    return _is_convolution(layer) and layer.groups == layer.in_channels == layer.out_channels  # type: ignore[attr-defined]


def _first(layers: Sequence[Callable[[Tensor], Tensor]], source: Source) -> Tensor:
    """The layers that read the features which all share."""
    if isinstance(layers[0], _Halved):
        reductions = [layer.reduction for layer in layers if isinstance(layer, _Halved)]
        straight = _side_by_side([reduction.straight for reduction in reductions], source.active)
        shifted = functional.pad(source.active, reductions[0].shift)
        halves = straight, _side_by_side([reduction.shifted for reduction in reductions], shifted)
        pairs = zip(*(half.chunk(len(reductions), dim=1) for half in halves), strict=True)
        return torch.cat([part for pair in pairs for part in pair], dim=1)
    if _is_dense(layers[0]):
        return _side_by_side(layers, source.active)  # type: ignore[arg-type]
    return _next(layers, source.repeated(len(layers)))


def _side_by_side(layers: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Dense convolutions of the same images as one."""
    filters = torch.cat([layer.weight for layer in layers])  # type: ignore[misc]
    return convolve(images, filters, convolution_geometry(layers[0]))  # type: ignore[arg-type]


def _next(layers: Sequence[Callable[[Tensor], Tensor]], features: Tensor) -> Tensor:
    """A layer of each reader, on its own part of the features."""
    if isinstance(layers[0], nn.ReLU):
        return functional.relu(features)
    if isinstance(layers[0], Norm):
        return norms_together(layers, features, None)  # type: ignore[arg-type]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Conv3d)]
    filters = torch.cat([layer.weight for layer in convolutions])
    geometry = convolution_geometry(convolutions[0])
    grouped = type(geometry)(geometry.stride, geometry.padding, geometry.dilation, geometry.groups * len(layers))
    return convolve(features, filters, grouped)


def norms_together(norms: Sequence[Norm], features: Tensor, weights: Sequence[Tensor] | None) -> Tensor:
    """Normalisations without learnt scale, each times its weight; running statistics go to each norm."""
    first = norms[0]
    scale = None
    if weights is not None:  # PyTorch's channels-last batch norm reads an expanded scale as if it were not
        scale = torch.stack(list(weights)).repeat_interleave(first.num_features)
    if isinstance(first, InstanceNorm):
        return instance_norm(features, scale, None, first.eps)
    batch = first.training or first.running_mean is None
    means, variances = (
        torch.cat([getattr(norm, name) for norm in norms]) if first.running_mean is not None else None
        for name in ("running_mean", "running_var")
    )
    momentum = first.momentum or 0.0
    result = functional.batch_norm(features, means, variances, scale, None, batch, momentum, first.eps)
    if first.training and means is not None and variances is not None:
        for norm, mean, variance in zip(norms, means.chunk(len(norms)), variances.chunk(len(norms)), strict=True):
            norm.running_mean.copy_(mean)  # type: ignore[union-attr, operator]
            norm.running_var.copy_(variance)  # type: ignore[union-attr, operator]
    return laid_out_back(result)
