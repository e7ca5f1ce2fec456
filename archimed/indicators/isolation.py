"""Run a network without leaving a trace on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from archimed.seeding import derive_seed


@contextmanager
def left_as_found(network: nn.Module, training: bool, seed: int) -> Iterator[None]:
    """Put every module in one mode and set the random stream; undo both, also after an error.

    Batch statistics come from training mode. What the network itself draws (dropout) comes from the seed, so a
    measurement repeats, and the global generators go on as if nothing had been drawn.
    """
    modes = [(module, module.training) for module in network.modules()]
    devices = sorted({tensor.get_device() for tensor in network.parameters() if tensor.is_cuda})
    stream = derive_seed(seed, "indicators")
    with torch.random.fork_rng(devices):
        try:
            for module, _ in modes:
                module.training = training
            torch.default_generator.manual_seed(stream)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(stream)
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def call_on_copied_buffers(network: nn.Module, images: Tensor, parameters: dict[str, Tensor] | None = None) -> Tensor:
    """The network's output, with copies of its buffers in their place, so running statistics stay as they are.

    Args:
        network: the network.
        images: its input.
        parameters: tensors to use in place of the parameters of these names.
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    output: Tensor = functional_call(network, {**buffers, **(parameters or {})}, (images,))
    return output


def channels_last(images: Tensor) -> Tensor:
    """The same images with the channels of a pixel side by side in memory, which CPU convolutions prefer.

    Unlike `Tensor.to`, this settles the strides of images with one channel too, from which layers choose their form.
    """
    if images.dim() not in (4, 5):
        return images
    layout = torch.channels_last if images.dim() == 4 else torch.channels_last_3d
    return torch.empty_like(images, memory_format=layout).copy_(images)
