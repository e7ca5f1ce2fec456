"""Run a network without leaving a trace on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from archimed.seeding import derive_seed


@contextmanager
def left_as_found(network: nn.Module, training: bool, seed: int) -> Iterator[None]:
    """Put every module in one mode, copies in place of its buffers and the random stream at the seed; undo all three.

    Batch statistics come from training mode, and the running ones are updated on the copies. What the network itself
    draws (dropout) comes from the seed, so a measurement repeats, and the global generators go on as if nothing had
    been drawn. All is undone after an error too.
    """
    found = [(module, module.training, dict(module._buffers)) for module in network.modules()]
    copies = {
        id(buffer): buffer.clone() for _, _, buffers in found for buffer in buffers.values() if buffer is not None
    }
    devices = sorted({tensor.get_device() for tensor in network.parameters() if tensor.is_cuda})
    stream = derive_seed(seed, "indicators")
    with torch.random.fork_rng(devices):
        try:
            for module, _, buffers in found:
                module.training = training
                module._buffers.update({name: copies.get(id(buffer)) for name, buffer in buffers.items()})
            torch.default_generator.manual_seed(stream)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(stream)
            yield
        finally:
            for module, mode, buffers in found:
                module.training = mode
                module._buffers.update(buffers)


def channels_last(images: Tensor) -> Tensor:
    """The same images with the channels of a pixel side by side in memory, which CPU convolutions prefer.

    Unlike `Tensor.to`, this settles the strides of images with one channel too, from which layers choose their form.
    """
    if images.dim() not in (4, 5):
        return images
    layout = torch.channels_last if images.dim() == 4 else torch.channels_last_3d
    return torch.empty_like(images, memory_format=layout).copy_(images)
