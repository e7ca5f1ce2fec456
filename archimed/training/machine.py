"""How a network is computed on this machine: threads, device, number format and memory layout."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from archimed.processor import computing

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Precision = Literal["float32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Candidates = Literal["threads", "processes"]


@dataclass(frozen=True)
class Machine:
    """One way to compute; chosen once by a trial, recorded, and reused so that results repeat.

    Attributes:
        threads: CPU threads of one operation.
        device: `cpu` or `cuda:<i>`.
        precision: of the forward and backward pass in training; `bfloat16` keeps weights, losses and the optimizer
            in float32 (autocast). Predictions are always computed in float32.
        memory_format: order of an image tensor in memory; `channels_last` puts the channels innermost, in 2D and 3D.
        candidates: how the threads measure a search's candidates where one worker is wanted: `threads` takes one
            candidate at a time with all of them, `processes` as many candidates as there are threads, each in a process
            with one.
    """

    threads: int
    device: str = "cpu"
    precision: Precision = "float32"
    memory_format: MemoryFormat = "contiguous"
    candidates: Candidates = "threads"

    def to_dict(self) -> dict[str, Any]:
        """The value as JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Machine":
        """Read back what `to_dict` gave; further keys are passed over."""
        return cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})

    def place_network(self, network: "nn.Module") -> "nn.Module":
        """Move the network, in place, to the device and memory layout.

        Our own 3D networks compute in quicker forms on a CPU in channels-last layout (`quick_convolution`).
        """
        import torch

        from archimed.networks.layers import use_quick_forms

        network.to(self.device)
        innermost = self.device == "cpu" and self.memory_format == "channels_last"
        if innermost and any(weight.ndim == 5 for weight in network.parameters()):
            use_quick_forms(network)
        for layer in network.modules():
            for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
                if tensor.ndim in (4, 5) and not _is_stacked(tensor, layer):
                    layout = self._layout(tensor.ndim) or torch.contiguous_format
                    tensor.data = tensor.data.contiguous(memory_format=layout)
        return network

    def place_images(self, images: "Tensor") -> "Tensor":
        """Images [batch, channel, *space] on the device, in the memory layout."""
        layout = self._layout(images.ndim)
        images = images.to(self.device, non_blocking=True)
        return images if layout is None else images.contiguous(memory_format=layout)

    def _layout(self, ndim: int) -> "torch.memory_format | None":
        import torch

        if self.memory_format == "contiguous":
            return None
        return {4: torch.channels_last, 5: torch.channels_last_3d}.get(ndim)

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a training forward pass."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.split(":", maxsplit=1)[0], dtype=torch.bfloat16)

    def session(self) -> AbstractContextManager[None]:
        """Run a block with this machine's threads (`archimed.processor`)."""
        return computing(self.threads)


def _is_stacked(tensor: "Tensor", layer: "nn.Module") -> bool:
    """Whether a convolution's filters have a further axis, as those of several readers; they lie as they were made."""
    kernel: tuple[int, ...] = getattr(layer, "kernel_size", ())
    return bool(kernel) and tensor.ndim != len(kernel) + 2
