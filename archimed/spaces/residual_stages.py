"""The space of Zen-NAS and DeepMAD: stages of residual blocks whose form, width and number are chosen, 2D and 3D."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from archimed.errors import GenotypeError
from archimed.genotype import Choice, Genotype, check_genotype
from archimed.networks.layers import check_spatial_dims
from archimed.networks.residual_stages import BlockKind, ResidualStages, StageSpec, Structure, fitted
from archimed.spaces import budgets, stage_moves
from archimed.spaces.budgets import Budgets, Cost
from archimed.spaces.protocol import refuse_masks
from archimed.spaces.stage_moves import STEP, Stages
from archimed.task import ImagingTask

if TYPE_CHECKING:
    import numpy as np

FIELDS = ("block", "kernel", "width", "bottleneck", "layers")  # of a part, in the order of its choices


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ResidualStagesSpace:
    """A stem, stages of residual blocks, global average pooling and a linear layer, so CAM is exact.

    The stem, a 3x3 convolution, and the first block of every stage halve the map, the first of them only where the
    image is large enough. Each stage is of one part or of several, which differ in block (`basic`: KxK, KxK;
    `bottleneck`: 1x1, KxK, 1x1), kernel, width, width inside the blocks and number of blocks; parts after the first
    may have none. The last 1x1 convolution of Zen-NAS is left out: the head reads the last stage, as in a ResNet.
    """

    stages: int = Field(default=4, ge=1, le=6, description="stages after the stem, each of half the size (Zen-NAS)")
    parts: int = Field(
        default=2, ge=1, le=4, description="parts of a stage that may differ; a long part is split in two (Zen-NAS)"
    )
    split_layers: int = Field(
        default=6, ge=2, description="blocks of a part from which a search splits it in two (Zen-NAS, released code)"
    )
    most_layers: int = Field(default=10, ge=1, description="blocks of a part, at most (ours)")
    most_width: int = Field(
        default=2048, ge=STEP, multiple_of=STEP, description="channels, at most (Zen-NAS, released code)"
    )
    blocks: tuple[BlockKind, ...] = Field(
        default=("basic", "bottleneck"), min_length=1, description="forms of a block (Zen-NAS: KXKX and K1KXK1)"
    )
    kernels: tuple[int, ...] = Field(
        default=(3, 5, 7), min_length=1, description="pixels per side of a block's convolutions, odd (Zen-NAS)"
    )
    least_map: int = Field(
        default=4, ge=1, description="pixels along each axis of the last map, at least, if the image has them (ours)"
    )

    @model_validator(mode="after")
    def _odd_kernels_once(self) -> "ResidualStagesSpace":
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError("kernels are odd numbers, so that maps keep their size")
        for name, options in (("kernels", self.kernels), ("blocks", self.blocks)):
            if len(set(options)) < len(options):
                raise ValueError(f"{name} are named once each")
        return self

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        """The stem's width, then block, kernel, width, inner width and blocks of each part, stage after stage."""
        widths = tuple(str(width) for width in range(STEP, self.most_width + 1, STEP))
        kernels = tuple(str(kernel) for kernel in self.kernels)
        found = [Choice("stem.width", widths)]
        for stage, part in product(range(1, self.stages + 1), range(self.parts)):
            layers = tuple(str(count) for count in range(1 if part == 0 else 0, self.most_layers + 1))
            options = (self.blocks, kernels, widths, widths, layers)
            name = f"stage{stage}{('', 'b', 'c', 'd')[part]}"
            found += [Choice(f"{name}.{field}", own) for field, own in zip(FIELDS, options, strict=True)]
        return tuple(found)

    def build(self, genotype: Genotype, task: ImagingTask) -> ResidualStages:
        """The network of a genotype, its strides fitted to the size of the images.

        Raises:
            GenotypeError: the genotype does not belong to this space.
            SettingsError: the task asks for masks.
        """
        refuse_masks(task, "residual-stages")
        check_spatial_dims(task.spatial_dims)
        structure = self.fitted(self.structure(genotype), task.image_size)
        return ResidualStages(structure, task.channels, task.num_outputs, task.spatial_dims)

    def structure(self, genotype: Genotype) -> Structure:
        """The structure of a genotype before its strides are fitted to an image: the stem and every stage halve.

        Raises:
            GenotypeError: the genotype does not belong to this space.
        """
        stem, stages = self.decoded(genotype)
        parts = (part if number else replace(part, stride=2) for stage in stages for number, part in enumerate(stage))
        return Structure(stem, 2, tuple(parts))

    def genotype(self, structure: Structure) -> Genotype:
        """The canonical genotype of a structure whose strides were not yet fitted to an image.

        Raises:
            GenotypeError: the structure is not of this space; the message says why.
        """
        stages: Stages = []
        for part in structure.stages:
            if part.stride == 2:
                stages.append([])
            if not stages or part.stride not in (1, 2):
                raise _foreign(f"its first stage and every further one have stride 2; got {part}")
            stages[-1].append(part)
        if len(stages) != self.stages:
            raise _foreign(f"it has {self.stages} stages of stride 2; got {len(stages)}")
        if (structure.stem_kernel, structure.stem_stride, structure.stem_pool) != (3, 2, False):
            raise _foreign("its stem is a 3x3 convolution of stride 2 without pooling")
        return self.encoded(structure.stem_width, [_joined(stage, self.most_layers) for stage in stages])

    def canonical(self, genotype: Genotype) -> Genotype:
        """One genotype for all that build the same network: parts of one form are joined, absent ones come last."""
        return self.genotype(self.structure(genotype))

    def fitted(self, structure: Structure, image_size: Sequence[int]) -> Structure:
        """The structure with the strides that its network has for images of a size, pixels."""
        return fitted(structure, image_size, self.least_map)

    def cost(self, genotype: Genotype, task: ImagingTask) -> Cost:
        """What the network of a genotype costs, without building it."""
        return budgets.cost(self.fitted(self.structure(genotype), task.image_size), task)

    def least(self) -> Iterator[Genotype]:
        """The smallest genotypes: narrowest, one block a stage, of every form; no network costs less than all of them.

        A block of bottleneck form has fewer weights than a basic one and more layers.
        """
        kernel = self.kernels.index(min(self.kernels))
        absent = (0,) * len(FIELDS) * (self.parts - 1)
        for forms in product(range(len(self.blocks)), repeat=self.stages):
            yield (0, *(gene for form in forms for gene in (form, kernel, 0, 0, 0, *absent)))

    def draw(self, rng: "np.random.Generator", task: ImagingTask, budgets: Budgets) -> Genotype:
        """A random genotype that keeps its budgets (see `stage_moves.drawn`)."""
        return stage_moves.drawn(self, rng, task, budgets)

    def mutated(self, genotype: Genotype, rng: "np.random.Generator") -> Genotype:
        """The genotype with its stem or one part of a stage changed (see `stage_moves.mutated`)."""
        return stage_moves.mutated(self, genotype, rng)

    def decoded(self, genotype: Genotype) -> tuple[int, Stages]:
        """The stem's width, and the parts of each stage that are there, their strides 1.

        Raises:
            GenotypeError: the genotype does not belong to this space.
        """
        check_genotype(genotype, self.choices)
        stages: Stages = [[] for _ in range(self.stages)]
        for number in range(self.stages * self.parts):
            stage, place = divmod(number, self.parts)
            block, kernel, width, inner, layers = genotype[1 + number * len(FIELDS) :][: len(FIELDS)]
            if layers := layers + (place == 0):
                form = (self.blocks[block], self.kernels[kernel], STEP * (width + 1), STEP * (inner + 1))
                stages[stage].append(StageSpec(*form, stride=1, layers=layers))
        return STEP * (genotype[0] + 1), stages

    def encoded(self, stem_width: int, stages: Stages) -> Genotype:
        """The genotype of what `decoded` gives, its parts as they are.

        Raises:
            GenotypeError: the space has no such structure; the message says why.
        """
        genes = [self._width_gene(stem_width)]
        for parts in stages:
            if len(parts) > self.parts:
                raise _foreign(f"a stage has at most {self.parts} parts of {self.most_layers} blocks; got {parts}")
            genes += [gene for place, part in enumerate(parts) for gene in self._genes(part, place)]
            genes += [0] * len(FIELDS) * (self.parts - len(parts))
        return tuple(genes)

    def _genes(self, part: StageSpec, place: int) -> list[int]:
        if part.block not in self.blocks or part.kernel not in self.kernels:
            raise _foreign(f"its blocks are {', '.join(self.blocks)} of kernels {self.kernels}; got {part}")
        if not 1 <= part.layers <= self.most_layers:
            raise _foreign(f"its parts have 1 to {self.most_layers} blocks; got {part}")
        widths = [self._width_gene(width) for width in (part.width, part.bottleneck_width)]
        return [self.blocks.index(part.block), self.kernels.index(part.kernel), *widths, part.layers - (place == 0)]

    def _width_gene(self, width: int) -> int:
        if width % STEP or not STEP <= width <= self.most_width:
            raise _foreign(f"its widths are multiples of {STEP} up to {self.most_width}; got {width}")
        return width // STEP - 1


def _joined(parts: Sequence[StageSpec], most_layers: int) -> list[StageSpec]:
    """Neighbours of one form as one part, or, where that would be too long, the first as long as it may be."""
    found: list[StageSpec] = []
    for part in (replace(part, stride=1) for part in parts):
        left = part.layers
        if found and replace(found[-1], layers=left) == part:
            left += found.pop().layers
        while left > most_layers:
            found.append(replace(part, layers=most_layers))
            left -= most_layers
        found.append(replace(part, layers=left))
    return found


def _foreign(why: str) -> GenotypeError:
    return GenotypeError(f"A structure belongs to a space of residual stages if {why}. Set the space's fields for it.")
