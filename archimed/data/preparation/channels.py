"""Grey and RGB: images as one or as three channels."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from archimed.errors import DataError

LUMA = torch.tensor([0.299, 0.587, 0.114])  # grey from RGB (ITU-R BT.601)


def with_channels(
    images: Shaped[Tensor, "case channel *space"], channels: int | None
) -> Shaped[Tensor, "case channel *space"]:
    """Images as grey (1) or RGB (3), in the same number type; None leaves them; DataError if they are neither."""
    if channels is None or images.shape[1] == channels:
        return images
    if images.shape[1] not in (1, 3):
        raise DataError(
            f"data.channels converts between grey and RGB; the images have {images.shape[1]} channels. Leave it out."
        )
    if channels == 3:
        return images.expand(-1, 3, *images.shape[2:]).contiguous()
    luma = LUMA.view(1, 3, *(1,) * (images.ndim - 2))
    grey = (images.to(torch.float32) * luma).sum(1, keepdim=True)
    return (grey if images.is_floating_point() else grey.round()).to(images.dtype)
