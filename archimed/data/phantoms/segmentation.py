"""What the segmentation phantoms share: one image and one mask per case, put together as a `Dataset`."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.phantoms.cases import Shot, cases_of
from archimed.data.volume import ChannelKind
from archimed.task import ImagingTask


def segmentation_dataset(
    name: str,
    class_names: tuple[str, ...],
    drawn: Sequence[Shot],
    images: Tensor,
    masks: UInt8[Tensor, "case *space"],
    areas: Sequence[float | None] | None = None,
    channels: Sequence[tuple[str, ChannelKind]] = (),
    spacing: tuple[float, ...] | None = None,
) -> Dataset:
    """The data set of a segmentation phantom.

    Args:
        name: of the phantom.
        class_names: the background first.
        drawn: the images' patients.
        images: [case, channel, *space].
        masks: class of each pixel.
        areas: share of each image that its lesion covers.
        channels: name and kind of each channel.
        spacing: millimetres between pixels along each axis.
    """
    return Dataset(
        name,
        "phantom",
        ImagingTask("segmentation", class_names, images.shape[1], tuple(images.shape[2:])),
        cases_of(name, drawn, areas),
        Arrays.of(images),
        presence(masks, len(class_names)),
        masks=Arrays.of(masks),
        channel_names=tuple(channel for channel, _ in channels),
        channel_kinds=tuple(kind for _, kind in channels),
        spacing=() if spacing is None else (spacing,) * len(masks),
        patients_known=True,
    )


def presence(masks: UInt8[Tensor, "case *space"], classes: int) -> Float[Tensor, "case class"]:
    """Which classes occur in each mask, 0 or 1."""
    return torch.stack([(masks == index).flatten(1).any(1) for index in range(classes)], 1).float()
