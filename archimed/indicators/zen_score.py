"""Zen score: how expressive a network with Gaussian weights is around Gaussian noise, without data or loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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

    The paper removes residual links. A plain module does not say which of its sums are residual, so the network is
    taken as it is: a space with residual links builds its network without them for this indicator.

    Attributes:
        perturbation: size of the perturbation e, in standard deviations of x (Lin et al., 2021).
        batch_size: noise images (released code).
    """

    perturbation: float = 0.01
    batch_size: int = 16

    def __call__(self, probe: Probe) -> float:
        """The score of the probe's network; higher is better."""
        generator = torch_generator(probe.seed, "zen_score")
        images = probe.batch.images
        shape = (min(self.batch_size, len(images)), *images.shape[1:])
        drawn = _gaussian_weights(probe.network, generator)
        noise, direction = (channels_last(torch.randn(shape, generator=generator).to(images)) for _ in range(2))
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
            features = first_argument(args, kwargs)
            variances = features.double().var([axis for axis in range(features.dim()) if axis != 1], correction=0)
            self.log_deviations += 0.5 * float(variances.mean().log())
        elif func is functional.linear:
            self._classified = first_argument(args, kwargs)
        elif func in LAYERS:
            self._pooled = self._classified = None
        output = func(*args, **kwargs)
        if func in GLOBAL_POOLINGS or func in MEANS:
            features = first_argument(args, kwargs)
            if features.dim() > 2 and output.shape[:2].numel() == output.numel() == features.shape[:2].numel():
                self._pooled = features
        return output


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
