"""ResNet and DenseNet from MONAI with the stems of MedMNIST's baselines, for images and volumes of any size."""

from typing import Literal

from torch import nn

from archimed.networks.layers import convolution

Stem = Literal["small", "pooled", "large"]


def resnet(
    depth: Literal[18, 34, 50, 101], stem: Stem, channels: int, num_outputs: int, spatial_dims: int
) -> nn.Module:
    """A residual network (He et al., 2016).

    The small stem is a 3x3 convolution of stride 1, the large one a 7x7 convolution and a max-pooling, each of stride
    2; the pooled stem is the small one and then the max-pooling.
    """
    from monai.networks import nets

    make = {18: nets.resnet18, 34: nets.resnet34, 50: nets.resnet50, 101: nets.resnet101}[depth]
    network: nn.Module = make(
        spatial_dims=spatial_dims,
        n_input_channels=channels,
        num_classes=num_outputs,
        conv1_t_size=7 if stem == "large" else 3,
        conv1_t_stride=2 if stem == "large" else 1,
        no_max_pool=stem == "small",
        bias_downsample=False,
    )
    return never_in_place(network)


def densenet(stem: Stem, channels: int, num_outputs: int, spatial_dims: int) -> nn.Module:
    """DenseNet-121 (Huang et al., 2017) with the stems of `resnet`.

    Poolings of odd sizes round up, so that small images do not vanish; even sizes are halved as published.
    """
    from monai.networks.nets.densenet import DenseNet121

    network = DenseNet121(spatial_dims, channels, num_outputs)
    if stem != "large":
        first: nn.Module = network.features.conv0
        network.features.conv0 = convolution(channels, first.out_channels, spatial_dims, 3)  # type: ignore[arg-type]
    if stem == "small":
        network.features.pool0 = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.AvgPool2d | nn.AvgPool3d):
            module.ceil_mode = True
    return never_in_place(network)


def never_in_place(network: nn.Module) -> nn.Module:
    """The network whose ReLUs keep what enters them: indicators look at it."""
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return network
