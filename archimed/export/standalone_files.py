"""Image files for predict.py: arrays, pictures by Pillow, volumes by nibabel; see `archimed.export.standalone`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archimed.data.preparation.channels import with_channels
from archimed.data.preparation.resampling import canonical, resample, same_grid, spaced_grid, spacing_of
from archimed.data.volume import Volume

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz")
KEPT = (np.uint8, np.uint16, np.int16)  # number types in which volumes are resampled; all others as float32


def read_image(paths: Sequence[str], settings: Mapping[str, Any]) -> Tensor:
    """The stored values [channel, *space] of one case, of several modalities one file each."""
    if all(path.lower().endswith(VOLUMES) for path in paths):
        found = [torch.from_numpy(np.ascontiguousarray(one)) for one in read_volumes(paths, settings)]
    else:
        found = [read_file(path, settings) for path in paths]
    if len({part.shape[1:] for part in found}) > 1:
        sys.exit(f"Modalities of one case lie on one grid; those of {paths[0]} do not. Resample them first.")
    if len(found) == 1:
        found = [with_channels(found[0][None], settings["convert_channels"])[0]]
    if len(settings["kinds"]) == len(found):
        found = [own_scale(part, kind, settings) for part, kind in zip(found, settings["kinds"], strict=True)]
    return torch.cat(found) if len({one.dtype for one in found}) == 1 else torch.cat([one.float() for one in found])


def read_file(path: str, settings: Mapping[str, Any]) -> Tensor:
    """The values of one file [channel, *space]; an array of as many axes as space has one channel."""
    axes = len(settings["patch"])
    if path.endswith(".npy"):
        values = np.load(path, allow_pickle=False)
    elif path.lower().endswith(PICTURES):
        values = read_picture(path)
    else:
        sys.exit(f"An image is one of .npy, {', '.join((*PICTURES, *VOLUMES))}; got {Path(path).name}. Convert it.")
    values = values[None] if values.ndim == axes else values
    if values.ndim != axes + 1:
        sys.exit(f"The network takes images of {axes} axes; {Path(path).name} has {values.ndim - 1}.")
    return torch.from_numpy(np.array(values, order="C"))


def read_picture(path: str) -> np.ndarray:
    """A grey or RGB picture of 8 bits, or a grey one of 16 bits: [channel, height, width]."""
    from PIL import Image

    with Image.open(path) as picture:
        kept = picture.mode in ("L", "RGB", "I;16")
        pixels = np.asarray(picture if kept else picture.convert("L" if picture.mode in ("1", "LA") else "RGB"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_volumes(paths: Sequence[str], settings: Mapping[str, Any]) -> list[np.ndarray]:
    """The modalities of one case [channel, depth, height, width] on the grid of the first, at the network's spacing."""
    volumes = [read_volume(path) for path in paths]
    grid = volumes[0]
    if settings["spacing_mm"] is not None:
        grid = resample(grid, *spaced_grid(grid, settings["spacing_mm"]), nearest=False)
    found = [grid.pixels]
    for volume in volumes[1:]:
        alike = same_grid(volume, grid)
        moved = volume if alike else resample(volume, grid.pixels.shape[1:], np.asarray(grid.affine), nearest=False)
        found.append(moved.pixels)
    return found


def read_volume(path: str) -> Volume:
    """A NIfTI volume whose axes run towards superior, posterior and left."""
    import nibabel

    file = nibabel.load(path)
    values = np.asanyarray(file.dataobj)
    values = values if values.dtype in KEPT else values.astype(np.float32)
    pixels, affine = canonical(values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0), file.affine)
    return Volume(np.ascontiguousarray(pixels), affine, spacing_of(affine))


def own_scale(values: Tensor, kind: str, settings: Mapping[str, Any]) -> Tensor:
    """CT in whole Hounsfield units, MR by its own foreground, other volumes as float32; pictures as they are."""
    if kind == "ct":
        return values.float().round().clamp(-32768, 32767).to(torch.int16)
    if kind == "mr" and settings["mr_by_case"]:
        values = values.float()
        foreground = values[values != 0] if bool((values != 0).any()) else values
        deviation = float(foreground.double().std(correction=0))
        return (values - float(foreground.double().mean())) / (deviation if deviation > 0 else 1.0)
    return values.float() if values.ndim == 4 else values
