"""The size of the loss gradient at initialisation."""

import math

from archimed.indicators.probe import Probe


def grad_norm(probe: Probe) -> float:
    """Sum over layers of the Euclidean norm of dL/dW (Abdelfattah et al., 2021; MSTF-NAS, Sec. III-B)."""
    return math.fsum(float(gradient.norm()) for gradient in probe.weight_gradients.gradients)
