"""Raw images to the float32 values a network sees: fitted on training images only, kept with the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset, Subset
from archimed.data.settings import DataSettings
from archimed.errors import DataError

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # of other types: 1
CHUNK = 256  # images summed at a time


@dataclass(frozen=True)
class Normalisation:
    """Per channel: (raw / full_scale - mean) / std.

    Attributes:
        full_scale: raw value that counts as 1: 255, 65535, or 1 for floating-point images.
        mean: per channel, in units of the full scale.
        std: per channel, in units of the full scale, positive.
    """

    full_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def half(cls, dtype: torch.dtype, channels: int) -> "Normalisation":
        """Mean and standard deviation 0.5, which maps the full scale to [-1, 1] (MedMNIST protocol)."""
        return cls(FULL_SCALE.get(dtype, 1.0), (0.5,) * channels, (0.5,) * channels)

    @classmethod
    def fit(cls, images: Arrays) -> "Normalisation":
        """Mean and standard deviation per channel over all pixels of these images; a constant channel has std 1."""
        full_scale = FULL_SCALE.get(images.dtype, 1.0)
        shift = images[0].double().flatten(1).mean(1).numpy()  # keeps the sum of squares from cancelling
        totals, squares, count = np.zeros(len(shift)), np.zeros(len(shift)), 0
        for part in images.parts(CHUNK):
            pixels = part.double().transpose(0, 1).flatten(1).numpy() - shift[:, None]
            totals += pixels.sum(1)
            squares += np.square(pixels).sum(1)
            count += pixels.shape[1]
        variance = np.maximum(squares / count - np.square(totals / count), 0.0)
        std = np.where(variance > 0, np.sqrt(variance) / full_scale, 1.0)
        return cls(full_scale, tuple(map(float, (totals / count + shift) / full_scale)), tuple(map(float, std)))

    def __call__(self, images: Shaped[Tensor, "case channel *space"]) -> Float[Tensor, "case channel *space"]:
        """Normalised copy as float32, on the same device and in the same memory format."""
        if images.shape[1] != len(self.mean):
            raise DataError(
                f"Images must have the {len(self.mean)} channels the network was made for; got {images.shape[1]}. "
                "Convert them with --set data.channels=1 or 3."
            )
        scale = [1.0 / (self.full_scale * std) for std in self.std]
        offset = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        values = images.to(torch.float32, copy=True)
        if len(set(scale)) == 1 and len(set(offset)) == 1:
            return values.mul_(scale[0]).add_(offset[0])
        shape = (1, -1, *(1,) * (images.ndim - 2))
        return values.mul_(_on(images, scale, shape)).add_(_on(images, offset, shape))

    def to_json(self) -> dict[str, float | list[float]]:
        """Plain values for a JSON file."""
        return {"full_scale": self.full_scale, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, values: Mapping[str, float | Sequence[float]]) -> "Normalisation":
        """What `to_json` wrote; DataError if it is not that."""
        full_scale, mean, std = (values.get(name) for name in ("full_scale", "mean", "std"))
        if not isinstance(full_scale, int | float) or not isinstance(mean, list) or not isinstance(std, list):
            raise DataError(
                f"A normalisation has full_scale, mean and std; got {sorted(values)}. Was the file written by archimed?"
            )
        return cls(float(full_scale), tuple(map(float, mean)), tuple(map(float, std)))


def _on(images: Tensor, values: list[float], shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(values, device=images.device).view(shape)


def fit_normalisation(dataset: Dataset, training: Subset, settings: DataSettings) -> Normalisation:
    """The normalisation that `data.normalisation` asks for; `training` is the training subset of one fold.

    MedMNIST's 3D files hold shapes of zeros and ones beside grey values, so `auto` fits them too.
    """
    flat = dataset.task.spatial_dims == 2
    half = settings.normalisation == "half" or (
        settings.normalisation == "auto" and dataset.source_kind == "medmnist" and flat
    )
    if not half:
        return Normalisation.fit(training.images)
    dtype = training.images.dtype
    low = min(float(image.min()) for image in training.images)
    high = max(float(image.max()) for image in training.images)
    if dtype not in FULL_SCALE and not 0 <= low <= high <= 1:
        raise DataError(
            "data.normalisation=half needs uint8 or uint16 images or values from 0 to 1; the training images range from "
            f"{low:g} to {high:g}. Use data.normalisation=training."
        )
    return Normalisation.half(dtype, dataset.task.channels)
