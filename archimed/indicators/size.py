"""What a network costs: counts that often rank networks as well as indicators do."""

from archimed.indicators.probe import Probe


def parameters(probe: Probe) -> float:
    """Learnable numbers of the network, shared ones once."""
    return float(sum(parameter.numel() for parameter in probe.network.parameters()))


def macs(probe: Probe) -> float:
    """Multiply-accumulates of one image in convolutions, linear layers and matrix products.

    Papers on architecture search often print this number as FLOPs; a FLOP counter gives twice as much.
    """
    return float(probe.macs)
