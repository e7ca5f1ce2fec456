"""DeepMAD's mathematical program, solved to proven optimality by bounds and OR-Tools CP-SAT.

Once widths and depths of the stages are fixed, score, budgets and rho are sums over the stages' blocks: a linear
program in 0 and 1. Lagrangian bounds discard the widths and depths, and the blocks, with which nothing can score as
high as a floor; CP-SAT finds the best of the rest. If that is at least the floor, nothing that was discarded scores
more. Logarithms enter CP-SAT as integers, in units of 1e-6: of M stages, its score is within (M + 1) / 2 units of the
true one, and its sum of log-widths within M + 1 units below it, so that rho is never exceeded.
"""

import importlib.util
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from archimed.networks.residual_stages import Structure
from archimed.strategies.program import Program
from archimed.strategies.program_bounds import Bounder
from archimed.strategies.program_narrowing import Narrowing, Remaining
from archimed.strategies.program_tables import Tables, tables_of

MOST_RHO = 1e3  # above that of any network
UNIT = 1e-6  # of scores and log-widths in CP-SAT
FIRST_GAP, GROWTH = 0.02, 2.0  # how far below the bound the floor is set, as a share of it
SPARE = 0.2  # of that gap: how much worse blocks may be that are tried for a first structure
TRIED = 10  # blocks of each stage that are tried for it, in each choice of widths and depths


@dataclass(frozen=True)
class Solution:
    """What solving came to.

    Attributes:
        structure: the best one found, before its strides are fitted; None if there is none, or none was found in time.
        score: its score; minus infinity without one.
        bound: no structure of the program scores more.
        proven: whether the structure is the best of the program, or, without one, that the program has none.
        seconds: wall clock.
    """

    structure: Structure | None
    score: float
    bound: float
    proven: bool
    seconds: float


def has_solver() -> bool:
    """Whether OR-Tools is installed."""
    return importlib.util.find_spec("ortools") is not None


def solve(program: Program, seconds: float = math.inf) -> Solution:
    """The best structure of a program, with its proof unless time ends first. Needs OR-Tools (see `has_solver`)."""
    start = time.monotonic()
    best = Solution(None, -math.inf, -math.inf, True, 0.0)
    for block in program.space.blocks:
        found = solve_tables(tables_of(program, block), max(best.score, 0.0), seconds - (time.monotonic() - start))
        better = found if found.score > best.score else best
        bound, proven = max(best.bound, found.bound), best.proven and found.proven
        best = Solution(better.structure, better.score, bound, proven, time.monotonic() - start)
    return best


def least_rho(program: Program, accuracy: float = 0.005) -> float:
    """The least rho of structures with one block a stage within the budgets, rounded up; infinite if there is none."""
    shallow = replace(program, space=replace(program.space, most_layers=1))
    found = solve(replace(shallow, effectiveness=MOST_RHO)).structure
    if found is None:
        return math.inf
    low, high = 0.0, program.rho(found)
    while high - low > accuracy:
        middle = (low + high) / 2
        found = solve(replace(shallow, effectiveness=middle)).structure
        low, high = (low, program.rho(found)) if found else (middle, high)
    return high


def solve_tables(tables: Tables, at_least: float = 0.0, seconds: float = math.inf) -> Solution:
    """The best structure with blocks of one kind, if it scores more than what is known already, at least 0."""
    start = time.monotonic()
    if not len(tables.stage_widths) or not len(tables.depths):
        return Solution(None, -math.inf, at_least, True, 0.0)
    narrowing = Narrowing(Bounder(tables))
    if narrowing.top < at_least:
        return Solution(None, -math.inf, at_least, True, time.monotonic() - start)
    best: tuple[float, Structure | None] = (-math.inf, None)
    gap, proven = FIRST_GAP * narrowing.top, False
    while not proven and (left := seconds - (time.monotonic() - start)) > 0:
        known = max(best[0], at_least)
        floor = known if best[1] is not None else max(known, narrowing.top - gap)
        remaining = narrowing.remaining(floor, spare=0.0 if floor == known else SPARE * gap)
        if remaining is None:
            break
        if floor > known:
            best = max(best, probed(tables, remaining), key=lambda one: one[0])
            gap *= GROWTH
            continue
        score, structure, finished = best_of(tables, remaining, left)
        best = max(best, (score, structure), key=lambda one: one[0])
        if not finished:
            break
        proven = True
    bound = max(best[0], at_least) if proven else narrowing.top
    return Solution(best[1], best[0], bound, proven, time.monotonic() - start)


def probed(tables: Tables, remaining: Remaining) -> tuple[float, Structure | None]:
    """A good structure: the best of a few blocks of each stage, in every choice of widths and depths that remains."""
    constants = _constants(tables, remaining)
    parts = [_part(tables, remaining, stage) for stage in range(tables.stages)]
    starts = [np.searchsorted(options.choice, np.arange(len(remaining.rows) + 1)) for options in remaining.options]
    budgets = tables.program.budgets
    limits = np.array([_open(budgets.macs), _open(budgets.parameters)])
    best: tuple[int, int, tuple[int, ...]] | None = None
    for choice, constant in enumerate(constants):
        total = constant.reshape((1,) * tables.stages + (4,))
        for stage, (part, start) in enumerate(zip(parts, starts, strict=True)):
            few = part[start[choice] : min(start[choice] + TRIED, start[choice + 1])]
            total = total + few.reshape((1,) * stage + (len(few),) + (1,) * (tables.stages - stage - 1) + (4,))
        allowed = (total[..., :2] <= limits).all(-1) & (total[..., 2] >= 0)
        scores = np.where(allowed, total[..., 3], np.iinfo(np.int64).min)
        if scores.size and allowed.any() and (best is None or scores.max() > best[0]):
            best = (int(scores.max()), choice, tuple(map(int, np.unravel_index(scores.argmax(), scores.shape))))
    if best is None:
        return -math.inf, None
    _, choice, few_options = best
    structure = _structure(
        tables, remaining, choice, [int(start[choice]) + one for start, one in zip(starts, few_options, strict=True)]
    )
    return tables.program.score(structure), structure


