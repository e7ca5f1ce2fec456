"""Fixed networks as search spaces without choices, so that baselines go through the same code as what was found."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from torch import nn

from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
from archimed.spaces.protocol import refuse_masks
from archimed.task import ImagingTask

Stem = Literal["auto", "small", "large"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResNet:
    """Residual networks (He et al., 2016) with the two stems of MedMNIST's baselines, 2D and 3D, from MONAI.

    The small-image stem is a 3x3 convolution of stride 1, the large one a 7x7 convolution and a max-pooling, each of
    stride 2.
    """

    depth: Literal[18, 34, 50, 101] = Field(default=18, description="layers (MedMNIST v2: 18 and 50)")
    stem: Stem = Field(
        default="auto", description="auto: small below 64 pixels (the shortest side), else large (MedMNIST v2)"
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
        small = self.stem == "small" or (self.stem == "auto" and min(task.image_size) < 64)
        make = {18: nets.resnet18, 34: nets.resnet34, 50: nets.resnet50, 101: nets.resnet101}[self.depth]
        network: nn.Module = make(
            spatial_dims=task.spatial_dims,
            n_input_channels=task.channels,
            num_classes=task.num_outputs,
            conv1_t_size=3 if small else 7,
            conv1_t_stride=1 if small else 2,
            no_max_pool=small,
            bias_downsample=False,
        )
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # indicators look at what enters a ReLU
        return network
