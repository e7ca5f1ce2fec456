"""One case from its files: every modality on one grid, cropped, resampled and brought to size, with its mask.

All that a case needs by itself happens here, once; what must be fitted on training images is `normalisation`.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from archimed.data.listing import Entry, Modality
from archimed.data.preparation.channels import with_channels
from archimed.data.preparation.common_grid import Extent
from archimed.data.preparation.fitting import crop, crop_to_region, fit, fit_step, region_box
from archimed.data.preparation.resampling import (
    resample,
    respace,
    respaced_step,
    same_grid,
    spaced_grid,
    window,
)
from archimed.data.readers.any_image import read_image, read_mask
from archimed.data.settings import DataSettings
from archimed.data.volume import ChannelKind, Volume
from archimed.errors import DataError
from archimed.task import REGION

LARGEST_CLASS = 255  # masks are kept as uint8
AIR_HU = -1000
REGION_CHANNEL = Modality(REGION, "mask")


@dataclass(frozen=True)
class PreparedCase:
    """What is kept of one case.

    Attributes:
        image: [channel, *space]; uint8, uint16, int16 or float32.
        mask: values as in the file (uint8), or zeros and ones with `data.mask_values=foreground`.
        spacing: millimetres along each axis; None where unknown.
        affine: of the grid of the image, as of `Volume`; None where the files do not tell where they lie.
        to_source: from indices of the image to those of the file of its first modality as read, homogeneous.
        source_shape: pixels of that file along each axis.
        channel_names: the modality of each channel; empty where there is only one, without a name.
        channel_kinds: what the values of each channel are.
        patient: who it is, as the files say; kept in memory only.
        remarks: what was changed to get there.
    """

    image: Shaped[Tensor, "channel *space"]
    mask: Shaped[Tensor, "*space"] | None
    spacing: tuple[float, ...] | None
    affine: Float[np.ndarray, "4 4"] | None
    to_source: Float[np.ndarray, "axes axes"]
    source_shape: tuple[int, ...]
    channel_names: tuple[str, ...]
    channel_kinds: tuple[ChannelKind, ...]
    patient: str | None = field(repr=False)
    remarks: tuple[str, ...]


def prepare(entry: Entry, modalities: tuple[Modality, ...], settings: DataSettings) -> PreparedCase:
    """Read and prepare one case; DataError names its origin and the file that forbids its use."""
    origin = entry.case.origin
    found = [
        None if path is None else read_image(path, origin if len(modalities) == 1 else f"{modality.name} of {origin}")
        for path, modality in zip(entry.images, modalities, strict=True)
    ]
    grid = next(volume for volume in found if volume is not None)
    volumes = [volume or _air(modality, grid) for volume, modality in zip(found, modalities, strict=True)]
    region = None if entry.region is None else read_mask(entry.region, f"the region of {origin}", grid, settings.roi)
    pictures = len(modalities)
    if settings.region_channel and region is not None:
        modalities = (*modalities, REGION_CHANNEL)
        volumes.append(replace(grid, pixels=(region > 0).astype(np.float32)[None], remarks=()))
    kinds = [_kind(modality, volume, settings) for modality, volume in zip(modalities, volumes, strict=True)]
    place = _placed if volumes[0].affine is not None else _unplaced
    aligned, mask_values, step = place(volumes, region, entry, modalities, settings)
    pixels = [_own_scale(volume, kind, settings) for volume, kind in zip(aligned, kinds, strict=True)]
    if pictures == 1:
        pixels[0] = with_channels(torch.from_numpy(np.ascontiguousarray(pixels[0]))[None], settings.channels)[0].numpy()
    image = torch.from_numpy(np.ascontiguousarray(_stacked(pixels)))
    mask = None if mask_values is None else torch.from_numpy(_class_numbers(mask_values, origin, settings))
    channels = [len(part) for part in pixels]
    step = step @ fit_step(image.shape[1:], _size(image, settings, origin) or image.shape[1:], settings.fit)
    image, mask, spacing = _sized(image, mask, aligned[0].spacing, settings, origin)
    if len(modalities) > pictures:
        image[-1] = _most_covered(image[-1])
    named = len(modalities) > 1 or modalities[0].name != "image"
    return PreparedCase(
        image=image,
        mask=mask,
        spacing=spacing,
        affine=None if grid.affine is None else np.asarray(grid.affine @ step),
        to_source=step,
        source_shape=grid.pixels.shape[1:],
        channel_names=tuple(np.repeat([m.name for m in modalities], channels).tolist()) if named else (),
        channel_kinds=tuple(kind for kind, count in zip(kinds, channels, strict=True) for _ in range(count)),
        patient=next((volume.patient for volume in volumes if volume.patient), None),
        remarks=tuple(dict.fromkeys(remark for volume in volumes for remark in volume.remarks)),
    )


def _air(modality: Modality, grid: Volume) -> Volume:
    """What stands for a modality that a case lacks (`data.missing_modality=zero`): one channel of air."""
    number_type = np.int16 if grid.pixels.ndim == 4 else grid.pixels.dtype
    pixels = np.full_like(grid.pixels[:1], AIR_HU if modality.kind == "ct" else 0, dtype=number_type)
    return replace(grid, pixels=pixels, kind=modality.kind or "other", patient=None, remarks=())


def _kind(modality: Modality, volume: Volume, settings: DataSettings) -> ChannelKind:
    """What the source says, else the file, else the setting."""
    if modality.kind is not None or volume.kind != "other":
        return modality.kind or volume.kind
    return settings.kind or "other"


def _placed(
    volumes: list[Volume],
    region: np.ndarray | None,
    entry: Entry,
    modalities: tuple[Modality, ...],
    settings: DataSettings,
) -> tuple[list[Volume], np.ndarray | None, Float[np.ndarray, "4 4"]]:
    """All modalities, and the mask, on the grid of the first, cropped and at the spacing that is asked for.

    The last value leads from indices on that grid to those of the first modality as read.
    """
    origin, grid = entry.case.origin, volumes[0]
    size = _size(grid.pixels, settings, origin)
    if region is not None and size is not None and settings.fit == "crop-or-pad":
        box = region_box(region, grid.spacing, 0.0, origin)
        middle = [(part.start + part.stop - 1) / 2 for part in box]
        grid = resample(grid, size, window(grid, middle, size, settings.spacing_mm), nearest=False)
    else:
        if region is not None:
            grid = crop_to_region(grid, region, settings.region_margin_mm, origin)
        if settings.spacing_mm is not None:
            shape, affine = spaced_grid(grid, settings.spacing_mm)
            grid = resample(grid, shape, affine, nearest=False)
    aligned = [grid]
    for volume, modality in zip(volumes[1:], modalities[1:], strict=True):
        aligned.append(volume if same_grid(volume, grid) else _resampled(volume, modality, grid, entry))
    mask = None if entry.mask is None else read_mask(entry.mask, f"the mask of {origin}", grid, settings.roi)
    return aligned, mask, _step(grid, volumes[0])


def _step(grid: Volume, source: Volume) -> Float[np.ndarray, "4 4"]:
    """From indices of one volume to those of another, both of which tell where they lie."""
    if grid.affine is None or source.affine is None:
        raise ValueError("Only volumes with affines lie in one space.")
    return np.eye(4) if grid.affine is source.affine else np.asarray(np.linalg.inv(source.affine) @ grid.affine)


def _resampled(volume: Volume, modality: Modality, grid: Volume, entry: Entry) -> Volume:
    if volume.affine is None or grid.affine is None:
        raise DataError(
            f"Modalities of one case need one grid, or files that tell where they lie; {modality.name} of "
            f"{entry.case.origin} does not. Save it with the header of the first modality."
        )
    return resample(volume, grid.pixels.shape[1:], grid.affine, nearest=False)


def _unplaced(
    volumes: list[Volume],
    region: np.ndarray | None,
    entry: Entry,
    modalities: tuple[Modality, ...],
    settings: DataSettings,
) -> tuple[list[Volume], np.ndarray | None, Float[np.ndarray, "axes axes"]]:
    """The same for images that do not tell where they lie: modalities, mask and region must have one size."""
    origin, grid = entry.case.origin, volumes[0]
    for volume, modality in zip(volumes, modalities, strict=True):
        if volume.pixels.shape[1:] != grid.pixels.shape[1:]:
            sizes = ["x".join(map(str, one.pixels.shape[1:])) for one in (grid, volume)]
            raise DataError(
                f"Modalities of one case need one grid, or files that tell where they lie; of {origin}, "
                f"{modalities[0].name} is {sizes[0]} and {modality.name} {sizes[1]}. Save them on one grid."
            )
    mask = None if entry.mask is None else read_mask(entry.mask, f"the mask of {origin}", grid, settings.roi)
    layers = [*volumes, *([] if mask is None else [replace(grid, pixels=mask[None])])]
    step = np.eye(grid.pixels.ndim)
    if region is not None:
        box = region_box(region, grid.spacing, settings.region_margin_mm, origin)
        layers = [crop(layer, box) for layer in layers]
        step[:-1, -1] = [part.start for part in box]
    if settings.spacing_mm is not None:
        if grid.spacing is None:
            raise DataError(
                f"data.spacing_mm needs images that tell their spacing; {origin} does not. Use data.image_size instead."
            )
        layers = [replace(layer, spacing=grid.spacing) for layer in layers]
        step = step @ respaced_step(layers[0].pixels.shape[1:], grid.spacing, settings.spacing_mm)
        masked = len(layers) > len(volumes)
        layers = [
            respace(layer, settings.spacing_mm, nearest=masked and number == len(volumes))
            for number, layer in enumerate(layers)
        ]
    return layers[: len(volumes)], None if mask is None else layers[-1].pixels[0], step


def _own_scale(volume: Volume, kind: ChannelKind, settings: DataSettings) -> np.ndarray:
    """The pixels of one modality in the number type and unit in which all cases have them.

    CT is rounded to whole Hounsfield units, far below its noise. MR has no unit: its values are taken from the mean,
    and in units of the deviation, of the case's own foreground. Pictures stay as they are, for 8 and 16 bits differ
    in scale; other volumes become float32.
    """
    values = volume.pixels
    if kind == "ct":
        limits = np.iinfo(np.int16)
        return np.asarray(np.clip(np.rint(values), limits.min, limits.max).astype(np.int16))
    if kind == "mr" and settings.normalisation == "auto":
        values = values.astype(np.float32)
        foreground = values[values != 0] if (values != 0).any() else values
        mean, deviation = foreground.mean(dtype=np.float64), foreground.std(dtype=np.float64)
        return np.asarray((values - np.float32(mean)) / np.float32(deviation if deviation > 0 else 1.0))
    return values.astype(np.float32) if values.ndim == 4 else values


def _stacked(pixels: list[np.ndarray]) -> np.ndarray:
    types = {part.dtype for part in pixels}
    return np.concatenate(pixels if len(types) == 1 else [part.astype(np.float32) for part in pixels])


def _class_numbers(values: np.ndarray, origin: str, settings: DataSettings) -> np.ndarray:
    """Mask values as they are kept: uint8."""
    if settings.mask_values == "foreground":
        return np.asarray((values > 0).astype(np.uint8))
    if values.min() < 0 or values.max() > LARGEST_CLASS:
        raise DataError(
            f"A mask holds class numbers from 0 to {LARGEST_CLASS}; that of {origin} ranges from {values.min()} to "
            f"{values.max()}. If all above zero is one class: --set data.mask_values=foreground."
        )
    return values.astype(np.uint8)


def _sized(
    image: Tensor, mask: Tensor | None, spacing: tuple[float, ...] | None, settings: DataSettings, origin: str
) -> tuple[Tensor, Tensor | None, tuple[float, ...] | None]:
    """Image and mask at `data.image_size`, and the spacing that they then have."""
    size, space = _size(image, settings, origin), tuple(image.shape[1:])
    if size is None:
        return image, mask, spacing
    fitted = fit(image, size, settings.fit, nearest=False)
    fitted_mask = None if mask is None else fit(mask[None], size, settings.fit, nearest=True)[0]
    if spacing is not None and settings.fit == "resize":
        spacing = tuple(mm * old / new for mm, old, new in zip(spacing, space, size, strict=True))
    return fitted, fitted_mask, spacing


def _most_covered(shares: Tensor) -> Tensor:
    """A region as 0 and 1 from the share of each pixel that it covers: the most covered ones, to its own volume."""
    flat = shares.reshape(-1)
    count = max(1, round(float(flat.sum())))
    inside = torch.zeros_like(flat)
    inside[flat.argsort(descending=True, stable=True)[:count]] = 1
    return inside.view_as(shares)


def _size(pixels: np.ndarray | Tensor, settings: DataSettings, origin: str) -> tuple[int, ...] | None:
    """Pixels along each axis that `data.image_size` asks for; None if it asks for none."""
    wanted, axes = settings.image_size, pixels.ndim - 1
    if wanted is None or wanted == "auto":
        return None
    size = (wanted,) * axes if isinstance(wanted, int) else tuple(wanted)
    if len(size) != axes:
        raise DataError(
            f"data.image_size names one number per axis; it has {len(size)} and {origin} has {axes} axes. "
            "Give as many, or a single number."
        )
    return size


def extent(entry: Entry, settings: DataSettings) -> Extent | None:
    """What of a case matters for a common grid (see `common_grid`); None where its files do not tell where they lie.

    Raises:
        DataError: a file cannot be read.
    """
    origin = entry.case.origin
    grid = read_image(next(path for path in entry.images if path is not None), origin)
    if grid.affine is None or grid.spacing is None:
        return None
    found = Extent(grid.pixels.shape[1:], grid.spacing)
    if entry.region is None:
        return found
    region = read_mask(entry.region, f"the region of {origin}", grid, settings.roi)
    box = zip(region_box(region, None, 0.0, origin), grid.spacing, strict=True)
    return replace(
        found, region_mm=tuple((part.stop - part.start) * mm + 2 * settings.region_margin_mm for part, mm in box)
    )
