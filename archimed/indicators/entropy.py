"""DeepMAD's closed forms of a structure: entropy of its scales, effectiveness, unevenness (Shen et al., CVPR 2023).

No network is built and no image is seen. A convolution of c_in channels, kernel k and g groups has the width
c_in k^2 / g (k^3 in volumes); shortcuts and the linear layer at the end count for nothing. A scale is all that works at
one resolution: it ends where the next stage has a stride above 1, and the stem, if none follows it at once, is one too.
The released code halves the entropies (`half=True`), measures unevenness by the standard deviation of three stages, and
takes the largest rho of all scales, in every published structure the last one's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, prod

from archimed.networks.residual_stages import StageSpec, Structure, along_axes, map_sizes

LAST_WEIGHT = 8.0  # of the last scale's entropy; all others weigh 1 (DeepMAD, Sec. 4.3)
UNEVENNESS_WEIGHT = 10.0  # beta (DeepMAD, Sec. 4.3)


@dataclass(frozen=True)
class Depths:
    """Convolutions so far, and the sum of the logarithms of their widths."""

    layers: int
    log_widths: float


def structure_score(
    structure: Structure,
    channels: int,
    image_size: Sequence[int],
    last_weight: float = LAST_WEIGHT,
    unevenness_weight: float = UNEVENNESS_WEIGHT,
) -> float:
    """What DeepMAD maximises: the weighted sum of the scales' entropies less the weighted unevenness.

    Args:
        structure: see `archimed.networks.residual_stages`.
        channels: of the images.
        image_size: pixels along each axis.
        last_weight: of the last scale; 8 is the paper's, each other scale weighs 1.
        unevenness_weight: of Q; 10 is the paper's.
    """
    *others, last = scale_entropies(structure, channels, image_size)
    return sum(others) + last_weight * last - unevenness_weight * unevenness(structure)


def scale_entropies(
    structure: Structure, channels: int, image_size: Sequence[int], *, half: bool = False
) -> tuple[float, ...]:
    """The entropy H of each scale, in nats: log(c prod(map)) times the sum of the log-widths up to its end.

    In an image of side r the product is r^2, as DeepMAD has it. `half` halves them, as the released code does.
    """
    sizes = map_sizes(structure, image_size)
    widths = (structure.stem_width, *(stage.width for stage in structure.stages))
    depths = list(depths_so_far(structure, channels, len(image_size)))
    factor = 0.5 if half else 1.0
    return tuple(
        factor * log(widths[end] * prod(sizes[end])) * depths[end].log_widths
        for end in scale_ends(structure, len(image_size))
    )


def effectiveness(structure: Structure, channels: int, spatial_dims: int) -> float:
    """Rho: layers over the geometric mean of their widths; DeepMAD keeps it below 0.3 at the scale of ResNets.

    A large value is a network too deep for its widths to be trained well; layers are convolutions.
    """
    *_, whole = depths_so_far(structure, channels, spatial_dims)
    return whole.layers / exp(whole.log_widths / whole.layers)


def unevenness(structure: Structure) -> float:
    """Q: the exponential of the variance of the stages' numbers of blocks, 1 if all are equally deep."""
    depths = [stage.layers for stage in structure.stages]
    mean = sum(depths) / len(depths)
    return exp(sum((depth - mean) ** 2 for depth in depths) / len(depths))


def scale_ends(structure: Structure, spatial_dims: int) -> tuple[int, ...]:
    """Where each scale ends: 0 after the stem, n after stage n."""
    strided = [prod(along_axes(stage.stride, spatial_dims)) > 1 for stage in structure.stages]
    return (*(end for end, follows in enumerate(strided) if follows), len(strided))


def depths_so_far(structure: Structure, channels: int, spatial_dims: int) -> Iterator[Depths]:
    """Layers and summed log-widths after the stem, then after each stage."""
    layers, log_widths = 1, log(channels * structure.stem_kernel**spatial_dims)
    yield Depths(layers, log_widths)
    before = log(structure.stem_width)
    for stage in structure.stages:
        inner = inner_log_width(stage, spatial_dims)
        outer = log(stage.width)
        log_widths += before + (stage.layers - 1) * outer + stage.layers * inner
        layers += stage.layers * layers_per_block(stage)
        before = outer
        yield Depths(layers, log_widths)


def inner_log_width(stage: StageSpec, spatial_dims: int) -> float:
    """Log-widths of a block's convolutions, but for the channels that come in.

    Basic: (c k^d)(b k^d); bottleneck: (c)(b k^d)(b), with c channels in, b inside and d axes.
    """
    kernels = spatial_dims * log(stage.kernel)
    if stage.block == "basic":
        return log(stage.bottleneck_width) + 2 * kernels
    return 2 * log(stage.bottleneck_width) + kernels


def layers_per_block(stage: StageSpec) -> int:
    """Convolutions of a block, its shortcut's not counted."""
    return 2 if stage.block == "basic" else 3
