"""DeepMAD's program without a proof: structures drawn and mutated within its constraints, the best of them kept."""

import math
import time
from dataclasses import replace

import numpy as np

from archimed.candidate import Candidate
from archimed.genotype import Genotype
from archimed.networks.residual_stages import StageSpec, Structure
from archimed.spaces.stage_moves import STEP
from archimed.strategies.evolution import Evolution
from archimed.strategies.program import Program

DRAWS = 1000  # until one is admitted
POPULATION, OFFSPRING = 64, 16


def evolved(program: Program, rng: np.random.Generator, count: int, seconds: float = math.inf) -> Structure | None:
    """A good structure of a program by mutation alone, as in DeepMAD's released code; None if none was drawn.

    Args:
        program: what is maximised.
        rng: the one source of chance.
        count: different structures that are scored at most.
        seconds: wall clock at most.
    """
    end = time.monotonic() + seconds
    space = program.space
    first = drawn(program, rng)
    if first is None:
        return None

    def draw(own: np.random.Generator) -> Genotype:
        return space.genotype(drawn(program, own) or first)

    def mutate(genotype: Genotype, own: np.random.Generator) -> Genotype:
        return space.genotype(coerced(program, space.structure(space.mutated(genotype, own))))

    strategy = Evolution(
        draw=draw,
        mutate=mutate,
        admits=lambda genotype: program.admits(space.structure(genotype)),
        objectives=lambda population: np.array([[-one.measurements["score"]] for one in population]),
        rng=rng,
        count=count,
        population_size=POPULATION,
        offspring_size=OFFSPRING,
    )
    while time.monotonic() < end and (batch := strategy.ask()):
        strategy.tell([Candidate(one, 0, {"score": program.score(space.structure(one))}) for one in batch])
    return space.structure(strategy.survivors[0].genotype)


def drawn(program: Program, rng: np.random.Generator) -> Structure | None:
    """A random structure that a program admits; None if many were drawn in vain."""
    space = program.space
    for _ in range(DRAWS):
        structure = coerced(program, space.structure(space.draw(rng, program.task, program.budgets)))
        if program.admits(structure):
            return structure
    return None


def coerced(program: Program, structure: Structure) -> Structure:
    """The structure with the widths nearest to its own that a program allows, and blocks of its first stage's kind."""
    before = stem = min(structure.stem_width, program.most_stem // STEP * STEP)
    stages: list[StageSpec] = []
    for stage in structure.stages:
        width = min(max(stage.width, before), STEP * int(program.most_growth * before / STEP))
        least = STEP * math.ceil(program.least_inner_share * width / STEP)
        inner = min(max(stage.bottleneck_width, least), width)
        block = structure.stages[0].block
        stages.append(replace(stage, block=block, width=width, bottleneck_width=inner))
        before = width
    return replace(structure, stem_width=stem, stages=tuple(stages))
