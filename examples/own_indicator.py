"""An indicator of your own: a number, higher for better networks, from one mini-batch and without training.

archimed run mstf-nas --data phantom:lesions2d --out runs/rank \\
    --set search.indicators=examples/own_indicator.py:effective_rank,log_synflow
"""

import torch

from archimed.indicators import Probe


def effective_rank(probe: Probe) -> float:
    """Exponential of the entropy of the ReLU-code kernel's eigenvalues: how many images are told apart.

    The probe computes what indicators share only once; see archimed.indicators.probe.
    """
    shares = torch.linalg.eigvalsh(probe.relu_kernel).clamp(min=1e-12)
    shares = shares / shares.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


if __name__ == "__main__":
    from archimed.testing import check_indicator

    check_indicator(effective_rank)
    print("the indicator keeps its contract")
