"""DeepMAD's program against brute force, against sampled structures, and its tables against built structures."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from archimed.errors import SettingsError
from archimed.networks.residual_stages import StageSpec, Structure
from archimed.spaces.budgets import Budgets, cost, resnet_for
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.strategies.mathematical_program import solve
from archimed.strategies.program import Program
from archimed.strategies.program_bounds import Bounder
from archimed.strategies.program_tables import NEVER, Tables, tables_of
from archimed.task import ImagingTask

GREY = ImagingTask("multi-label", ("a", "b", "c"), 1, (32, 40))
VOLUMES = ImagingTask("binary", ("no", "yes"), 2, (16, 24, 16))
TINY = ResidualStagesSpace(stages=2, parts=1, most_layers=3, most_width=32, kernels=(3, 5))


def tiny(**changes: object) -> Program:
    program = Program(
        TINY, GREY, Budgets(2_000_000, 60_000, 14), effectiveness=0.2, widths_per_doubling=2, most_stem=16
    )
    return replace(program, **changes)  # type: ignore[arg-type]


def every_structure(program: Program) -> list[Structure]:
    """Each structure of a program, its constraints aside but for the grid of widths."""
    space, widths = program.space, program.widths
    found = []
    for block in space.blocks:
        forms = [
            StageSpec(block, kernel, width, inner, 2, layers)
            for kernel, width, inner, layers in product(space.kernels, widths, widths, range(1, space.most_layers + 1))
            if inner <= width and inner >= program.least_inner_share * width
        ]
        for stem in (width for width in widths if width <= program.most_stem):
            firsts = [one for one in forms if stem <= one.width <= program.most_growth * stem]
            for first in firsts:
                found += [
                    Structure(stem, 2, (first, second))
                    for second in forms
                    if first.width <= second.width <= program.most_growth * first.width
                ]
    return found


@pytest.mark.parametrize(
    "program",
    [
        tiny(),
        tiny(budgets=Budgets(macs=400_000)),
        tiny(budgets=Budgets(parameters=9_000), effectiveness=0.35),
        tiny(budgets=Budgets(), effectiveness=0.12, unevenness_weight=100.0),
        tiny(budgets=Budgets(depth=9), last_weight=1.0),
        tiny(task=VOLUMES, budgets=Budgets(macs=9_000_000, parameters=90_000), effectiveness=0.2),
    ],
)
def test_the_solution_is_that_of_brute_force(program: Program) -> None:
    pytest.importorskip("ortools")
    allowed = [structure for structure in every_structure(program) if program.admits(structure)]
    solution = solve(program)
    assert solution.proven
    assert allowed
    assert solution.structure is not None
    assert program.admits(solution.structure)
    assert solution.score == pytest.approx(max(map(program.score, allowed)), abs=1e-5)
    assert solution.bound == pytest.approx(solution.score, abs=1e-5)


def test_a_program_without_a_structure_is_told_so() -> None:
    pytest.importorskip("ortools")
    for budgets, rho in ((Budgets(parameters=2_000), 0.2), (Budgets(depth=5), 0.2), (Budgets(), 0.01)):
        program = tiny(budgets=budgets, effectiveness=rho)
        assert not any(map(program.admits, every_structure(program)))
        solution = solve(program)
        assert solution.structure is None
        assert solution.proven


def test_costs_and_bounds_are_those_of_structures() -> None:
    rng = np.random.default_rng(0)
    for program, block in product([tiny(budgets=Budgets(10**9, 10**7)), tiny(task=VOLUMES)], ("basic", "bottleneck")):
        tables = tables_of(program, block)
        bounder = Bounder(tables)
        for _ in range(40):
            structure, row, depths = random_choice(tables, rng)
            prices = bounder.prices(rng.uniform(0, [100, 100, 20]))
            priced = [
                price * (limit - value) if np.isfinite(limit) else 0.0
                for price, limit, value in zip(
                    (prices.mac, prices.parameter), bounder.limits, totals(tables, structure), strict=True
                )
            ]
            spare = np.log(program.effectiveness / program.rho(structure)) * tables.layers[depths]
            expected = program.score(structure) + sum(priced) + prices.log_width * spare
            rows = tables.stage_widths[row : row + 1]
            bound = bounder.exact(rows, np.array([depths]), prices)[0, 0]
            assert bound >= expected - 1e-6
            assert bounder.first(rows, prices)[0] >= bound - 1e-6
            own = cost(program.fitted(structure), program.task)
            assert totals(tables, structure) == (own.macs, own.parameters)


def random_choice(tables: Tables, rng: np.random.Generator) -> tuple[Structure, int, int]:
    """A structure of the tables, the row of its widths and the row of its depths."""
    row, depths = int(rng.integers(len(tables.stage_widths))), int(rng.integers(len(tables.depths)))
    forms, widths = tables.forms, tables.stage_widths[row]
    chosen = [int(rng.choice(np.flatnonzero(forms.logs[width] > NEVER))) for width in widths]
    narrow = [int(stem) for stem in tables.stems if stem <= forms.widths[widths[0]] <= 4 * stem]
    stages = [
        (int(forms.widths[width]), int(forms.kernels[width, form]), int(forms.inners[width, form]), int(blocks))
        for width, form, blocks in zip(widths, chosen, tables.depths[depths], strict=True)
    ]
    return tables.structure(int(rng.choice(narrow)), stages), row, depths


def totals(tables: Tables, structure: Structure) -> tuple[int, int]:
    """MACs and parameters by the tables."""
    forms, before = tables.forms, structure.stem_width
    weights = before * tables.stem_weights
    found = np.array([weights * tables.positions[0], weights + 2 * before])
    for number, stage in enumerate(structure.stages):
        width = int(np.flatnonzero(forms.widths == stage.width)[0])
        same = (forms.kernels[width] == stage.kernel) & (forms.inners[width] == stage.bottleneck_width)
        form = int(np.flatnonzero(same & (forms.logs[width] > NEVER))[0])
        arguments = (np.array([one]) for one in (before, width, form, stage.layers))
        found = found + tables.costs(number, *arguments)[0]
        before = stage.width
    outputs = tables.program.task.num_outputs
    return int(found[0]) + before * outputs, int(found[1]) + (before + 1) * outputs


def test_what_cannot_be_written_out_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"got space\.parts=2\. Set space\.parts=1"):
        tiny(space=ResidualStagesSpace())
    with pytest.raises(SettingsError, match=r"Lower space\.most_layers"):
        tiny(space=ResidualStagesSpace(stages=6, parts=1, most_layers=20))


@pytest.mark.slow
def test_none_of_a_hundred_thousand_structures_within_the_budget_of_resnet50_scores_more() -> None:
    pytest.importorskip("ortools")
    task = ImagingTask("multi-label", ("a", "b", "c", "d", "e"), 3, (224, 224))
    large = cost(resnet_for("resnet50", task), task)
    space = ResidualStagesSpace(parts=1, most_layers=20, blocks=("bottleneck",), kernels=(3, 5))
    program = Program(space, task, Budgets(large.macs, large.parameters))
    solution = solve(program)
    assert solution.proven
    rng, tried, best = np.random.default_rng(0), 0, -np.inf
    while tried < 100_000:
        drawn = draws(program, rng, 200_000)
        allowed, scores = vectorised(program, *drawn)
        tried += int(allowed.sum())
        best = max(best, float(scores[allowed].max()))
        for number in np.flatnonzero(allowed)[:5]:
            structure = Structure(int(drawn[0][number]), 2, tuple(stages_of(drawn, number)))
            assert program.admits(structure)
            assert program.score(structure) == pytest.approx(scores[number])
    assert best <= solution.score


def draws(program: Program, rng: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    """Stems, and widths, inner widths, kernels and blocks of bottleneck stages: any multiples of 8, not on the grid."""
    stages = program.space.stages
    stem = 8 * rng.integers(1, program.most_stem // 8 + 1, size=count)
    growth = np.exp(rng.uniform(0, np.log(program.most_growth), size=(count, stages)))
    width = np.minimum(8 * (stem[:, None] * np.cumprod(growth, axis=1) // 8), program.space.most_width).astype(int)
    inner = 8 * np.ceil(width * np.exp(rng.uniform(np.log(program.least_inner_share), 0, width.shape)) / 8).astype(int)
    kernel = rng.choice(program.space.kernels, size=width.shape)
    mean = rng.integers(1, program.space.most_layers + 1, size=(count, 1))
    blocks = np.clip(mean + rng.integers(-1, 2, size=width.shape), 1, program.space.most_layers)
    return stem, width, inner, kernel, blocks


def stages_of(drawn: tuple[np.ndarray, ...], number: int) -> list[StageSpec]:
    columns = zip(*(column[number].tolist() for column in drawn[1:]), strict=True)
    return [StageSpec("bottleneck", kernel, width, inner, 2, blocks) for width, inner, kernel, blocks in columns]


def vectorised(program: Program, stem: np.ndarray, *stages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which bottleneck structures keep all constraints, and the score of each, for square images of even sides."""
    task, side = program.task, program.task.image_size[0] // 2
    weights = 9 * task.channels * stem
    macs, parameters = weights * side**2, weights + 2 * stem
    logs, layers = np.full(len(stem), np.log(9 * task.channels)), np.ones(len(stem))
    score = np.log(stem * side**2) * logs
    before, allowed = stem, np.ones(len(stem), dtype=bool)
    for number, (width, inner, kernel, blocks) in enumerate(zip(*(one.T for one in stages), strict=True), start=1):
        pixels = (side // 2) ** 2
        core = inner * inner * kernel**2 + inner * width
        rest = core + (blocks - 1) * (core + inner * width) + before * width
        macs = macs + before * inner * side**2 + rest * pixels
        parameters = parameters + before * inner + rest + blocks * (2 * width + 4 * inner) + 2 * width
        logs = logs + np.log(before) + (blocks - 1) * np.log(width) + 2 * blocks * np.log(inner * kernel)
        layers = layers + 3 * blocks
        factor = program.last_weight if number == program.space.stages else 1.0
        score = score + factor * np.log(width * pixels) * logs
        allowed &= (before <= width) & (width <= program.most_growth * before)
        allowed &= (program.least_inner_share * width <= inner) & (inner <= width)
        before, side = width, side // 2
    macs, parameters = macs + before * task.num_outputs, parameters + (before + 1) * task.num_outputs
    allowed &= (macs <= program.budgets.macs) & (parameters <= program.budgets.parameters)
    allowed &= layers / np.exp(logs / layers) <= program.effectiveness
    return allowed, score - program.unevenness_weight * np.exp(stages[3].var(1))
