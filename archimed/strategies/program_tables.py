"""DeepMAD's mathematical program written out as tables: forms of a block, widths and depths of the stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import log, prod

import numpy as np
from jaxtyping import Float, Int

from archimed.indicators.entropy import (
    inner_log_width,
    layers_per_block,
    scale_ends,
)
from archimed.networks.residual_stages import BlockKind, StageSpec, Structure, along_axes, map_sizes
from archimed.spaces.stage_moves import STEP
from archimed.strategies.program import Program

STEM_KERNEL = 3  # of the space
NEVER = -1e9  # stands for minus infinity where that would be multiplied by zero


@dataclass(frozen=True)
class Forms:
    """The blocks that a stage of each width may have, those left out than which another is never worse.

    Where a width has fewer forms, `logs` of what is not there is NEVER.

    Attributes:
        widths: of a stage.
        kernels: pixels.
        inners: widths inside a block.
        logs: log-widths of a block's convolutions but for the channels that come in.
        enter: weights of the first convolution for each channel that comes in.
        rest: weights of the other convolutions.
        norms: learnable numbers of normalisations.
    """

    widths: Int[np.ndarray, " width"]
    kernels: Int[np.ndarray, "width form"]
    inners: Int[np.ndarray, "width form"]
    logs: Float[np.ndarray, "width form"]
    enter: Int[np.ndarray, "width form"]
    rest: Int[np.ndarray, "width form"]
    norms: Int[np.ndarray, "width form"]


@dataclass(frozen=True)
class Tables:
    """The program for blocks of one kind.

    Attributes:
        program: what is solved.
        block: the kind.
        forms: of the blocks of a stage, by its width.
        stems: widths of the stem.
        positions: pixels of the map after the stem and after each stage.
        scale_weights: of the entropy that is measured after the stem and after each stage; 0 within a scale.
        strided: whether the first block of each stage shrinks the map.
        stage_widths: rows of `forms.widths`, non-decreasing along the stages.
        depths: blocks of each stage.
    """

    program: Program
    block: BlockKind
    forms: Forms
    stems: Int[np.ndarray, " stem"]
    positions: Int[np.ndarray, " place"]
    scale_weights: Float[np.ndarray, " place"]
    strided: tuple[bool, ...]
    stage_widths: Int[np.ndarray, "choice stage"]
    depths: Int[np.ndarray, "choice stage"]

    @property
    def stages(self) -> int:
        """How many."""
        return len(self.strided)

    @property
    def layers_per_block(self) -> int:
        """Convolutions."""
        return layers_per_block(StageSpec(self.block, 3, STEP, STEP, 1, 1))

    @property
    def stem_log_width(self) -> float:
        """Of the stem's convolution."""
        return log(self.stem_weights)

    @property
    def stem_weights(self) -> int:
        """Of the stem's convolution, for each of its channels."""
        return int(self.program.task.channels * STEM_KERNEL**self.program.task.spatial_dims)

    def entering(self, stage: int) -> int:
        """Positions at which the first convolution of a stage works: those of the map before it if it is 1x1."""
        return int(self.positions[stage + (self.block == "basic")])

    @cached_property
    def layers(self) -> Int[np.ndarray, " choice"]:
        """Convolutions of each choice of depths, the stem's with them."""
        layers: Int[np.ndarray, " choice"] = 1 + self.layers_per_block * self.depths.sum(1)
        return layers

    @cached_property
    def penalties(self) -> Float[np.ndarray, " choice"]:
        """Weighted Q of each choice of depths."""
        penalties: Float[np.ndarray, " choice"] = self.program.unevenness_weight * np.exp(self.depths.var(1))
        return penalties

    @cached_property
    def least_log_widths(self) -> Float[np.ndarray, " choice"]:
        """The sum of log-widths from which on rho is kept, for each choice of depths: L (log L - log rho)."""
        least: Float[np.ndarray, " choice"] = self.layers * np.log(self.layers / self.program.effectiveness)
        return least

    def costs(
        self,
        stage: int,
        before: Int[np.ndarray, " option"],
        width: Int[np.ndarray, " option"],
        form: Int[np.ndarray, " option"],
        blocks: Int[np.ndarray, " option"],
    ) -> Int[np.ndarray, "option 2"]:
        """MACs and parameters of a stage.

        Args:
            stage: which, from 0.
            before: channels that come in.
            width: row of `forms.widths`.
            form: column of `forms`.
            blocks: how many.
        """
        forms, channels = self.forms, self.forms.widths[width]
        enter, rest, norms = forms.enter[width, form], forms.rest[width, form], forms.norms[width, form]
        shortcut = np.where(self.strided[stage] | (before != channels), before * channels, 0)
        later = rest + (blocks - 1) * (channels * enter + rest) + shortcut
        parameters = before * enter + later + blocks * norms + 2 * np.where(shortcut > 0, channels, 0)
        macs = before * enter * self.entering(stage) + later * self.positions[stage + 1]
        return np.stack([macs, parameters], axis=1)

    def gains(self, stage_widths: Int[np.ndarray, "choice stage"]) -> Float[np.ndarray, "choice stage"]:
        """What a unit of log-width in each stage adds to the score: the factors of all entropies from there on."""
        logs = np.log(self.forms.widths[stage_widths] * self.positions[1:])
        gains: Float[np.ndarray, "choice stage"] = np.cumsum((self.scale_weights[1:] * logs)[:, ::-1], 1)[:, ::-1]
        return gains

    def structure(self, stem: int, stages: Sequence[tuple[int, int, int, int]]) -> Structure:
        """The structure of a stem's width and of (width, kernel, inner width, blocks) of each stage."""
        specs = (StageSpec(self.block, kernel, width, inner, 2, blocks) for width, kernel, inner, blocks in stages)
        return Structure(stem, 2, tuple(specs))


