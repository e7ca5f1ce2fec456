"""Networks for masks that MixSearch is compared with, as spaces without choices: U-Net, its kin, and nnU-Net's.

Parameters for one channel and two classes in 2D: U-Net 31.0 M and Attention U-Net 31.7 M (width 64), U-Net++ 9.1 M
(width 32; 36.5 M at the 64 that the MixSearch paper's 36.6 M suggest).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import ClassVar

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.networks import segmenters as networks
from archimed.networks.layers import Normalisation
from archimed.networks.padded import Padded
from archimed.spaces.choiceless import Choiceless
from archimed.spaces.protocol import SearchSpace
from archimed.task import ImagingTask

LEAST_MAP = 4  # pixels: nnU-Net halves an axis as long as that many are left
LEAST_LEVELS = 3  # resolutions that MONAI's network needs
WIDEST = {2: 512, 3: 320}  # channels (nnU-Net)
NARROW = "-narrow"  # at the end of a name: a quarter of the channels
FACTOR = 2**4  # of U-Net, U-Net++ and Attention U-Net, which halve four times


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Unet(Choiceless):
    """U-Net (Ronneberger et al., 2015), which had no normalisation; 2D and 3D, from MONAI."""

    width: int = Field(default=64, ge=2, description="channels of the finest resolution, doubled at each of four more")
    normalisation: Normalisation = Field(default="instance", description="instance or batch (ours)")

    shown: ClassVar[str] = "Unet"
    gives_masks: ClassVar[bool] = True

    def _network(self, task: ImagingTask) -> nn.Module:
        return _padded(networks.unet, task, self.width, self.normalisation)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class UnetPlusPlus(Choiceless):
    """U-Net++ with deep supervision (Zhou et al., 2018); 2D and 3D, from MONAI."""

    width: int = Field(default=32, ge=2, description="channels of the finest resolution, doubled at each of four more")
    normalisation: Normalisation = Field(default="instance", description="instance or batch (ours)")

    shown: ClassVar[str] = "UnetPlusPlus"
    gives_masks: ClassVar[bool] = True

    def _network(self, task: ImagingTask) -> nn.Module:
        return _padded(networks.UnetPlusPlus, task, self.width, self.normalisation)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AttentionUnet(Choiceless):
    """Attention U-Net (Oktay et al., 2018); 2D and 3D, from MONAI."""

    width: int = Field(default=64, ge=2, description="channels of the finest resolution, doubled at each of four more")
    normalisation: Normalisation = Field(default="instance", description="instance or batch (ours)")

    shown: ClassVar[str] = "AttentionUnet"
    gives_masks: ClassVar[bool] = True

    def _network(self, task: ImagingTask) -> nn.Module:
        return _padded(networks.attention_unet, task, self.width, self.normalisation)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DynUnet(Choiceless):
    """A U-Net configured by size and spacing, with deep supervision, as nnU-Net does (Isensee et al., 2021); 2D and 3D.

    Unlike nnU-Net's, all outputs weigh the same in the loss, for that is the recipe of every network of a run.
    """

    width: int = Field(
        default=32, ge=2, description="channels of the finest resolution, doubled at each coarser up to 512 (3D: 320)"
    )
    patch_size: tuple[int, ...] | None = Field(
        default=None, description="pixels per axis of what it is trained on; none: the images' own"
    )
    spacing: tuple[float, ...] | None = Field(
        default=None, description="distance of pixels along each axis, mm; none: the same for all"
    )

    shown: ClassVar[str] = "DynUnet"
    gives_masks: ClassVar[bool] = True

    def _network(self, task: ImagingTask) -> nn.Module:
        dims = task.spatial_dims
        for name, value in (("patch_size", self.patch_size), ("spacing", self.spacing)):
            if value is not None and (len(value) != dims or min(value) <= 0):
                raise SettingsError(
                    f"space.{name} is one number above 0 for each of {dims} axes; got {value}. Set it, or leave it out."
                )
        kernels, strides = pooling_plan(self.patch_size or task.image_size, self.spacing or (1.0,) * dims)
        widths = [min(self.width * 2**level, WIDEST[dims]) for level in range(len(strides))]
        network = networks.DynamicUnet(dims, task.channels, task.num_outputs, widths, kernels, strides)
        return Padded(network, tuple(prod(stride[axis] for stride in strides) for axis in range(dims)))


def pooling_plan(size: Sequence[int], spacing: Sequence[float]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Kernel and stride of each resolution, the finest first (Isensee et al., 2021, Methods, "Network topology").

    An axis is halved while at least 4 pixels are left and its pixels are less than twice as far apart as those of the
    finest axis that can still be halved; a single axis only while it has 12 pixels. Kernels are 3, but 1 along axes
    that are yet too coarse for it. At least two halvings are made, which MONAI's network needs.

    Args:
        size: pixels per axis.
        spacing: of the pixels, mm.
    """
    left, apart = list(size), list(spacing)
    kernels, strides = [_kernel(apart)], [(1,) * len(left)]
    while (halved := _to_halve(left, apart)) or len(strides) < LEAST_LEVELS:
        for axis in halved or range(len(left)):
            left[axis] = -(-left[axis] // 2)
            apart[axis] *= 2
        kernels.append(tuple(map(max, kernels[-1], _kernel(apart))))
        strides.append(tuple(2 if axis in (halved or range(len(left))) else 1 for axis in range(len(left))))
    return kernels, strides


def _to_halve(left: Sequence[int], apart: Sequence[float]) -> list[int]:
    axes = [axis for axis, pixels in enumerate(left) if pixels >= 2 * LEAST_MAP]
    finest = min((apart[axis] for axis in axes), default=0.0)
    halved = [axis for axis in axes if apart[axis] < 2 * finest]
    return [] if len(halved) == 1 and left[halved[0]] < 3 * LEAST_MAP else halved


def _kernel(apart: Sequence[float]) -> tuple[int, ...]:
    return tuple(3 if one < 2 * min(apart) else 1 for one in apart)


def _padded(
    make: Callable[[int, int, int, int, Normalisation], nn.Module],
    task: ImagingTask,
    width: int,
    normalisation: Normalisation,
) -> nn.Module:
    network = make(task.spatial_dims, task.channels, task.num_outputs, width, normalisation)
    return Padded(network, (FACTOR,) * task.spatial_dims)


def segmentation_baselines() -> dict[str, SearchSpace]:
    """The networks of this file by their name in a run, each also narrow, for small images and few processor cores.

    Narrow is a quarter of the channels, which is about a sixteenth of the parameters and operations.
    """
    full: dict[str, Unet | UnetPlusPlus | AttentionUnet | DynUnet] = {
        "unet": Unet(),
        "unet-plus-plus": UnetPlusPlus(),
        "attention-unet": AttentionUnet(),
        "dynunet": DynUnet(),
    }
    narrow = {f"{name}{NARROW}": replace(space, width=space.width // 4) for name, space in full.items()}
    return {**full, **narrow}
