"""How correlated the input gradients of different images are."""

import torch

from archimed.indicators.probe import Probe

EPSILON = 1e-5  # Mellor et al., 2020 (NASWOT, first version)


def jacob_cov(probe: Probe) -> float:
    """Score of the correlations between per-image input gradients; higher is better.

    -sum(log(v + eps) + 1 / (v + eps)) over the eigenvalues v of the correlation matrix of the gradients of the summed
    logits (Mellor et al., 2020; Abdelfattah et al., 2021). The correlations and eigenvalues are taken in float64:
    1 / (v + eps) is ill-conditioned. NaN if the gradient of an image is constant.
    """
    correlations = torch.corrcoef(probe.input_gradient.flatten(1).double())
    if not bool(torch.isfinite(correlations).all()):
        return float("nan")
    shifted = torch.linalg.eigvalsh(correlations) + EPSILON
    return -float((shifted.log() + 1 / shifted).sum())
