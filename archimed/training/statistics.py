"""Batch normalisation by the statistics of some images instead of those met in training, for a while."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def statistics_of(network: nn.Module, passes: Iterable[Callable[[], object]]) -> Iterator[None]:
    """Within the block, running averages are the means over these forward passes; afterwards as before, to the bit.

    Layers that share weights among many paths meet features of all of them in training; the averages of one path alone
    say what it can do (Guo et al., 2020, "Single Path One-Shot", Sec. 3.4). Modes of layers are restored too.

    Args:
        network: its batch normalisations with running averages.
        passes: each runs the network on a batch, in eval mode but for its batch normalisations.
    """
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None
    ]
    modes = [(module, module.training) for module in network.modules()]
    kept = [(layer.momentum, [buffer.clone() for buffer in layer.buffers()]) for layer in layers]
    try:
        network.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all passes
            layer.train()
        with torch.no_grad():
            for run in passes:
                run()
        for layer in layers:
            layer.eval()
        yield
    finally:
        for layer, (momentum, buffers) in zip(layers, kept, strict=True):
            layer.momentum = momentum
            for buffer, before in zip(layer.buffers(), buffers, strict=True):
                buffer.copy_(before)
        for module, training in modes:
            module.training = training