def tables_of(program: Program, block: BlockKind) -> Tables:
    """The tables of a program for blocks of one kind."""
    space, task = program.space, program.task
    smallest = StageSpec(block, min(space.kernels), STEP, STEP, 2, 1)
    fitted = program.fitted(Structure(STEP, 2, (smallest,) * space.stages))
    positions = np.array([prod(size) for size in map_sizes(fitted, task.image_size)], dtype=np.int64)
    weights = np.zeros(space.stages + 1)
    weights[list(scale_ends(fitted, task.spatial_dims))] = 1.0
    weights[-1] = program.last_weight
    widths = np.array(program.widths, dtype=np.int64)
    stems = widths[widths <= program.most_stem]
    return Tables(
        program,
        block,
        _forms(program, block, widths),
        stems,
        positions,
        weights,
        tuple(prod(along_axes(stage.stride, task.spatial_dims)) > 1 for stage in fitted.stages),
        _stage_widths(widths, space.stages, program.most_growth, int(stems[-1])),
        _depths(program, block, widths, positions),
    )


def _forms(program: Program, block: BlockKind, widths: Int[np.ndarray, " width"]) -> Forms:
    rows = [_forms_of(program, block, int(width), widths.tolist()) for width in widths]
    empty = (0, 0, NEVER, 0, 0, 0)
    full = max(map(len, rows))
    columns = np.array([row + [empty] * (full - len(row)) for row in rows]).transpose(2, 0, 1)
    kernels, inners, enter, rest, norms = (columns[n].astype(np.int64) for n in (0, 1, 3, 4, 5))
    return Forms(widths, kernels, inners, columns[2], enter, rest, norms)


def _forms_of(program: Program, block: BlockKind, width: int, inners: Sequence[int]) -> list[tuple[float, ...]]:
    """Kernel, inner width, log-widths, entering weights, other weights, norms of each form that may be best."""
    found: list[tuple[float, ...]] = []
    for kernel, inner in product(program.space.kernels, inners):
        if program.least_inner_share * width <= inner <= width:
            taps = kernel**program.task.spatial_dims
            basic = block == "basic"
            enter = inner * taps if basic else inner
            rest = inner * width * taps if basic else inner * (inner * taps + width)
            norms = 2 * (width + inner * (1 if basic else 2))
            logs = inner_log_width(StageSpec(block, kernel, width, inner, 1, 1), program.task.spatial_dims)
            found.append((kernel, inner, logs, enter, rest, norms))
    return [one for one in found if not any(_better(other, one) for other in found)]


def _better(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether a form has no smaller log-widths and no larger costs than another, and is not its equal."""
    gain, cost_of = (one[2], one[3:]), (other[2], other[3:])
    no_worse = gain[0] >= cost_of[0] and all(a <= b for a, b in zip(gain[1], cost_of[1], strict=True))
    return no_worse and gain != cost_of


def _stage_widths(
    widths: Int[np.ndarray, " width"], stages: int, most_growth: float, widest_stem: int
) -> Int[np.ndarray, "choice stage"]:
    """All non-decreasing rows of widths that grow no faster than they may."""
    rows: list[tuple[int, ...]] = [
        (first,) for first in range(len(widths)) if widths[first] <= most_growth * widest_stem
    ]
    for _ in range(stages - 1):
        rows = [
            (*row, follows)
            for row in rows
            for follows in range(row[-1], len(widths))
            if widths[follows] <= most_growth * widths[row[-1]]
        ]
    return np.array(rows, dtype=np.int64)


def _depths(
    program: Program, block: BlockKind, widths: Int[np.ndarray, " width"], positions: Int[np.ndarray, " place"]
) -> Int[np.ndarray, "choice stage"]:
    """All numbers of blocks within the budget of depth but for those so uneven that every score would be negative."""
    stages, most = program.space.stages, program.space.most_layers
    every = np.indices((most,) * stages).reshape(stages, -1).T + 1
    per_block = layers_per_block(StageSpec(block, 3, STEP, STEP, 1, 1))
    if program.budgets.depth is not None:
        every = every[2 + per_block * every.sum(1) <= program.budgets.depth]
    wide = int(widths[-1])
    kernel = max(program.space.kernels)
    block_logs = log(wide) + inner_log_width(StageSpec(block, kernel, wide, wide, 1, 1), program.task.spatial_dims)
    most_score = (stages + program.last_weight) * log(wide * positions.max()) * (1 + stages * most) * block_logs
    if program.unevenness_weight > 0:
        every = every[every.var(1) <= log(max(most_score / program.unevenness_weight, 1.0))]
    return every.astype(np.int64)
