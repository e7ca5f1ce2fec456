"""Image files for predict.py: arrays, pictures by Pillow, volumes by nibabel; see `archimed.export.standalone`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from archimed.data.preparation.channels import with_channels
from archimed.data.preparation.resampling import canonical, spacing_of

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz")


def read_image(paths: Sequence[str], settings: Mapping[str, Any]) -> Tensor:
    """The stored values [channel, *space] of one case, of several modalities one file each."""
    kinds = settings["kinds"]
    parts = [read_file(path, settings) for path in paths]
    if len({part.shape[1:] for part in parts}) > 1:
        sys.exit(f"Modalities of one case lie on one grid; those of {paths[0]} do not. Resample them first.")
    if len(parts) == 1:
        parts = [with_channels(parts[0][None], settings["convert_channels"])[0]]
    if len(kinds) == len(parts):
        parts = [own_scale(part, kind, settings) for part, kind in zip(parts, kinds, strict=True)]
    return torch.cat(parts) if len({part.dtype for part in parts}) == 1 else torch.cat([part.float() for part in parts])


def read_file(path: str, settings: Mapping[str, Any]) -> Tensor:
    """The values of one file [channel, *space]; an array of as many axes as space has one channel."""
    axes = len(settings["patch"])
    if path.endswith(".npy"):
        values = np.load(path, allow_pickle=False)
    elif path.lower().endswith(PICTURES):
        values = read_picture(path)
    elif path.lower().endswith(VOLUMES):
        values = read_volume(path, settings)
    else:
        sys.exit(f"An image is one of .npy, {', '.join((*PICTURES, *VOLUMES))}; got {Path(path).name}. Convert it.")
    values = values[None] if values.ndim == axes else values
    if values.ndim != axes + 1:
        sys.exit(f"The network takes images of {axes} axes; {Path(path).name} has {values.ndim - 1}.")
    return torch.from_numpy(np.ascontiguousarray(values))


def read_picture(path: str) -> np.ndarray:
    """A grey or RGB picture of 8 bits, or a grey one of 16 bits: [channel, height, width]."""
    from PIL import Image

    with Image.open(path) as picture:
        kept = picture.mode in ("L", "RGB", "I;16")
        pixels = np.asarray(picture if kept else picture.convert("L" if picture.mode in ("1", "LA") else "RGB"))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def read_volume(path: str, settings: Mapping[str, Any]) -> np.ndarray:
    """A NIfTI volume whose axes run towards superior, posterior and left: [channel, depth, height, width]."""
    import nibabel

    volume = nibabel.load(path)
    pixels, affine = canonical(np.asarray(volume.dataobj)[None], np.asarray(volume.affine))
    wanted = settings["spacing_mm"]
    if wanted is not None and not np.allclose(spacing_of(affine), wanted, rtol=0.01):
        told = ", ".join(f"{one:g}" for one in spacing_of(affine))
        sys.exit(f"The network takes voxels of {wanted} mm (superior, posterior, left); those of {path} are {told}.")
    return pixels.astype(np.float32)


def own_scale(values: Tensor, kind: str, settings: Mapping[str, Any]) -> Tensor:
    """CT in whole Hounsfield units; MR by the mean and deviation of its own foreground; all else as it is."""
    if kind == "ct":
        return values.round().clamp(-32768, 32767).to(torch.int16)
    if kind == "mr" and settings["mr_by_case"]:
        values = values.float()
        foreground = values[values != 0] if bool((values != 0).any()) else values
        deviation = float(foreground.double().std(correction=0))
        return (values - float(foreground.double().mean())) / (deviation if deviation > 0 else 1.0)
    return values
