"""Raw images to the float32 values a network sees: fitted on training images only, kept with the run.

Each channel by what it is: a region stays as it is, CT is clipped to a window and standardised over its foreground (as
nnU-Net does: Isensee et al., Nature Methods 18:203, 2021), PET likewise in a window of uptake, so that neither
outweighs the other where they meet, MR arrives standardised case by case (`preparation`), and all else takes the mean
and standard deviation of the training images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset, Subset
from archimed.data.intensities import Foreground, moments
from archimed.data.settings import DataSettings
from archimed.data.volume import ChannelKind
from archimed.errors import DataError

FULL_SCALE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # of other types: 1
UNPREPARED = frozenset({"medmnist", "phantom", "object"})  # sources whose MR was not standardised case by case
FIELDS = ("full_scale", "mean", "std", "low", "high", "kinds", "names")


@dataclass(frozen=True)
class Normalisation:
    """Per channel: (clip(raw, low, high) / full_scale - mean) / std.

    Attributes:
        full_scale: raw value that counts as 1: 255, 65535, or 1 for int16 and floating-point images.
        mean: per channel, in units of the full scale.
        std: per channel, in units of the full scale, positive.
        low: per channel the raw value below which it is clipped, None without clipping; empty if no channel is clipped.
        high: likewise the raw value above which it is clipped.
        kinds: what the values of each channel are; empty where all are `other`.
        names: what each channel shows; empty where the data do not say.
    """

    full_scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    kinds: tuple[ChannelKind, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def half(cls, dtype: torch.dtype, channels: int) -> "Normalisation":
        """Mean and standard deviation 0.5, which maps the full scale to [-1, 1] (MedMNIST protocol)."""
        return cls(FULL_SCALE.get(dtype, 1.0), (0.5,) * channels, (0.5,) * channels)

    @classmethod
    def fit(cls, images: Arrays) -> "Normalisation":
        """Mean and standard deviation per channel over all pixels of these images; a constant channel has std 1."""
        full_scale = FULL_SCALE.get(images.dtype, 1.0)
        mean, std = moments(images)
        return cls(full_scale, *_scaled(mean, std, full_scale))

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
        self._clip(values)
        if len(set(scale)) == 1 and len(set(offset)) == 1:
            return values.mul_(scale[0]).add_(offset[0])
        shape = (1, -1, *(1,) * (images.ndim - 2))
        return values.mul_(_on(images, scale, shape)).add_(_on(images, offset, shape))

    def _clip(self, values: Float[Tensor, "case channel *space"]) -> None:
        """Clip in place, all channels at once where their limits are the same."""
        limits = list(zip(self.low, self.high, strict=True))
        parts = [values] if len(set(limits)) == 1 else values.unbind(1)
        for part, (low, high) in zip(parts, limits, strict=False):
            if low is not None or high is not None:
                part.clamp_(low, high)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {name: value if name == "full_scale" else list(value) for name, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Normalisation":
        """What `to_json` wrote; DataError if it is not that."""
        if not isinstance(values, Mapping) or not {*FIELDS[:3]} <= {*values} <= {*FIELDS}:
            raise DataError(
                f"A normalisation has full_scale, mean and std, and perhaps {', '.join(FIELDS[3:])}; got "
                f"{str(values)[:80]}. Was the file written by archimed?"
            )
        wrong = next((name for name, value in values.items() if not _holds(name, value, values["mean"])), None)
        if wrong is not None:
            raise DataError(
                "A normalisation holds one finite number per channel, full_scale and std above zero; its "
                f"{wrong} is {str(values[wrong])[:80]}. Was the file written by archimed?"
            )
        found = cls(float(values["full_scale"]), *(tuple(values.get(name, ())) for name in FIELDS[1:]))
        if len(found.low) != len(found.high) or not all(map(_rises, found.low, found.high)):
            raise DataError(
                "A normalisation clips each channel from low to a higher value; its limits are "
                f"{list(found.low)} and {list(found.high)}. Was the file written by archimed?"
            )
        return found


def _on(images: Tensor, values: list[float], shape: tuple[int, ...]) -> Tensor:
    return torch.tensor(values, device=images.device).view(shape)


def _holds(name: str, value: object, mean: object) -> bool:
    """Whether a field of the JSON form has the type and, of lists, the length it must have."""
    if name == "full_scale":
        return _is_number(value) and value > 0  # type: ignore[operator]
    if not isinstance(value, list) or not isinstance(mean, list) or not mean:
        return False
    if len(value) != len(mean) and (value or name in FIELDS[:3]):
        return False
    if name == "kinds":
        return all(kind in get_args(ChannelKind) for kind in value)
    if name == "names":
        return all(isinstance(one, str) for one in value)
    optional = name in ("low", "high")
    return all((optional and one is None) or (_is_number(one) and (name != "std" or one > 0)) for one in value)


def _rises(low: float | None, high: float | None) -> bool:
    return low is None or high is None or low < high


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fit_normalisation(dataset: Dataset, training: Subset, settings: DataSettings) -> Normalisation:
    """The normalisation that `data.normalisation` asks for; `training` is the training subset of one fold.

    MedMNIST's 3D files hold shapes of zeros and ones beside grey values, so `auto` fits them too.
    """
    auto = settings.normalisation == "auto"
    flat = dataset.task.spatial_dims == 2
    if settings.normalisation == "half" or (auto and dataset.source_kind == "medmnist" and flat):
        found = _half(dataset, training)
    else:
        own = [dataset.kind_of(channel) for channel in range(dataset.task.channels)]
        kinds = [kind if auto or kind == "mask" else "other" for kind in own]
        found = _by_kind(kinds, training, settings, prepared=dataset.source_kind not in UNPREPARED)
    return replace(found, kinds=dataset.channel_kinds, names=dataset.channel_names)


def _by_kind(
    kinds: Sequence[ChannelKind], training: Subset, settings: DataSettings, *, prepared: bool
) -> Normalisation:
    """Each channel by what it is; `prepared` tells whether MR was standardised case by case."""
    fixed = {"ct", "pet", "mr", "mask"} if prepared else {"ct", "pet", "mask"}
    fitted = any(kind not in fixed for kind in kinds)
    mean, std = moments(training.images) if fitted else (np.zeros(len(kinds)), np.ones(len(kinds)))
    low: list[float | None] = [None for _ in kinds]
    high: list[float | None] = [None for _ in kinds]
    for channel, kind in enumerate(kinds):
        if kind in ("ct", "pet"):
            region = kinds.index("mask") if "mask" in kinds else None
            foreground = Foreground(training.images, channel, training.masks, region)
            limits = settings.suv_window if kind == "pet" else settings.ct_window or foreground.window()
            low[channel], high[channel] = limits
            mean[channel], std[channel] = foreground.moments(*limits)
        elif kind in fixed:
            mean[channel], std[channel] = 0.0, 1.0
    full_scale = FULL_SCALE.get(training.images.dtype, 1.0)
    clips = any(limit is not None for limit in low)
    return Normalisation(
        full_scale, *_scaled(mean, std, full_scale), low=tuple(low) if clips else (), high=tuple(high) if clips else ()
    )


def _scaled(
    mean: Float[np.ndarray, " channel"], std: Float[np.ndarray, " channel"], full_scale: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Raw means and deviations in units of the full scale; a constant channel has std 1."""
    return (
        tuple(map(float, mean / full_scale)),
        tuple(map(float, np.where(std > 0, std / full_scale, 1.0))),
    )


def _half(dataset: Dataset, training: Subset) -> Normalisation:
    """MedMNIST's protocol; DataError if the images have no full scale."""
    dtype = training.images.dtype
    low = min(float(image.min()) for image in training.images)
    high = max(float(image.max()) for image in training.images)
    if dtype not in FULL_SCALE and not 0 <= low <= high <= 1:
        raise DataError(
            "data.normalisation=half needs uint8 or uint16 images or values from 0 to 1; the training images range "
            f"from {low:g} to {high:g}. Use data.normalisation=training."
        )
    return Normalisation.half(dtype, dataset.task.channels)
