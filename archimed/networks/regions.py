"""What is bright in an image: a stand-in for a tumour where nobody has outlined it."""

from jaxtyping import Bool, Float
from torch import Tensor

SHARE = 0.4  # of the way from the least to the greatest value; in PET, about 40 % of the highest uptake


def bright(channel: Float[Tensor, "batch *space"]) -> Bool[Tensor, "batch *space"]:
    """Where one channel of each image lies above 40 % of its range; nowhere in an image of one value.

    The limit moves with any scale and offset of the values, so it is the same before and after normalisation.
    """
    space = tuple(range(1, channel.ndim))
    low, high = channel.amin(space, keepdim=True), channel.amax(space, keepdim=True)
    return channel > low + SHARE * (high - low)
