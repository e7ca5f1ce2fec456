"""Networks of residual stages, 2D and 3D: a structure as a value, the network it describes, and published ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from archimed.networks.heads import PooledLinear
from archimed.networks.layers import batch_norm, check_spatial_dims, convolution
from archimed.networks.pooling import pooling

BlockKind = Literal["basic", "bottleneck"]
Stride = int | tuple[int, ...]  # pixels per step, the same along every axis or one per axis
POOL_KERNEL, POOL_STRIDE = 3, 2  # He et al., 2016


@dataclass(frozen=True)
class StageSpec:
    """Blocks of one form, one after the other.

    Attributes:
        block: `basic` is KxK, KxK (KxKx of Zen-NAS); `bottleneck` is 1x1, KxK, 1x1 (K1KxK1).
        kernel: K, pixels.
        width: channels that leave every block.
        bottleneck_width: channels inside a block.
        stride: of the first block, on its first KxK convolution and on its projection shortcut.
        layers: blocks, at least one.
    """

    block: BlockKind
    kernel: int
    width: int
    bottleneck_width: int
    stride: Stride
    layers: int


@dataclass(frozen=True)
class Structure:
    """A whole network but for its channels in and its outputs.

    Attributes:
        stem_width: channels of the first convolution.
        stem_stride: of the first convolution.
        stages: at least one.
        stem_kernel: of the first convolution, pixels.
        stem_pool: whether a max-pooling of 3 pixels and stride 2 follows it.
    """

    stem_width: int
    stem_stride: Stride
    stages: tuple[StageSpec, ...]
    stem_kernel: int = 3
    stem_pool: bool = False

    @property
    def depth(self) -> int:
        """Layers with weights on the longest way, as ResNet-18 counts its 18: convolutions and the linear layer."""
        return 2 + sum(stage.layers * (2 if stage.block == "basic" else 3) for stage in self.stages)


def along_axes(stride: Stride, spatial_dims: int) -> tuple[int, ...]:
    """A stride as one number per axis."""
    return (stride,) * spatial_dims if isinstance(stride, int) else stride


def map_sizes(structure: Structure, image_size: Sequence[int]) -> list[tuple[int, ...]]:
    """Pixels of the map that leaves the stem and each stage, along each axis; every step rounds up."""
    size = strided(image_size, structure.stem_stride)
    sizes = [strided(size, POOL_STRIDE) if structure.stem_pool else size]
    for stage in structure.stages:
        sizes.append(strided(sizes[-1], stage.stride))
    return sizes


def strided(size: Sequence[int], stride: Stride) -> tuple[int, ...]:
    """Pixels along each axis after a step of this stride."""
    return tuple(-(-pixels // step) for pixels, step in zip(size, along_axes(stride, len(size)), strict=True))


def fitted(structure: Structure, image_size: Sequence[int], least_map: int) -> Structure:
    """The structure with strides that leave at least `least_map` pixels, if the image has them, along every axis.

    Where an axis cannot be halved as often as the structure says, its first halvings are left out, as the stems of
    ResNets for small images leave out theirs. Strides of the structure are 1 or 2 and it has no pooling.
    """
    strides = [structure.stem_stride, *(stage.stride for stage in structure.stages)]
    positions = [position for position, stride in enumerate(strides) if stride == 2]
    kept = [set(positions[len(positions) - halvings(n, least_map, len(positions)) :]) for n in image_size]
    axes = [tuple(2 if position in axis else 1 for axis in kept) for position in range(len(strides))]
    first, *others = (steps[0] if len(set(steps)) == 1 else steps for steps in axes)
    if [first, *others] == strides:
        return structure
    pairs = zip(structure.stages, others, strict=True)
    stages = (stage if stage.stride == stride else replace(stage, stride=stride) for stage, stride in pairs)
    return replace(structure, stem_stride=first, stages=tuple(stages))


def halvings(pixels: int, least: int, most: int) -> int:
    """How often, up to `most`, an axis can be halved, rounding up, with the least number of pixels left."""
    count = 0
    while count < most and pixels > 1 and (pixels := -(-pixels // 2)) >= least:
        count += 1
    return count


class ResidualBlock(nn.Module):
    """Convolutions with batch normalisation, to which what came in is added before the last ReLU (He et al., 2016).

    Where width or size change, the shortcut is a 1x1 convolution with batch normalisation. `residual` set to False
    leaves the shortcut out, as the Zen score asks.
    """

    def __init__(self, in_channels: int, stage: StageSpec, stride: Stride, spatial_dims: int) -> None:
        super().__init__()
        self.residual = True
        inner, outer, kernel = stage.bottleneck_width, stage.width, stage.kernel
        if stage.block == "basic":
            steps = [(in_channels, inner, kernel, stride), (inner, outer, kernel, 1)]
        else:
            steps = [(in_channels, inner, 1, 1), (inner, inner, kernel, stride), (inner, outer, 1, 1)]
        layers: list[nn.Module] = []
        for before, after, size, step in steps:
            layers += [convolution(before, after, spatial_dims, size, stride=step)]
            layers += [batch_norm(after, spatial_dims), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != outer or prod(along_axes(stride, spatial_dims)) > 1:
            self.shortcut = nn.Sequential(
                convolution(in_channels, outer, spatial_dims, 1, stride=stride), batch_norm(outer, spatial_dims)
            )
        self.relu = nn.ReLU()

    def forward(self, features: Float[Tensor, "batch in *space"]) -> Float[Tensor, "batch out *smaller"]:
        """Features of the next block."""
        changed: Tensor = self.layers(features)
        passed: Tensor = self.relu(changed + self.shortcut(features) if self.residual else changed)
        return passed


class ResidualStages(nn.Module):
    """The network of a structure: a stem, residual blocks, global average pooling and a linear layer."""

    def __init__(self, structure: Structure, in_channels: int, num_outputs: int, spatial_dims: int) -> None:
        """Build it for images of `in_channels` and so many logits, with weights as PyTorch draws them by default.

        Raises:
            SettingsError: the images have neither two axes nor three.
        """
        super().__init__()
        check_spatial_dims(spatial_dims)
        width = structure.stem_width
        first = [
            convolution(in_channels, width, spatial_dims, structure.stem_kernel, stride=structure.stem_stride),
            batch_norm(width, spatial_dims),
            nn.ReLU(),
        ]
        pool = [pooling("max", POOL_KERNEL, spatial_dims, POOL_STRIDE)] if structure.stem_pool else []
        self.stem = nn.Sequential(*first, *pool)
        self.stages = nn.Sequential()
        for stage in structure.stages:
            blocks = nn.Sequential()
            for number in range(stage.layers):
                blocks.append(ResidualBlock(width, stage, stage.stride if number == 0 else 1, spatial_dims))
                width = stage.width
            self.stages.append(blocks)
        self.head = PooledLinear(width, num_outputs)

    def forward(self, images: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch output"]:
        """Logits."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits

    def cam_parts(self) -> tuple[nn.Module, nn.Linear]:
        """The module whose output map is averaged over space, and the linear layer on the averages."""
        return self.stages, self.head.linear


def resnet18_structure() -> Structure:
    """ResNet-18 (He et al., 2016, Table 1)."""
    return resnet_structure("basic", (2, 2, 2, 2))


def resnet34_structure() -> Structure:
    """ResNet-34 (He et al., 2016, Table 1)."""
    return resnet_structure("basic", (3, 4, 6, 3))


def resnet50_structure() -> Structure:
    """ResNet-50 (He et al., 2016, Table 1), with the stride on the 3x3 convolution as all libraries have it."""
    return resnet_structure("bottleneck", (3, 4, 6, 3))


def resnet_structure(block: BlockKind, layers: Sequence[int]) -> Structure:
    """A ResNet of four stages whose inner widths are 64, 128, 256 and 512; bottlenecks leave four times as many."""
    inner = (64, 128, 256, 512)
    factor = 1 if block == "basic" else 4
    stages = (
        StageSpec(block, 3, factor * width, width, 1 if number == 0 else 2, count)
        for number, (width, count) in enumerate(zip(inner, layers, strict=True))
    )
    return Structure(64, 2, tuple(stages), stem_kernel=7, stem_pool=True)
