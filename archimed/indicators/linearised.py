"""The linearised network of synflow: absolute parameters, no normalisation, an image of ones (Tanaka et al., 2020).

With R the summed output, synflow is sum |W * dR/dW|. All factors are positive, and W * dR/dW summed over a layer is
the derivative of R by a common factor on that layer's weights. So the score is ONE directional derivative, dR/dt of
R(t W) at t = 1, and forward-mode differentiation gives it without a backward pass: a layer maps (x, x') to
(W x + b, W x' + W x), one call on both.

Layers compute in the precision of the weights on inputs scaled to a maximum of one, everything else in float64. Where
values still outgrow float64, tensors carry a power of two beside their values.
"""

import functools
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from archimed.indicators.calls import (
    DROPOUTS,
    LAYERS,
    MATRIX_PRODUCTS,
    NORMALISATIONS,
    Call,
    LayerCall,
    first_argument,
    per_channel,
)
from archimed.indicators.isolation import channels_last

LARGE = 2.0**400  # above this, values are scaled down and carry an exponent

# Functions f with f(s x, s y) = s f(x, y), by name: their operands are brought to one exponent, which the result has.
HOMOGENEOUS = re.compile(
    r"__get__|__getitem__|add_?|sub|cat|concat|concatenate|stack|sum|mean|flatten|unflatten|reshape|view|view_as|permute"
    r"|transpose|movedim|contiguous|clone|detach|to|double|expand|expand_as|repeat|roll|squeeze|unsqueeze|chunk|split"
    r"|tensor_split|unbind|select|narrow|pixel_shuffle|channel_shuffle|relu_?|leaky_relu_?|prelu|max|amax|maximum"
    r"|(adaptive_)?(max|avg)_pool[123]d|interpolate|pad|zero_"
)
PRODUCTS = frozenset({"mul", "mul_", "matmul", "mm", "bmm"})  # exponents add up

_UNTOUCHED = (
    nn.modules.conv._ConvNd,
    nn.Linear,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class Flow:
    """What one linearised pass gives.

    Attributes:
        mantissa: sum |W * dR/dW| divided by 2^exponent.
        exponent: see mantissa.
        macs: multiply-accumulates of one image.
    """

    mantissa: float
    exponent: int
    macs: int

    @property
    def value(self) -> float:
        """The sum; infinite above 1.8e308."""
        return self.mantissa * 2.0**self.exponent if self.exponent < 1024 else math.inf

    @property
    def log(self) -> float:
        """The natural logarithm of the sum; -inf if nothing flows."""
        return math.log(self.mantissa) + self.exponent * math.log(2) if self.mantissa > 0 else -math.inf


def linearised_flow(network: nn.Module, images: Tensor) -> Flow:
    """The flow through a network in evaluation mode, for one image of the shape of these."""
    ones = channels_last(images.new_ones((1, *images.shape[1:]), dtype=torch.float64))
    parameters = _absolute_parameters(network)
    _load_forward_mode()
    try:
        with torch.no_grad(), forward_ad.dual_level():
            with _Linearised() as forward:
                logits = functional_call(network, parameters, (ones,)) if parameters else network(ones)
            growth = forward_ad.unpack_dual(logits).tangent
        return Flow(0.0 if growth is None else float(growth.sum()), forward.exponents.get(logits, 0), forward.macs)
    except NotImplementedError:  # an operation without forward-mode derivative
        factor = ones.new_ones(()).requires_grad_()
        with torch.enable_grad(), _Linearised(factor) as reverse:
            logits = functional_call(network, parameters, (ones,)) if parameters else network(ones)
        (total,) = torch.autograd.grad(logits.sum(), factor)
        return Flow(float(total), reverse.exponents.get(logits, 0), reverse.macs)


@functools.cache
def _load_forward_mode() -> None:
    """Let PyTorch load what its first dual tensor needs, without its warnings about its own compiler."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(1), torch.zeros(1))


def _absolute_parameters(network: nn.Module) -> dict[str, Tensor]:
    """Absolute values of what neither layers nor normalisations hold (slopes, embeddings, scales)."""
    return {
        f"{prefix}.{name}" if prefix else name: parameter.detach().abs().double()
        for prefix, module in network.named_modules()
        if not isinstance(module, _UNTOUCHED)
        for name, parameter in module.named_parameters(recurse=False)
    }


class _Linearised(TorchFunctionMode):
    """Linearises the calls of one forward pass, in forward mode, or in reverse mode by a common factor of one."""

    def __init__(self, factor: Tensor | None = None) -> None:
        super().__init__()
        self.factor = factor
        self.macs = 0
        self.exponents: WeakIdKeyDictionary = WeakIdKeyDictionary()  # tensor -> power of two, where it is not zero

    def __torch_function__(
        self, func: Call, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in LAYERS:
            return self._layer(LayerCall.parse(func, args, kwargs))
        if func in NORMALISATIONS or func in DROPOUTS:  # a copy, since what comes next may work in place
            func, args, kwargs = Tensor.clone, (first_argument(args, kwargs),), {}
        output = self._scaled(func, args, kwargs) if len(self.exponents) else func(*args, **kwargs)
        if func in MATRIX_PRODUCTS:
            self.macs += output.numel() * first_argument(args, kwargs).shape[-1]
        return output

    def _layer(self, call: LayerCall) -> Tensor:
        parts = [part for part in forward_ad.unpack_dual(call.images) if part is not None]
        inputs = torch.cat(parts) if len(parts) > 1 else parts[0]
        top = float(inputs.detach().amax()) or 1.0
        shift = math.frexp(top)[1] if top > LARGE else 0
        outputs = call.apply((inputs / top).to(call.weight.dtype), call.weight.detach().abs()).double()
        value, *growth = (outputs * math.ldexp(top, -shift)).tensor_split(len(parts))
        exponent = self.exponents.get(call.images, 0) + shift
        self.macs += call.macs(value)
        flow = value if self.factor is None else value * self.factor
        if call.bias is not None:
            bias = call.bias.detach().abs().double() * 2.0**-exponent
            flow = flow + per_channel(bias, value, call.channel_axis)
        if self.factor is None:
            flow = forward_ad.make_dual(flow, sum(growth, value))
        if exponent:
            self.exponents[flow] = exponent
        return flow

    def _scaled(self, func: Call, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call a function on tensors some of which carry exponents; functions not listed get the plain values."""
        exponents = [self.exponents.get(leaf, 0) for leaf in tree_leaves((args, kwargs)) if _is_float(leaf)]
        if not any(exponents):
            return func(*args, **kwargs)
        name = func.__name__
        if name in PRODUCTS:
            exponent = sum(exponents)
        else:
            exponent = max(exponents) if HOMOGENEOUS.fullmatch(name) else 0
            if name.endswith("_") and not name.endswith("__"):
                self._shift_in_place(args[0], exponent)
            args, kwargs = tree_map_only(Tensor, lambda tensor: self._shifted(tensor, exponent), (args, kwargs))
        output = func(*args, **kwargs)
        for leaf in tree_leaves(output):
            if _is_float(leaf):
                self.exponents[leaf] = exponent
        return output

    def _shifted(self, tensor: Tensor, exponent: int) -> Tensor:
        change = self.exponents.get(tensor, 0) - exponent
        return tensor * 2.0 ** min(change, 1023) if change and _is_float(tensor) else tensor

    def _shift_in_place(self, tensor: Tensor, exponent: int) -> None:
        change = self.exponents.get(tensor, 0) - exponent
        tensor.mul_(2.0 ** min(change, 1023))
        self.exponents[tensor] = exponent


def _is_float(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()