def _open(limit: int | None) -> int:
    return np.iinfo(np.int64).max if limit is None else limit


def best_of(tables: Tables, remaining: Remaining, seconds: float) -> tuple[float, Structure | None, bool]:
    """The best of what remains by CP-SAT: score, structure, and whether it was proven (or that there is none)."""
    from ortools.sat.python import cp_model

    if not len(remaining.rows):
        return -math.inf, None, True
    model = cp_model.CpModel()
    chosen = [model.new_bool_var("") for _ in remaining.rows]
    model.add_exactly_one(chosen)
    literals = []
    parts = [_part(tables, remaining, stage) for stage in range(tables.stages)]
    for options in remaining.options:
        own = [model.new_bool_var("") for _ in options.choice]
        by_choice: list[list[cp_model.IntVar]] = [[] for _ in chosen]
        for literal, choice in zip(own, options.choice.tolist(), strict=True):
            by_choice[choice].append(literal)
        for literal, alternatives in zip(chosen, by_choice, strict=True):
            model.add(sum(alternatives) == literal)
        literals.append(own)
    every = [*chosen, *itertools.chain.from_iterable(literals)]
    constant = _constants(tables, remaining)

    def total(column: int) -> cp_model.LinearExpr:
        values = np.concatenate([constant[:, column], *(part[:, column] for part in parts)])
        return cp_model.LinearExpr.weighted_sum(every, [int(value) for value in values])

    budgets = tables.program.budgets
    for column, limit in ((0, budgets.macs), (1, budgets.parameters)):
        if limit is not None:
            model.add(total(column) <= limit)
    model.add(total(2) >= 0)
    model.maximize(total(3))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1  # the same answer every time
    solver.parameters.max_time_in_seconds = min(seconds, 1e6)
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return -math.inf, None, status == cp_model.INFEASIBLE
    choice = [bool(solver.value(literal)) for literal in chosen].index(True)
    taken = [[bool(solver.value(literal)) for literal in own].index(True) for own in literals]
    structure = _structure(tables, remaining, choice, taken)
    return tables.program.score(structure), structure, status == cp_model.OPTIMAL


def _constants(tables: Tables, remaining: Remaining) -> Int[np.ndarray, "choice 4"]:
    """MACs, parameters, log-width above what rho asks for and score of each choice, but for its stages."""
    last = tables.forms.widths[tables.stage_widths[remaining.rows, -1]]
    outputs = tables.program.task.num_outputs
    gains = tables.gains(tables.stage_widths[remaining.rows])[:, 0]
    spare = tables.stem_log_width - tables.least_log_widths[remaining.depths]
    score = gains * tables.stem_log_width - tables.penalties[remaining.depths]
    scaled = [np.floor(spare / UNIT), np.rint(score / UNIT)]
    return np.stack([last * outputs, (last + 1) * outputs, *scaled], axis=1).astype(np.int64)


def _part(tables: Tables, remaining: Remaining, stage: int) -> Int[np.ndarray, "option 4"]:
    """The same of each option of a stage; the stem's is in the first."""
    options = remaining.options[stage]
    widths = tables.stage_widths[remaining.rows[options.choice]]
    blocks = tables.depths[remaining.depths[options.choice], stage]
    costs = tables.costs(stage, options.before, widths[:, stage], options.form, blocks)
    inner = tables.forms.logs[widths[:, stage], options.form]
    logs = np.log(options.before) + blocks * inner + (blocks - 1) * np.log(tables.forms.widths[widths[:, stage]])
    score = tables.gains(widths)[:, stage] * logs
    if stage == 0:
        stem = options.before
        score += tables.scale_weights[0] * np.log(stem * tables.positions[0]) * tables.stem_log_width
        weights = stem * tables.stem_weights
        costs += np.stack([weights * tables.positions[0], weights + 2 * stem], axis=1)
    scaled = np.stack([np.floor(logs / UNIT), np.rint(score / UNIT)], axis=1)
    return np.concatenate([costs, scaled.astype(np.int64)], axis=1)


def _structure(tables: Tables, remaining: Remaining, choice: int, options: Sequence[int]) -> Structure:
    """The structure of a choice and of one option of each stage."""
    rows, depths = tables.stage_widths[remaining.rows[choice]], tables.depths[remaining.depths[choice]]
    found = [own.form[option] for own, option in zip(remaining.options, options, strict=True)]
    forms = tables.forms
    stages = [
        (int(forms.widths[row]), int(forms.kernels[row, form]), int(forms.inners[row, form]), int(blocks))
        for row, form, blocks in zip(rows, found, depths, strict=True)
    ]
    return tables.structure(int(remaining.options[0].before[options[0]]), stages)
