"""Which PyTorch calls are layers, rectifiers, normalisations, dropouts.

Indicators watch the calls of a forward pass (`torch.overrides.TorchFunctionMode`), not its modules: a functional
`relu` or `conv2d` counts like its module, at any number of spatial axes, and a shared layer counts once per use.
What runs below the level of Python functions (scripted modules, custom C++ operators) is not seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Call = Callable[..., Any]

TRANSPOSED: frozenset[Call] = frozenset(
    {functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d}
)
LAYERS: frozenset[Call] = TRANSPOSED | {functional.conv1d, functional.conv2d, functional.conv3d, functional.linear}

MATRIX_PRODUCTS: frozenset[Call] = frozenset(
    {torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.__matmul__, Tensor.mm, Tensor.bmm}
)

NORMALISATIONS: frozenset[Call] = frozenset(
    {
        functional.batch_norm,
        functional.instance_norm,
        functional.group_norm,
        functional.layer_norm,
        functional.rms_norm,
        functional.local_response_norm,
        torch.batch_norm,
        torch.instance_norm,
        torch.group_norm,
        torch.layer_norm,
        torch.rms_norm,
    }
)

DROPOUTS: frozenset[Call] = frozenset(
    {
        functional.dropout,
        functional.dropout1d,
        functional.dropout2d,
        functional.dropout3d,
        functional.alpha_dropout,
        functional.feature_alpha_dropout,
        torch.dropout,
    }
)

# Piecewise linear with a knot at zero, whatever the slope below it. Smooth activations (GELU, SiLU, ELU) have no
# linear regions and give no codes.
RECTIFIERS: frozenset[Call] = frozenset(
    {
        functional.relu,
        functional.relu_,
        functional.relu6,
        functional.leaky_relu,
        functional.leaky_relu_,
        functional.prelu,
        functional.rrelu,
        functional.rrelu_,
        torch.relu,
        torch.relu_,
        Tensor.relu,
        Tensor.relu_,
        Tensor.prelu,
    }
)

# Rectifiers only if their first limit is zero, by the name of that argument; ReLU6 is a hardtanh.
CLIPPINGS: Mapping[Call, str] = {
    functional.hardtanh: "min_val",
    functional.hardtanh_: "min_val",
    functional.threshold: "threshold",
    torch.clamp: "min",
    torch.clamp_min: "min",
    Tensor.clamp: "min",
    Tensor.clamp_: "min",
    Tensor.clamp_min: "min",
    Tensor.clamp_min_: "min",
}


def rectified_input(call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """What a rectifier is applied to; None if the call is not one."""
    if call in CLIPPINGS:
        limit = args[1] if len(args) > 1 else kwargs.get(CLIPPINGS[call])
        if isinstance(limit, Tensor) or limit != 0:
            return None
    elif call not in RECTIFIERS:
        return None
    tensor: Tensor = first_argument(args, kwargs)
    return tensor


def first_argument(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The `input` of a call, by position or by name."""
    return args[0] if args else kwargs["input"]


@dataclass(frozen=True)
class LayerCall:
    """The arguments of a convolution or a linear layer, however they were passed."""

    function: Call
    images: Tensor
    weight: Tensor
    bias: Tensor | None
    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    @classmethod
    def parse(cls, function: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> "LayerCall":
        """Sort out what was passed by position and what by name."""
        rest = dict(kwargs)
        given = [*args[:3], *(rest.pop(name, None) for name in ("input", "weight", "bias")[len(args) :])]
        return cls(function, given[0], given[1], given[2], tuple(args[3:]), rest)

    def apply(self, images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The same layer on other images, weights and bias."""
        output: Tensor = self.function(images, weight, bias, *self.positional, **self.named)
        return output

    @property
    def channel_axis(self) -> int:
        """The axis of the output channels: the second of a convolution, the last of a linear layer."""
        return -1 if self.function is functional.linear else 1

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates: each output (transposed: each input) element meets one filter."""
        elements = self.images if self.function in TRANSPOSED else output
        return elements.numel() * self.weight.numel() // self.weight.shape[0]


def per_channel(values: Tensor, output: Tensor, channel_axis: int) -> Tensor:
    """One value per output channel, in the form in which it adds to the output."""
    return values.reshape(-1, *(1,) * (output.dim() - 1 - channel_axis % output.dim()))
