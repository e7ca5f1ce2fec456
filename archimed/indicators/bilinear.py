"""Convolutions and linear layers as differentiable maps that keep a ledger of what indicators want of them.

A layer B(x, w) is linear in the image x and in the weights w, so all its derivatives are B itself and its two
transposes. Written so, second derivatives cost four such maps; PyTorch's own fall back to one small convolution per
group. And what a scale s on the layer's output would get as its derivative, a sum over output * gradient, is noted in
passing instead of being differentiated for.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from archimed.indicators import depthwise
from archimed.indicators.calls import TRANSPOSED, LayerCall, per_channel

Purpose = Literal["images", "channels", "weights", "curvature"]


@dataclass
class Ledger:
    """What a backward pass is run for, and what it has found.

    Attributes:
        purpose: `images` differentiates by the images alone; `channels` notes the channel sums too; `weights` also
            differentiates by the weights; `curvature` is the second backward pass, and notes how its result changes
            with a scale on all layers.
        by_channel: per layer call, the sum over pixels of output * dL/doutput, [batch, channel]; bias included.
        by_scale: the derivative by the common scale, apart from the scale on the weights' gradient itself.
    """

    purpose: Purpose = "images"
    by_channel: dict[int, Tensor] = field(default_factory=dict)
    by_scale: float = 0.0


@dataclass(frozen=True)
class Layer:
    """One layer call as the bilinear map B(images, weight)."""

    number: int
    channel_axis: int
    ledger: Ledger
    geometry: tuple[Any, ...] | None  # of a convolution: stride, padding, dilation, transposed, output padding, groups

    def output(self, images: Tensor, weight: Tensor) -> Tensor:
        """B(images, weight)."""
        if self.geometry is None:
            return functional.linear(images, weight)
        return torch.ops.aten.convolution(images, weight, None, *self.geometry)  # type: ignore[no-any-return]

    def to_images(self, gradient: Tensor, images: Tensor, weight: Tensor) -> Tensor:
        """The transpose by the images; of `images` only the shape matters."""
        if self.geometry is None:
            return gradient @ weight
        stride, padding, dilation, transposed, _, groups = self.geometry
        if depthwise.is_depthwise(images, weight, transposed, groups):
            result = depthwise.to_images(gradient, weight, stride, padding, dilation)
            if result is not None:
                return result
        return self._transposes(gradient, images, weight, 0)

    def to_weight(self, gradient: Tensor, images: Tensor, weight: Tensor) -> Tensor:
        """The transpose by the weights; of `weight` only the shape matters."""
        if self.geometry is None:
            return gradient.reshape(-1, gradient.shape[-1]).T @ images.reshape(-1, images.shape[-1])
        stride, padding, dilation, transposed, _, groups = self.geometry
        if depthwise.is_depthwise(images, weight, transposed, groups):
            result = depthwise.to_weight(gradient, images, weight, stride, padding, dilation)
            if result is not None:
                return result
        return self._transposes(gradient, images, weight, 1)

    def note(self, gradient: Tensor, output: Tensor, bias: Tensor | None) -> None:
        """Enter the sum over output * gradient into the ledger, in the form that its purpose asks for."""
        if self.ledger.purpose == "curvature":
            self.ledger.by_scale += _dot(
                gradient, output if bias is None else output - per_channel(bias, output, self.channel_axis)
            )
            return
        axis = self.channel_axis % output.dim()
        pixels = [k for k in range(1, output.dim()) if k != axis]
        sums = gradient * output
        self.ledger.by_channel[self.number] = sums.sum(pixels) if pixels else sums

    def _transposes(self, gradient: Tensor, images: Tensor, weight: Tensor, which: int) -> Tensor:
        wanted = [which == 0, which == 1, False]
        both = torch.ops.aten.convolution_backward(gradient, images, weight, None, *self.geometry, wanted)  # type: ignore[misc]
        return both[which]  # type: ignore[no-any-return]


def layer_output(call: LayerCall, weight: Tensor, number: int, ledger: Ledger) -> Tensor:
    """The output of a layer call with other weights, differentiable twice; the bias is a constant."""
    images, geometry = (call.images, None) if call.function is functional.linear else _geometry(call)
    output: Tensor = _Apply.apply(images, weight, call.bias, Layer(number, call.channel_axis, ledger, geometry))
    return output


_ORDER = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_ORDER = ("stride", "padding", "output_padding", "groups", "dilation")


def _geometry(call: LayerCall) -> tuple[Tensor, tuple[Any, ...]]:
    """The images, padded if the padding is named, and the arguments of a convolution in ATen's order."""
    transposed = call.function in TRANSPOSED
    order = _TRANSPOSED_ORDER if transposed else _ORDER
    given = {**dict(zip(order, call.positional, strict=False)), **call.named}
    axes = call.weight.dim() - 2

    def per_axis(name: str, default: int) -> list[int]:
        value = given.get(name, default)
        values = [value] if isinstance(value, int) else list(value)
        return values * axes if len(values) == 1 else values

    images = call.images
    dilation = per_axis("dilation", 1)
    if given.get("padding") == "same":
        missing = [step * (size - 1) for step, size in zip(dilation, call.weight.shape[2:], strict=True)]
        images = functional.pad(images, [side for total in missing[::-1] for side in (total // 2, total - total // 2)])
    padding = [0] * axes if isinstance(given.get("padding"), str) else per_axis("padding", 0)
    output_padding = per_axis("output_padding", 0)
    return images, (per_axis("stride", 1), padding, dilation, transposed, output_padding, given.get("groups", 1))


class _Apply(torch.autograd.Function):
    """Output of a layer, bias added; differentiable by images and weights."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
        output = layer.output(images, weight)
        if bias is not None:
            output += per_channel(bias, output, layer.channel_axis)
        ctx.save_for_backward(images, weight, bias)
        ctx.layer, ctx.output, ctx.version = layer, output.detach(), output._version
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, bias = ctx.saved_tensors
        layer: Layer = ctx.layer
        ledger = layer.ledger
        to_weight = None
        if ledger.purpose != "images":
            layer.note(gradient.detach(), _Apply.value(ctx), bias)
        if ledger.purpose == "weights":
            to_weight = _ToWeight.apply(gradient, images, weight.detach(), layer)
        starts_here = images.is_leaf and ledger.purpose != "images"
        wanted = ctx.needs_input_grad[0] and not starts_here
        to_images = _ToImages.apply(gradient, images.detach(), weight.detach(), layer) if wanted else None
        return to_images, to_weight, None, None

    @staticmethod
    def value(ctx: Any) -> Tensor:
        """The output as it was, computed again if it has been worked on in place since."""
        images, weight, bias = ctx.saved_tensors
        if ctx.output._version == ctx.version:
            return ctx.output  # type: ignore[no-any-return]
        output: Tensor = ctx.layer.output(images.detach(), weight.detach())
        return output if bias is None else output + per_channel(bias, output, ctx.layer.channel_axis)


class _ToImages(torch.autograd.Function):
    """The transpose by the images; differentiable by the gradient that it carries."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, weight: Tensor, layer: Layer) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.layer = layer
        return layer.to_images(gradient, images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        by_gradient = ctx.layer.output(second, weight)
        ctx.layer.ledger.by_scale += _dot(by_gradient, gradient)
        return by_gradient, None, None, None


class _ToWeight(torch.autograd.Function):
    """The transpose by the weights; differentiable by the gradient that it carries and by the images."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, weight: Tensor, layer: Layer) -> Tensor:
        ctx.save_for_backward(gradient, images)
        ctx.layer = layer
        return layer.to_weight(gradient, images, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, images = ctx.saved_tensors
        by_images = ctx.layer.to_images(gradient, images, second) if ctx.needs_input_grad[1] else None
        return ctx.layer.output(images, second), by_images, None, None


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum(dtype=torch.float64))
