"""Zen score: how expressive a network with Gaussian weights is around Gaussian noise, without data or loss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from archimed.indicators.calls import LAYERS, Call, first_argument
from archimed.indicators.isolation import channels_last, left_as_found
from archimed.indicators.probe import Probe
from archimed.seeding import torch_generator

GLOBAL_POOLINGS: frozenset[Call] = frozenset(
    {
        functional.adaptive_avg_pool1d,
        functional.adaptive_avg_pool2d,
        functional.adaptive_avg_pool3d,
        functional.adaptive_max_pool1d,
        functional.adaptive_max_pool2d,
        functional.adaptive_max_pool3d,
        torch.adaptive_avg_pool1d,
    }
)
MEANS: frozenset[Call] = frozenset({torch.mean, torch.amax, Tensor.mean, Tensor.amax})


@dataclass(frozen=True)
class ZenScore:
    """The Zen score (Lin et al., 2021, Algorithm 1), as an indicator with settings.

    log E sum |f(x) - f(x + e * noise)| plus, for every batch normalisation, the log of the root of the mean batch
    variance of its input, which makes up for what the normalisation divides away. Weights are drawn from N(0, 1) by
    the probe's seed, biases are zero, normalisation scales one and shifts zero; x is Gaussian noise of the images'
    shape. f is what the global pooling at the end reads (else the last linear layer, else the output). Batch variances
    are those of the pass on x itself; the released code reads running averages, which drift.

    The paper removes residual links. A module that has one says so by an attribute `residual`, which is False while it
    is measured; other sums are taken as they are, for a plain module does not say which of them are residual.

    Attributes:
        perturbation: size of the perturbation e, in standard deviations of x (Lin et al., 2021).
        batch_size: noise images (released code).
    """

    perturbation: float = 0.01
    batch_size: int = 16

    draws_weights: ClassVar[bool] = True  # and reads none of those that the network came with

    def __call__(self, probe: Probe) -> float:
        """The score of the probe's network; higher is better."""
        generator = torch_generator(probe.seed, "zen_score")
        images = probe.batch.images
        shape = (min(self.batch_size, len(images)), *images.shape[1:])
        drawn = _gaussian_weights(probe.network, generator)
        noise, direction = (channels_last(torch.randn(shape, generator=generator).to(images)) for _ in range(2))
        with _without_residuals(probe.network):
            clean, perturbed = (
                self._features(probe, images, drawn) for images in (noise, noise + self.perturbation * direction)
            )
        change = (clean.features - perturbed.features).abs().flatten(1).double().sum(1).mean()
        return float(change.log()) + clean.log_deviations

    def _features(self, probe: Probe, images: Tensor, drawn: dict[str, Tensor]) -> "_Features":
        """One pass; each starts from the seed, so that dropout is the same in both."""
        features = _Features()
        with left_as_found(probe.network, training=True, seed=probe.seed), torch.no_grad():
            with features:
                output = functional_call(probe.network, drawn, (images,))
            features.finish(output)
        return features


zen_score = ZenScore()


class _Features(TorchFunctionMode):
    """Records the features before the classifier and the variances that batch normalisations see."""

    def __init__(self) -> None:
        super().__init__()
        self.log_deviations = 0.0
        self._pooled: Tensor | None = None
        self._classified: Tensor | None = None

    def finish(self, output: Tensor) -> None:
        """Settle what the features are."""
        known = (self._pooled, self._classified)
        self.features = next((tensor for tensor in known if tensor is not None), output)

    def __torch_function__(
        self, func: Call, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            output, variances = _batch_norm(*args, **kwargs)
            self.log_deviations += 0.5 * float(variances.mean().log())
            return output
        if func is functional.linear:
            self._classified = first_argument(args, kwargs)
        elif func in LAYERS:
            self._pooled = self._classified = None
        output = func(*args, **kwargs)
        if func in GLOBAL_POOLINGS or func in MEANS:
            features = first_argument(args, kwargs)
            if features.dim() > 2 and output.shape[:2].numel() == output.numel() == features.shape[:2].numel():
                self._pooled = features
        return output


def _batch_norm(
    features: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor]:
    """`functional.batch_norm`, and the variances of the batch, in float64.

    Running averages that forget at once are these variances, which the normalisation computes anyway.
    """
    count = features.numel() // features.shape[1]
    if not training or count < 2:
        variances = features.double().var([axis for axis in range(features.dim()) if axis != 1], correction=0)
        output = functional.batch_norm(features, running_mean, running_var, weight, bias, training, momentum, eps)
        return output, variances
    mean, variances = (features.new_zeros(features.shape[1]) for _ in range(2))
    output = functional.batch_norm(features, mean, variances, weight, bias, True, 1.0, eps)
    return output, variances.double() * ((count - 1) / count)


@contextmanager
def _without_residuals(network: nn.Module) -> Iterator[None]:
    """Residual links that modules own are left out, and put back."""
    linked = [module for module in network.modules() if getattr(module, "residual", None) is True]
    try:
        for module in linked:
            module.__dict__["residual"] = False
        yield
    finally:
        for module in linked:
            module.__dict__["residual"] = True


def _gaussian_weights(network: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    """N(0, 1) for the weights of layers, zero for biases, one and zero for scales and shifts of normalisations."""
    drawn = {}
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if name.endswith("bias"):
                drawn[name] = torch.zeros_like(parameter)
            elif parameter.dim() > 1:
                drawn[name] = torch.randn(parameter.shape, generator=generator).to(parameter)
            elif not isinstance(module, nn.PReLU):
                drawn[name] = torch.ones_like(parameter)
    return drawn
