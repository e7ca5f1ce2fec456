"""Regions of an image: what numbers an outlined one tells, and what is bright, a stand-in where nobody outlined it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

LEAST_VARIANCE = 1e-5  # added before dividing, as in batch normalisation
SHARE = 0.4  # of the way from the least to the greatest value; in PET, about 40 % of the highest uptake


def bright(channel: Float[Tensor, "batch *space"]) -> Bool[Tensor, "batch *space"]:
    """Where one channel of each image lies above 40 % of its range; nowhere in an image of one value.

    The limit moves with any scale and offset of the values, so it is the same before and after normalisation.
    """
    space = tuple(range(1, channel.ndim))
    low, high = channel.amin(space, keepdim=True), channel.amax(space, keepdim=True)
    return channel > low + SHARE * (high - low)


def region_statistics(
    images: Float[Tensor, "batch channel *space"], region: Float[Tensor, "batch 1 *space"]
) -> Float[Tensor, "batch number"]:
    """Mean, standard deviation and maximum of each channel in a region of 0 and 1, and the logarithm of its pixels.

    All means first, then all deviations, all maxima; where no pixel is in the region, all are 0.
    """
    values, inside = images.flatten(2).float(), region.flatten(2) > 1 / 2
    count = inside.sum(2)
    share = inside / count.clamp(min=1)[..., None]
    mean = (values * share).sum(2)
    variance = ((values - mean[..., None]).square() * share).sum(2)
    greatest = values.masked_fill(~inside, -torch.inf).amax(2).masked_fill(count == 0, 0)
    return torch.cat([mean, variance.sqrt(), greatest, count.clamp(min=1).log()], dim=1)


class RegionNumbers(nn.Module):
    """What a region tells of an image (see `region_statistics`), brought to mean 0 and deviation 1.

    Mean and deviation are those of all images met in training so far, each counted as often as it was met: batches of
    one will do, and in evaluation an image's numbers do not depend on others.

    Attributes:
        count: images met.
        mean: of each number [number].
        variance: of each number [number].
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.size = 3 * channels + 1
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("variance", torch.ones(self.size))

    def forward(
        self, images: Float[Tensor, "batch channel *space"], region: Float[Tensor, "batch 1 *space"]
    ) -> Float[Tensor, "batch number"]:
        """The standardised numbers of each image."""
        numbers = region_statistics(images, region)
        if self.training:
            self._learn(numbers.detach())
        return (numbers - self.mean) / (self.variance + LEAST_VARIANCE).sqrt()

    @torch.no_grad()
    def _learn(self, numbers: Float[Tensor, "batch number"]) -> None:
        """Take a batch into mean and variance (Chan et al., 1983, on merging samples)."""
        new = self.count + len(numbers)
        apart = numbers.mean(0) - self.mean
        within = self.variance * self.count + numbers.var(0, correction=0) * len(numbers)
        self.variance.copy_((within + apart.square() * self.count * len(numbers) / new) / new)
        self.mean.add_(apart * len(numbers) / new)
        self.count.copy_(new)
