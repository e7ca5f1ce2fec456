"""Fixed networks as search spaces without choices, so that baselines go through the same code as what was found."""

from math import prod
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.errors import SettingsError
from archimed.networks import mc3
from archimed.networks import published as networks
from archimed.spaces.choiceless import Choiceless
from archimed.task import ImagingTask

Stem = networks.Stem | Literal["auto"]
SMALL_SIDE = 64  # pixels of the shortest side, from which MedMNIST v2 takes the large stem


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResNet(Choiceless):
    """Residual networks (He et al., 2016) with the two stems of MedMNIST's baselines, 2D and 3D, from MONAI.

    The small-image stem is a 3x3 convolution of stride 1, the large one a 7x7 convolution and a max-pooling, each of
    stride 2. Between them, and for volumes only, the pooled stem is the small one and then the max-pooling: a volume
    of 24^3 has as many positions as an image of 118x118, and without pooling the first stage would compute at all of
    them. All but the large one have the same weights.
    """

    depth: Literal[18, 34, 50, 101] = Field(default=18, description="layers (MedMNIST v2: 18 and 50)")
    stem: Stem = Field(
        default="auto",
        description="auto: large from 64 pixels on (the shortest side), below small (MedMNIST v2), or pooled for "
        "volumes of 64*64 positions and more (ours)",
    )

    shown: ClassVar[str] = "ResNet"

    def _network(self, task: ImagingTask) -> nn.Module:
        return networks.resnet(
            self.depth, chosen_stem(self.stem, task), task.channels, task.num_outputs, task.spatial_dims
        )


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DenseNet(Choiceless):
    """DenseNet-121 (Huang et al., 2017), 2D and 3D, from MONAI, with the stems of `ResNet`; takes images of any size.

    Poolings of odd sizes round up, so that small images do not vanish; even sizes are halved as published.
    """

    stem: Stem = Field(default="auto", description="as of resnet")

    shown: ClassVar[str] = "DenseNet"

    def _network(self, task: ImagingTask) -> nn.Module:
        return networks.densenet(chosen_stem(self.stem, task), task.channels, task.num_outputs, task.spatial_dims)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Mc3(Choiceless):
    """MC3-18 (Tran et al., 2018): 3D convolutions in the first layers, 2D ones within slices after. Volumes only."""

    shown: ClassVar[str] = "MC3"

    def _network(self, task: ImagingTask) -> nn.Module:
        if task.spatial_dims != 3:
            raise SettingsError(
                f"MC3-18 reads volumes of 3 axes; the images have {task.spatial_dims}. Use resnet18, its form in 2D."
            )
        return mc3.Mc3(task.channels, task.num_outputs)


def chosen_stem(stem: Stem, task: ImagingTask) -> networks.Stem:
    """The stem that a setting means for a task."""
    if stem != "auto":
        return stem
    if min(task.image_size) >= SMALL_SIDE:
        return "large"
    return "pooled" if task.spatial_dims == 3 and prod(task.image_size) >= SMALL_SIDE**2 else "small"
