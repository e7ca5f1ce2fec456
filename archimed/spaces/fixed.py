"""Fixed networks as search spaces without choices, so that baselines go through the same code as what was found."""

from math import prod
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
from archimed.spaces.protocol import refuse_masks
from archimed.task import ImagingTask

Stem = Literal["auto", "small", "pooled", "large"]
SMALL_SIDE = 64  # pixels of the shortest side, from which MedMNIST v2 takes the large stem


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResNet:
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

    @property
    def choices(self) -> tuple[Choice, ...]:
        """None: the network is fixed."""
        return ()

    def build(self, genotype: Genotype, task: ImagingTask) -> nn.Module:
        """The network, its weights drawn from PyTorch's global generator.

        Raises:
            GenotypeError: the genotype is not empty.
            SettingsError: the task asks for masks.
        """
        from monai.networks import nets

        check_genotype(genotype, self.choices)
        refuse_masks(task, "ResNet")
        check_spatial_dims(task.spatial_dims)
        stem = self._stem_for(task)
        make = {18: nets.resnet18, 34: nets.resnet34, 50: nets.resnet50, 101: nets.resnet101}[self.depth]
        network: nn.Module = make(
            spatial_dims=task.spatial_dims,
            n_input_channels=task.channels,
            num_classes=task.num_outputs,
            conv1_t_size=7 if stem == "large" else 3,
            conv1_t_stride=2 if stem == "large" else 1,
            no_max_pool=stem == "small",
            bias_downsample=False,
        )
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # indicators look at what enters a ReLU
        return network

    def _stem_for(self, task: ImagingTask) -> Stem:
        if self.stem != "auto":
            return self.stem
        if min(task.image_size) >= SMALL_SIDE:
            return "large"
        return "pooled" if task.spatial_dims == 3 and prod(task.image_size) >= SMALL_SIDE**2 else "small"
