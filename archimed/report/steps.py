"""The whole chosen network from image to classes, as stages with the form of the features that leave each."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from archimed.errors import ArchimedError
from archimed.genotype import parse
from archimed.report.architecture_graph import block_names
from archimed.report.reading import Record, number
from archimed.report.summing_cells import Spelt, modality_names, summing_cells
from archimed.report.words import listing
from archimed.task import ImagingTask


@dataclass(frozen=True)
class Step:
    """One stage of the whole network, with the form of the features that leave it."""

    words: str
    form: str


def steps(space: Record, genotype: Spelt, task: ImagingTask) -> list[Step]:
    """The stages of a network of a known space; [] if the space does not tell them."""
    width, stride = number(space.get("width")), number(space.get("stem_stride"))
    side = [ceil(pixels / (stride or 1)) for pixels in task.image_size]
    if task.image_size and space.get("name") == "residual_stages":
        inside = residual_steps(space, genotype, task)
    elif not width or not stride or not task.image_size:
        return []
    elif blocks := block_names(genotype):
        inside = block_steps(blocks, int(width), side)
    elif not summing_cells(genotype):
        return []
    elif space.get("name") == "darts_cell":
        inside = stacked_steps(space, int(width), side)
    elif space.get("name") == "fusion_cell":
        inside = fusion_steps(space, int(width), side, task)
    else:
        return []
    if not inside:
        return []
    return [
        Step("image", form(task.channels, task.image_size)),
        *inside,
        Step("average over the image", inside[-1].form.partition(" ")[0]),
        Step("linear layer", f"{task.num_outputs} outputs"),
    ]


def block_steps(blocks: Sequence[str], width: int, side: Sequence[int]) -> list[Step]:
    """Stem and blocks of the multi-scale space; every block halves the size."""
    found = [Step("stem", form(width, side))]
    for k, block in enumerate(blocks):
        side = halved(side)
        found.append(Step(block.replace("block", "block "), form(width * 2**k, side)))
    return found


def stacked_steps(space: Record, width: int, side: Sequence[int]) -> list[Step]:
    """Stem and cells of DARTS's space; the cells at one and two thirds of the depth reduce."""
    cells, nodes = (round(number(space.get(key)) or 1) for key in ("num_cells", "num_nodes"))
    found = [Step("stem", form(width, side))]
    reduces = [cells // 3, 2 * cells // 3]
    for first, last in zip([0, *(k + 1 for k in reduces)], [*reduces, cells], strict=True):
        if last > first:
            found.append(Step(counted(last - first, "normal cell"), form(nodes * width, side)))
        if last in reduces:
            width, side = 2 * width, halved(side)
            found.append(Step("reduction cell", form(nodes * width, side)))
    return found


def fusion_steps(space: Record, width: int, side: Sequence[int], task: ImagingTask) -> list[Step]:
    """Stems, cells and the two convolutions of MM-NAS."""
    nodes, normal, reduction = (
        round(number(space.get(key)) or 1) for key in ("num_nodes", "num_normal", "num_reduction")
    )
    names = modality_names(space, task.channel_names or [""] * task.channels)
    stems = f"a stem for each of {listing(names)}, one for all" if len(names) > 1 else "two stems"
    found = [Step(stems, f"{form(width, side)} each"), Step(counted(normal, "normal cell"), form(nodes * width, side))]
    for _ in range(reduction):
        width, side = 2 * width, halved(side)
        found.append(Step("reduction cell", form(nodes * width, side)))
    return [*found, Step("two convolutions", form(round(number(space.get("head")) or 1), side))]


def residual_steps(space: Record, genotype: Spelt, task: ImagingTask) -> list[Step]:
    """Stem and stages of residual blocks; [] if the genotype is not of the space."""
    from archimed.networks.residual_stages import map_sizes
    from archimed.spaces import space_from_settings
    from archimed.spaces.residual_stages import ResidualStagesSpace

    try:
        found = space_from_settings("residual_stages", {key: value for key, value in space.items() if key != "name"})
        if not isinstance(found, ResidualStagesSpace):
            return []
        chosen = found.canonical(parse(genotype, found.choices))
        structure = found.fitted(found.structure(chosen), task.image_size)
    except ArchimedError:
        return []
    sizes = map_sizes(structure, task.image_size)
    stem = f"stem: {kernel_words(structure.stem_kernel, task)} convolution"
    shown = [Step(stem, form(structure.stem_width, sizes[0]))]
    for stage, size in zip(structure.stages, sizes[1:], strict=True):
        layers = [kernel_words(stage.kernel, task)] * 2
        if stage.block == "bottleneck":
            layers = [kernel_words(1, task), layers[0], kernel_words(1, task)]
        inside = f"{', '.join(layers)}; {stage.bottleneck_width} channels inside"
        shown.append(Step(f"{counted(stage.layers, f'{stage.block} block')} ({inside})", form(stage.width, size)))
    return shown


def kernel_words(kernel: int, task: ImagingTask) -> str:
    """A kernel: 3×3, in volumes 3³."""
    return f"{kernel}³" if task.spatial_dims == 3 else f"{kernel}×{kernel}"


def counted(times: int, words: str) -> str:
    """One or several: "normal cell", "2 normal cells"."""
    return words if times == 1 else f"{times} {words}s"


def halved(side: Sequence[int]) -> list[int]:
    """Half the pixels of each axis, rounded up."""
    return [ceil(pixels / 2) for pixels in side]


def form(channels: int, side: Sequence[int]) -> str:
    """Channels and pixels: "128 × 7 × 7"."""
    return " × ".join(str(length) for length in (channels, *side))
