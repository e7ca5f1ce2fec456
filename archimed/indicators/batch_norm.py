"""Batch normalisation by batch statistics whose second derivative is as cheap as its first.

PyTorch writes the second derivative out in some twenty passes over the features. With x^ the normalised features, r the
inverse deviation, m(.) the mean over images and pixels of a channel and P(u) = u - m(u) - x^ m(u x^), which is
symmetric, the first derivative carries g to r P(scale * g). Its own derivatives, for v that comes in, are
scale * r P(v) by g, and by x

    -r^2 P(v m(a x^) + a m(v x^)) - r F x^ / M,    a = scale * g,  F = <v, r P(a)>,  M values per channel.

One fused kernel gives r P(.).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from archimed.indicators.calls import per_channel


def batch_norm(features: Tensor, scale: Tensor | None, shift: Tensor | None, eps: float) -> Tensor:
    """Normalise by the statistics of this batch; differentiable twice by the features alone."""
    output: Tensor = _Normalise.apply(features, scale, shift, eps)
    return output


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, scale: Tensor | None, shift: Tensor | None, eps: float) -> Tensor:
        output, mean, inverse = torch.native_batch_norm(features, scale, shift, None, None, True, 0.0, eps)
        ctx.save_for_backward(features, scale, mean, inverse)
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, scale, mean, inverse = ctx.saved_tensors
        scale = None if scale is None else scale.detach()
        return _Project.apply(gradient, features, scale, mean, inverse, ctx.eps), None, None, None


class _Project(torch.autograd.Function):
    """Gives r P(scale * gradient)."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, features: Tensor, scale: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
    ) -> Tensor:
        projected, products = _project(gradient, features, scale, mean, inverse, eps)
        ctx.save_for_backward(gradient, features, scale, mean, inverse, projected, products)
        ctx.eps = eps
        return projected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor | None, ...]:
        gradient, features, scale, mean, inverse, projected, products = ctx.saved_tensors
        count = features.numel() // features.shape[1]
        by_gradient, second_products = _project(second, features, scale, mean, inverse, ctx.eps)
        first_factor = products / count if scale is None else scale * products / count  # m(a x^)
        second_factor = second_products / count if scale is None else scale * second_products / count
        mixed = second * per_channel(first_factor, second, 1)
        mixed = torch.addcmul(mixed, gradient, per_channel(second_factor, second, 1))
        by_features, _ = _project(mixed, features, None, mean, inverse, ctx.eps)
        flow = (second * projected).sum([axis for axis in range(features.dim()) if axis != 1])
        slope = inverse**2 * flow / count
        by_features = by_features * per_channel(-inverse, features, 1) - features * per_channel(slope, features, 1)
        return by_gradient, by_features + per_channel(slope * mean, features, 1), None, None, None, None


def _project(
    gradient: Tensor, features: Tensor, scale: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Give r P(scale * gradient), and per channel the sum of gradient * x^.

    The kernel is slow where gradient and features lie differently in memory, as after a concatenation.
    """
    if gradient.stride() != features.stride():
        gradient = torch.empty_like(features).copy_(gradient)
    wanted = [True, True, False]
    projected, products, _ = torch.ops.aten.native_batch_norm_backward(
        gradient, features, scale, None, None, mean, inverse, True, eps, wanted
    )
    return projected, products
