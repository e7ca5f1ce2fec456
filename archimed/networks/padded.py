"""A segmentation network for images of any size: padded to what its poolings divide, the answer cut to the image."""

from typing import Protocol, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

Maps = Float[Tensor, "batch channel *space"]


class WithExits(Protocol):
    """A network of several outputs."""

    def exits(self, images: Maps) -> tuple[Maps, ...]:
        """Logits of the image's size, the earliest exit first, the final output last."""
        ...


class Padded(nn.Module):
    """Pads images by repeating their last pixels, and cuts logits to the size of the image.

    In training mode a network with `exits` gives all of them (deep supervision), else the final output alone.
    """

    def __init__(self, network: nn.Module, multiples: tuple[int, ...]) -> None:
        """The network must keep the size of images whose axes are multiples of `multiples`, pixels."""
        super().__init__()
        self.network = network
        self.multiples = multiples

    @property
    def has_exits(self) -> bool:
        """Whether there are outputs beside the final one."""
        return hasattr(self.network, "exits")

    def forward(self, images: Maps) -> Maps | tuple[Maps, ...]:
        """Logits [batch, class, *space]; a tuple of them in training mode, if the network has exits."""
        if self.training and self.has_exits:
            return self.exits(images)
        logits: Tensor = self.network(self._padded(images))
        return _cut(logits, images)

    def exits(self, images: Maps) -> tuple[Maps, ...]:
        """All outputs, the earliest first; the final one alone if there are no others."""
        padded = self._padded(images)
        outputs = cast(WithExits, self.network).exits(padded) if self.has_exits else (self.network(padded),)
        return tuple(_cut(logits, images) for logits in outputs)

    def _padded(self, images: Maps) -> Maps:
        space = images.shape[2:]
        sizes = [-(-pixels // multiple) * multiple for pixels, multiple in zip(space, self.multiples, strict=True)]
        if sizes == list(self.multiples):  # instance normalisation needs more than one pixel on the coarsest map
            sizes[-1] *= 2
        after = [side for pixels, size in zip(space, sizes, strict=True) for side in (size - pixels, 0)]
        return functional.pad(images, after[::-1], mode="replicate") if any(after) else images


def _cut(logits: Maps, images: Maps) -> Maps:
    for axis, pixels in enumerate(images.shape[2:], start=2):
        logits = logits.narrow(axis, 0, pixels)
    return logits
