"""How differently a network's rectifiers switch for different images."""

import torch

from archimed.indicators.probe import Probe


def naswot(probe: Probe) -> float:
    """Log-determinant of the kernel of shared ReLU activations; higher is better.

    K[i, j] counts the ReLU units that images i and j switch alike, N_A - hamming(c_i, c_j) (MSTF-NAS, Eq. 3-4, there
    called jacob_cov; Mellor et al., 2021). Leaky and clipped rectifiers (PReLU, ReLU6) count as ReLUs by their knot at
    zero. -inf if two images of the batch have equal codes, or if nothing is rectified.
    """
    return float(torch.linalg.slogdet(probe.relu_kernel).logabsdet)
