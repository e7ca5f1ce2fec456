"""Synaptic flow: how much an image of ones gets through the absolute weights, without data or loss."""

from archimed.indicators.probe import Probe


def synflow(probe: Probe) -> float:
    """Sum of |W * dR/dW| over the weights of convolutions and linear layers; higher is better.

    R is the summed output for one image of ones, parameters are absolute and normalisation of every kind is bypassed
    (Tanaka et al., 2020; MSTF-NAS, Sec. III-B). Terms add up without their absolute values, which is the same wherever
    more of any activation never means less output (ReLU, pooling, sums, gates; not softmax or subtraction).
    Infinite above 1.8e308: `log_synflow` goes on.
    """
    return probe.flow.value


def log_synflow(probe: Probe) -> float:
    """Natural logarithm of `synflow`, without overflow at any depth; -inf if nothing gets through."""
    return probe.flow.log
