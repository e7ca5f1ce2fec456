"""How much the loss changes as connections are removed."""

import math

from archimed.indicators.probe import Probe


def snip(probe: Probe) -> float:
    """Sum of |W * dL/dW| over the weights of convolutions and linear layers (SNIP: Lee et al., 2019)."""
    by_weight = probe.weight_gradients
    pairs = zip(by_weight.weights, by_weight.gradients, strict=True)
    return math.fsum(float((weight.detach() * gradient).abs().sum()) for weight, gradient in pairs)
