"""How structures of residual stages are drawn at random and changed: the moves of Zen-NAS, and shrinking to budgets."""

from dataclasses import replace
from math import exp, log
from typing import TYPE_CHECKING

from archimed.genotype import Genotype
from archimed.networks.residual_stages import BlockKind, StageSpec
from archimed.spaces.budgets import Budgets
from archimed.task import ImagingTask

if TYPE_CHECKING:
    import numpy as np

    from archimed.spaces.residual_stages import ResidualStagesSpace

STEP = 8  # widths are multiples of it (Zen-NAS, released code)
SCALES = (2.5, 2.0, 1.5, 1.25, 1.0, 1 / 1.25, 1 / 1.5, 1 / 2.0, 1 / 2.5)  # of a width in one move (released code)
LAYER_STEPS = (-2, -1, 0, 1, 2)  # of the blocks of a part in one move (released code)
INNER_RATIOS = {"basic": (0.5, 2.0), "bottleneck": (0.125, 1.0)}  # of inner to outer width of what is drawn (ours)
STEM_SHARES = (1 / 64, 1 / 8)  # of the most width, of a stem that is drawn (ours)
GROWTH = (0.8, 2.5)  # of a width drawn to that of the part before it (ours)
SHRINKING = 0.9  # of a width in one step (ours)
DRAWS = 20  # before one of the smallest structures is taken

Stages = list[list[StageSpec]]  # the parts of each stage
Draft = tuple[int, Stages]  # the stem's width beside them


def drawn(space: "ResidualStagesSpace", rng: "np.random.Generator", task: ImagingTask, budgets: Budgets) -> Genotype:
    """A random genotype that keeps its budgets.

    Forms, kernels and numbers of blocks are uniform; the logarithms of widths grow by uniform steps from a stem that
    is wide; a further part is there or not. While that is too deep, one of its parts loses a block; while it computes
    or weighs too much, all its widths shrink together. So what is drawn nearly uses its budgets up, if they are tight.

    Raises:
        SettingsError: no structure keeps the budgets.
    """
    budgets.check(space.cost(genotype, task) for genotype in space.least())
    for _ in range(DRAWS):
        draft: Draft | None = _random(space, rng)
        while draft is not None:
            genotype = space.encoded(*draft)
            cost = space.cost(genotype, task)
            if budgets.admits(cost):
                return genotype
            too_deep = budgets.depth is not None and cost.depth > budgets.depth
            draft = _shallower(space, draft, rng) if too_deep else _narrower(draft) or _shallower(space, draft, rng)
    smallest = [genotype for genotype in space.least() if budgets.admits(space.cost(genotype, task))]
    return smallest[int(rng.integers(len(smallest)))]


def mutated(space: "ResidualStagesSpace", genotype: Genotype, rng: "np.random.Generator") -> Genotype:
    """The genotype with its stem or one part changed: another form, other widths and another number of blocks, near by.

    A part that has become long is split in two halves, which later changes tell apart, if its stage has room.
    """
    stem, stages = space.decoded(genotype)
    places = [(stage, part) for stage, parts in enumerate(stages) for part in range(len(parts))]
    chosen = int(rng.integers(1 + len(places)))
    if chosen == 0:
        return space.encoded(_scaled(stem, space.most_width, rng), stages)
    stage, part = places[chosen - 1]
    before = stages[stage][part]
    layers = before.layers + int(rng.choice(LAYER_STEPS))
    changed = replace(
        before,
        block=space.blocks[int(rng.integers(len(space.blocks)))],
        kernel=space.kernels[int(rng.integers(len(space.kernels)))],
        width=_scaled(before.width, space.most_width, rng),
        bottleneck_width=_scaled(before.bottleneck_width, space.most_width, rng),
        layers=min(max(layers, 1 if len(stages[stage]) == 1 else 0), space.most_layers),
    )
    stages[stage][part : part + 1] = _split(changed, space, room=len(stages[stage]) < space.parts)
    return space.encoded(stem, stages)


def _split(part: StageSpec, space: "ResidualStagesSpace", room: bool) -> list[StageSpec]:
    """A part as it is, as none if it has no blocks, or, where it is long and there is room, as two halves."""
    if part.layers < 1:
        return []
    if part.layers < space.split_layers or not room:
        return [part]
    half = part.layers // 2
    return [replace(part, layers=half), replace(part, layers=part.layers - half)]


def _scaled(width: int, most: int, rng: "np.random.Generator") -> int:
    return _rounded(width * SCALES[int(rng.integers(len(SCALES)))], most)


def _rounded(width: float, most: int) -> int:
    """The nearest multiple of the step within the limits."""
    return min(max(STEP * round(width / STEP), STEP), most)


def _random(space: "ResidualStagesSpace", rng: "np.random.Generator") -> Draft:
    """A structure drawn without regard to budgets."""
    stem = width = _rounded(space.most_width * _log_uniform(*STEM_SHARES, rng), space.most_width)
    most_layers = min(space.split_layers - 1, space.most_layers)
    stages: Stages = []
    for _ in range(space.stages):
        parts = []
        for _ in range(1 + int(rng.integers(2, size=space.parts - 1).sum())):
            block: BlockKind = space.blocks[int(rng.integers(len(space.blocks)))]
            kernel = space.kernels[int(rng.integers(len(space.kernels)))]
            width = _rounded(width * _log_uniform(*GROWTH, rng), space.most_width)
            inner = _rounded(width * _log_uniform(*INNER_RATIOS[block], rng), space.most_width)
            parts.append(StageSpec(block, kernel, width, inner, 1, int(rng.integers(1, most_layers + 1))))
        stages.append(parts)
    return stem, stages


def _log_uniform(least: float, most: float, rng: "np.random.Generator") -> float:
    return exp(float(rng.uniform(log(least), log(most))))


def _narrower(draft: Draft) -> Draft | None:
    """All widths a step smaller; None if they are as small as can be."""
    stem, stages = draft
    smaller: Stages = [
        [replace(part, width=_less(part.width), bottleneck_width=_less(part.bottleneck_width)) for part in parts]
        for parts in stages
    ]
    return None if (changed := (_less(stem), smaller)) == draft else changed


def _less(width: int) -> int:
    return max(STEP, STEP * int(SHRINKING * width / STEP))


def _shallower(space: "ResidualStagesSpace", draft: Draft, rng: "np.random.Generator") -> Draft | None:
    """A part, drawn among all, with a block less or a shallower or smaller form; None if nothing can be made less."""
    stem, stages = draft
    found: list[Draft] = []
    for number, parts in enumerate(stages):
        for place, part in enumerate(parts):
            for less in _lesser_parts(space, part, alone=len(parts) == 1):
                changed = [*parts[:place], *less, *parts[place + 1 :]]
                found.append((stem, [*stages[:number], changed, *stages[number + 1 :]]))
    return found[int(rng.integers(len(found)))] if found else None


def _lesser_parts(space: "ResidualStagesSpace", part: StageSpec, alone: bool) -> list[list[StageSpec]]:
    """What may stand in place of a part that has to become less."""
    if part.layers > 1:
        return [[replace(part, layers=part.layers - 1)]]
    if not alone:
        return [[]]
    found = [[replace(part, kernel=kernel)] for kernel in space.kernels if kernel < part.kernel]
    return found + [[replace(part, block=block)] for block in space.blocks if block == "basic" != part.block]
