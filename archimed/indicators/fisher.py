"""Fisher information of the output channels."""

import math

from archimed.indicators.probe import Probe


def fisher(probe: Probe) -> float:
    """Sum of channel saliencies, each weighted by its filter size; higher is better.

    The saliency of channel c is 0.5 * mean over images of (sum over pixels of a * dL/da)^2, at the output a of every
    convolution and linear layer (Theis et al., 2018; Turner et al., 2020). MSTF-NAS's Eq. 2 names only the last
    convolution; we follow the code it cites (Abdelfattah et al., 2021), which takes all of them and counts a channel
    once per weight of its filter.
    """
    return math.fsum(size * 0.5 * float(flow.square().mean(0).sum()) for size, flow in probe.channel_flows)
