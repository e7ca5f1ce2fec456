"""Plain convolutional networks that people build by hand for one or several modalities, 2D and 3D from one source.

Each reads some channels by one encoder, or several groups of channels by an encoder each, whose features are joined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from archimed.networks.heads import means_and_peaks
from archimed.networks.layers import Normalisation, batch_norm, convolution, with_normalisation
from archimed.networks.pooling import pooling
from archimed.networks.regions import RegionNumbers, bright

View = Literal["whole", "central-slice", "largest-slice"]


@dataclass(frozen=True)
class CnnLayout:
    """A network of one or several encoders.

    Attributes:
        encoders: the channels that each encoder reads.
        widths: channels of the first convolution, at the image's size, and of the stages after it, which halve it.
        normalisation: after every convolution.
        num_outputs: logits.
        spatial_dims: of what is convolved, 2 or 3.
        region: whether a region is the last channel of the images, which every encoder reads too.
    """

    encoders: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    normalisation: Normalisation
    num_outputs: int
    spatial_dims: int
    region: bool = False


class ReferenceNetwork(nn.Module):
    """Encoders side by side, their features concatenated, one linear layer.

    With a hidden layer between, findings of a few voxels were learnt later or not at all (see docs/results/mm-nas.md).
    """

    def __init__(self, layout: CnnLayout) -> None:
        super().__init__()
        last = (-1,) if layout.region else ()
        self.channels = tuple((*channels, *last) for channels in layout.encoders)
        self.encoders = nn.ModuleList(Encoder(len(channels), layout) for channels in self.channels)
        features = 2 * len(layout.encoders) * sum(layout.widths)
        self.measured = sorted({channel for channels in layout.encoders for channel in channels})
        self.region_numbers = RegionNumbers(len(self.measured)) if layout.region else None
        if self.region_numbers is not None:
            features += self.region_numbers.size
        self.head = nn.Linear(features, layout.num_outputs)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits of each image."""
        parts = [
            encoder(images[:, list(channels)]) for channels, encoder in zip(self.channels, self.encoders, strict=True)
        ]
        if self.region_numbers is not None:
            parts.append(self.region_numbers(images[:, self.measured], images[:, -1:]))
        logits: Tensor = self.head(torch.cat(parts, dim=1))
        return logits


class Encoder(nn.Module):
    """A convolution at the image's size, then stages of two, each at half the size; mean and peak of all are features.

    What normalisation of each image takes away is how bright the image was, which in PET tells more than any form: so
    the first convolution is read before its normalisation; and after many halvings a finding of a few pixels is hard to
    see: so is every stage.
    """

    def __init__(self, in_channels: int, layout: CnnLayout) -> None:
        super().__init__()
        dims, widths = layout.spatial_dims, layout.widths
        self.first = convolution(in_channels, widths[0], dims, 3)
        stages = [nn.Sequential(batch_norm(widths[0], dims), nn.ReLU())]
        stages += [stage(before, after, dims) for before, after in pairwise(widths)]
        self.stages = with_normalisation(nn.Sequential(*stages), layout.normalisation, affine=True)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch feature"]:
        """Features of each image."""
        reached = self.first(images)
        features = [means_and_peaks(reached)]
        for number, layers in enumerate(self.stages.children()):
            reached = layers(reached)
            features += [means_and_peaks(reached)] if number else []
        return torch.cat(features, dim=1)


def stage(in_channels: int, out_channels: int, spatial_dims: int) -> nn.Sequential:
    """The largest of 2 pixels along every axis, then two 3x3 convolutions, each normalised, then a ReLU."""
    return nn.Sequential(
        pooling("max", 2, spatial_dims),
        convolution(in_channels, out_channels, spatial_dims, 3),
        batch_norm(out_channels, spatial_dims),
        nn.ReLU(),
        convolution(out_channels, out_channels, spatial_dims, 3),
        batch_norm(out_channels, spatial_dims),
        nn.ReLU(),
    )


class SliceNetwork(nn.Module):
    """A network of images that looks at one axial slice of a volume.

    `central-slice` is the middle one (the upper of two). `largest-slice` is the one in which most pixels of the guiding
    channel are bright (see `regions.bright`), the first of equals: a tumour's own outline is that channel where it is
    known, and else in PET the isocontour at 40 % of the highest uptake is the common stand-in for it.
    """

    def __init__(self, network: nn.Module, view: View, guide: int) -> None:
        super().__init__()
        self.network = network
        self.view = view
        self.guide = guide

    def forward(self, volumes: Float[Tensor, "batch channel depth height width"]) -> Float[Tensor, "batch output"]:
        """Logits of each volume."""
        images = volumes[torch.arange(volumes.shape[0], device=volumes.device), :, self.chosen(volumes)]
        logits: Tensor = self.network(images)
        return logits

    def chosen(self, volumes: Float[Tensor, "batch channel depth height width"]) -> Int[Tensor, " batch"]:
        """The slice of each volume that is looked at."""
        if self.view == "central-slice":
            return torch.full((volumes.shape[0],), volumes.shape[2] // 2, device=volumes.device)
        return largest_slices(bright(volumes[:, self.guide]))


def largest_slices(region: Bool[Tensor, "batch depth height width"]) -> Int[Tensor, " batch"]:
    """The slice of each volume in which the region has most pixels, the first of equals."""
    return region.sum((2, 3)).argmax(1)


def encoder_groups(encoders: Sequence[Sequence[int]] | None, channels: int) -> tuple[tuple[int, ...], ...]:
    """The channels of each encoder; without any given, one encoder of all channels."""
    return (tuple(range(channels)),) if encoders is None else tuple(tuple(group) for group in encoders)
