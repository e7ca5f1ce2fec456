"""How much removing connections would change the gradient flow."""

from archimed.indicators.probe import Probe


def grasp(probe: Probe) -> float:
    """-sum of W * (H g), H the Hessian of the loss and g its gradient by the weights (GraSP: Wang et al., 2020).

    Temperature T = 1, sign as Abdelfattah et al., 2021 (MSTF-NAS, Eq. 2).
    """
    return -probe.curvature
