"""Statistics of the stored values of many images, gathered part by part, so that memory does not grow with the data."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, Shaped

from archimed.data.arrays import Arrays

AIR = -950.0  # Hounsfield units; air is -1000 and emphysema begins here (Gevenois 1996), so tissue lies above
PERCENTILES = (0.5, 99.5)  # of the foreground, as nnU-Net clips CT
IMAGES_AT_ONCE = 256
VALUES_AT_ONCE = 2**24  # 128 MiB in double precision
BINS = 2**20  # of floating-point values
LIMIT = 2.0**15  # floating-point values are counted within this of zero, as in int16


def moments(images: Arrays) -> tuple[Float[np.ndarray, " channel"], Float[np.ndarray, " channel"]]:
    """Mean and standard deviation of each channel over all pixels; zero deviation for a constant channel."""
    shift = images[0].double().flatten(1).mean(1).numpy()  # keeps the sum of squares from cancelling
    totals, squares, count = np.zeros(len(shift)), np.zeros(len(shift)), 0
    for part in images.parts(_at_once(images)):
        for channel, start in enumerate(shift):
            pixels = part[:, channel].double().numpy().ravel()
            pixels -= start
            totals[channel] += pixels.sum()
            squares[channel] += np.square(pixels, out=pixels).sum()
        count += pixels.size
    variance = np.maximum(squares / count - np.square(totals / count), 0.0)
    return totals / count + shift, np.sqrt(variance)


@dataclass(frozen=True)
class Foreground:
    """The foreground of a channel of CT or PET: voxels of classes but background, else of the region, or above air.

    Where no voxel is of the foreground, all are. `region` is the channel that holds the region, if one does.
    """

    images: Arrays
    channel: int
    masks: Arrays | None = None
    region: int | None = None

    def window(self) -> tuple[float, float]:
        """The percentiles between which nnU-Net clips CT; as NumPy defines them."""
        low, high = (self._percentile(percent) for percent in PERCENTILES)
        return (low, high) if low < high else (low, low + 1.0)

    def moments(self, low: float, high: float) -> tuple[float, float]:
        """Mean and standard deviation of the values clipped to these limits."""
        values, counts = self._histogram
        clipped = values.clip(low, high)
        mean = float(np.average(clipped, weights=counts))
        return mean, math.sqrt(float(np.average(np.square(clipped - mean), weights=counts)))

    def _percentile(self, percent: float) -> float:
        values, counts = self._histogram
        upto = counts.cumsum()
        place = (int(upto[-1]) - 1) * percent / 100
        below, above = (float(values[np.searchsorted(upto, k, side="right")]) for k in (int(place), math.ceil(place)))
        return below + (above - below) * (place - int(place))

    @cached_property
    def _histogram(self) -> tuple[Float[np.ndarray, " value"], Int[np.ndarray, " value"]]:
        """Different values in rising order and how often each occurs (see `_Bins`)."""
        whole = not any(pixels.size for pixels in self._parts(whole=False))
        bins = self._bins(whole)
        counts = np.zeros(bins.count, np.int64)
        for pixels in self._parts(whole):
            counts += np.bincount(bins.number(pixels), minlength=bins.count)
        there = np.flatnonzero(counts)
        return bins.first + there * bins.width, counts[there]

    def _bins(self, whole: bool) -> "_Bins":
        stored = self.images[0].numpy().dtype
        if np.issubdtype(stored, np.integer):
            info = np.iinfo(stored)
            return _Bins(float(info.min), 1.0, int(info.max) - int(info.min) + 1)
        extremes = [(pixels.min(), pixels.max()) for pixels in self._parts(whole) if pixels.size]
        low = max(float(min(low for low, _ in extremes)), -LIMIT)
        high = min(float(max(high for _, high in extremes)), LIMIT)
        width = 2.0 ** math.ceil(math.log2(max(high - low, 2.0**-60) / (BINS - 2)))
        return _Bins(math.floor(low / width) * width, width, BINS)

    def _parts(self, whole: bool) -> Iterator[Shaped[np.ndarray, " voxel"]]:
        """The stored values of the foreground, or of the whole images, part by part."""
        size = _at_once(self.images)
        masks = self.masks.parts(size) if self.masks is not None else None
        for part in self.images.parts(size):
            pixels = part[:, self.channel].numpy()
            if masks is not None:
                inside = next(masks).numpy() > 0
            else:
                inside = pixels > AIR if self.region is None else part[:, self.region].numpy() > 0
            yield pixels.ravel() if whole else pixels[inside]


@dataclass(frozen=True)
class _Bins:
    """Evenly spaced values: of integers each one, of floating-point numbers steps of a power of two.

    A million steps span the values, so a step is 1/16 Hounsfield unit at most, and whole numbers are counted exactly.
    """

    first: float
    width: float
    count: int

    def number(self, pixels: Shaped[np.ndarray, " voxel"]) -> Int[np.ndarray, " voxel"]:
        """Which bin each value falls into; those outside go to the ends."""
        if self.width == 1.0 and np.issubdtype(pixels.dtype, np.integer):
            return pixels.astype(np.int64) - int(self.first)
        steps = np.rint((pixels.astype(np.float64) - self.first) / self.width)
        return steps.clip(0, self.count - 1).astype(np.int64)


def _at_once(images: Arrays) -> int:
    """How many images are taken at a time."""
    return min(IMAGES_AT_ONCE, max(1, VALUES_AT_ONCE // max(math.prod(images.shapes[0]), 1)))
