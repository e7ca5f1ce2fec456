"""DeepMAD: residual stages of the highest entropy, found by a mathematical program (Shen et al., CVPR 2023).

Where paper and released code leave it open: every stage has blocks of one form and all stages blocks of one kind; Q is
over all stages, as in the paper; a width is at most four times the one before, a bottleneck at least a tenth of its
stage, a stem at most 32 wide, as in the released code, which searches by evolution and never changes its last block.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings_dataclass

from archimed.candidate import Candidate, Measurements
from archimed.errors import SettingsError
from archimed.files import read_json, write_json
from archimed.genotype import Genotype, describe, parse
from archimed.methods.budget_settings import BudgetSettings
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem, Selection
from archimed.methods.random_search import FROM_RANDOM_POOL, PAPER_CANDIDATES
from archimed.methods.training_free import canonical_form
from archimed.methods.zen_nas import within
from archimed.search import search_population, select_best
from archimed.seeding import numpy_generator
from archimed.spaces import SearchSpace
from archimed.spaces.budgets import cost
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.strategies import RandomSearch
from archimed.strategies.first_then_random import FirstThenRandom
from archimed.strategies.mathematical_program import Solution, has_solver, least_rho, solve
from archimed.strategies.program import Program
from archimed.strategies.program_evolution import drawn, evolved
from archimed.task import ImagingTask
from archimed.training.recipe import Recipe

SCORE = "deepmad_score"
TYPICAL_SOLVE = 10.0  # seconds: four stages of up to 20 blocks within the budgets of ResNet-50, on one core
DRAWN_A_SECOND = 300


@settings_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DeepMadSearch(BudgetSettings):
    """What is maximised, within what, and how."""

    effectiveness: float = Field(
        default=0.3, gt=0, description="rho, layers over the geometric mean of their widths, at most (DeepMAD, ResNets)"
    )
    last_weight: float = Field(
        default=8.0, ge=0, description="weight of the last scale's entropy, of each other scale 1 (DeepMAD)"
    )
    unevenness_weight: float = Field(
        default=10.0, ge=0, description="weight of Q, exp of the variance of the stages' numbers of blocks (DeepMAD)"
    )
    widths_per_doubling: int = Field(
        default=4, ge=1, le=8, description="widths told apart between one and its double, all multiples of 8 (ours)"
    )
    least_inner_share: float = Field(
        default=0.1, gt=0, le=1, description="width inside a block over that of the stage, at least (released code)"
    )
    most_growth: float = Field(
        default=4.0, ge=1, description="width of a stage over that before it, at most (released code)"
    )
    most_stem: int = Field(default=32, ge=8, description="channels of the stem, at most (released code)")
    solver_seconds: float = Field(
        default=600.0, gt=0, description="wall clock for the proof, seconds; then what evolution finds is taken (ours)"
    )
    evolved: int = Field(
        default=20_000,
        ge=1,
        description="structures that evolution scores where nothing is proven (released code: 500,000)",
    )
    candidates: int = Field(
        default=300, ge=1, description="random structures of the program drawn for the baselines (ours)"
    )
    image_size: int | None = Field(
        default=None, ge=8, description="pixels per side that networks are scored and budgeted for; empty: as the data"
    )

    @property
    def planned_candidates(self) -> int:
        """Candidates that the search will score at most."""
        return 1 + self.candidates


@dataclass(frozen=True)
class DeepMad:
    """The whole method; every choice is a field."""

    space: SearchSpace = field(default_factory=lambda: ResidualStagesSpace(parts=1, most_layers=20, kernels=(3, 5)))
    search: DeepMadSearch = field(default_factory=DeepMadSearch)
    training: Recipe = field(default_factory=Recipe)

    name: ClassVar[str] = "deepmad"
    searched_baselines: ClassVar[tuple[str, ...]] = FROM_RANDOM_POOL
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "space.most_layers": 6,
            "space.most_width": 512,
            "search.widths_per_doubling": 2,
            "search.candidates": 50,
            "training.epochs": 6,
            "training.batch_size": 32,
        },
        "paper": {
            "search.as_large_as": "resnet50",
            "space.blocks": ["bottleneck"],
            "training.early_stop_patience": None,
        },
    }

    def __post_init__(self) -> None:
        if not isinstance(self.space, ResidualStagesSpace):
            raise SettingsError(
                f"DeepMAD's formulas are of residual stages; got {type(self.space).__name__}. Use --set "
                "space.name=residual_stages, or another method."
            )

    def pool(self, unique_candidates: int) -> None:
        """None: this search gives the baselines itself."""

    def search_seconds(self, problem: SearchProblem) -> float:
        """About how long it takes; nothing is trained or built."""
        self.program(problem.task)
        return TYPICAL_SOLVE + self.search.candidates / DRAWN_A_SECOND

    def program(self, task: ImagingTask) -> Program:
        """The mathematical program for the images of a task.

        Raises:
            SettingsError: no structure keeps the budgets, or the space cannot be written out.
        """
        search, space = self.search, self._stages
        budgets = search.budgets(task)
        budgets.check(space.cost(genotype, task) for genotype in space.least())
        return Program(
            space,
            task,
            budgets,
            search.effectiveness,
            search.last_weight,
            search.unevenness_weight,
            search.widths_per_doubling,
            search.least_inner_share,
            search.most_growth,
            search.most_stem,
        )

    def run_search(self, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        """Solve the program, and draw random structures of it for the baselines."""
        program = self.program(problem.task)
        solution = self._kept(journal) or self._solved(program, problem, journal)
        assert solution.structure is not None  # noqa: S101 (`_solved` raises otherwise)
        first = self._stages.genotype(solution.structure)
        strategy = FirstThenRandom(
            first,
            RandomSearch(
                self._stages.choices,
                self.search.candidates,
                numpy_generator(problem.seed, "deepmad", "random search"),
                canonical_form(self._stages),
                draw=lambda rng: self._stages.genotype(drawn(program, rng) or solution.structure),  # type: ignore[arg-type]
            ),
        )
        result = search_population(
            strategy,
            partial(measured, program),
            canonical=canonical_form(self._stages),
            generations=None,
            known=journal.known,
            record=journal.record,
            progress=lambda done, _planned, _generation: journal.progress(
                done, self.search.planned_candidates, "structures"
            ),
            stop=journal.stop,
        )
        return SearchOutcome(self._selections(result.candidates, solution, program), result.unique_candidates)

    def _solved(self, program: Program, problem: SearchProblem, journal: Journal) -> Solution:
        """The proven optimum; what evolution finds, if that is better than what was found in time, and said so."""
        rng = numpy_generator(problem.seed, "deepmad", "evolution")
        seconds = min(self.search.solver_seconds, journal.seconds_left())
        journal.say("Solving the mathematical program.")
        if has_solver():
            solution = solve(program, seconds)
            why = f"it took longer than search.solver_seconds={self.search.solver_seconds:g} or too many were left"
        else:
            solution = Solution(None, -np.inf, np.inf, False, 0.0)
            why = "OR-Tools is not installed (pip install 'archimed[solver]')"
        if not solution.proven:
            journal.say(f"DeepMAD's optimum is not proven: {why}. The best of an evolutionary search is taken.")
            structure = evolved(program, rng, self.search.evolved, max(seconds, 1.0))
            score = -np.inf if structure is None else program.score(structure)
            if score > solution.score:
                solution = Solution(structure, score, solution.bound, False, solution.seconds)
        if solution.structure is None:
            raise nothing_admitted(program)
        if solution.proven:
            journal.say(f"DeepMAD's optimum is proven, in {solution.seconds:.0f} s.")
        self._keep(solution, journal)
        return solution

    def _keep(self, solution: Solution, journal: Journal) -> None:
        """Write the solution, so that a search that is resumed ends like an unbroken one."""
        if journal.folder is not None and solution.structure is not None:
            journal.folder.mkdir(parents=True, exist_ok=True)
            genotype = describe(self._stages.genotype(solution.structure), self._stages.choices)
            bound = solution.bound if np.isfinite(solution.bound) else None
            told = {"score": solution.score, "bound": bound, "proven": solution.proven, "seconds": solution.seconds}
            write_json(journal.folder / "solution.json", {"genotype": genotype, **told})

    def _kept(self, journal: Journal) -> Solution | None:
        """The solution that was written, if one was."""
        if journal.folder is None or not (path := journal.folder / "solution.json").exists():
            return None
        told = read_json(path)
        structure = self._stages.structure(parse(told["genotype"], self._stages.choices))
        bound = np.inf if told["bound"] is None else told["bound"]
        return Solution(structure, told["score"], bound, told["proven"], told["seconds"])

    def _selections(
        self, candidates: Sequence[Candidate], solution: Solution, program: Program
    ) -> tuple[Selection, ...]:
        """The solution, and what the random structures give."""
        best, *pool = candidates
        told = f"highest DeepMAD score, {solution.score:,.1f}, with rho at most {program.effectiveness:g}"
        proof = (
            ": proven by CP-SAT"
            if solution.proven
            else ": the best that was found, not proven"
            + (f"; none is above {solution.bound:,.1f}" if np.isfinite(solution.bound) else "")
        )
        found = [(self.name, best, told + within(program.budgets) + proof)]
        if pool:
            few = f"{len(pool)} random structures of the program"
            found += [
                ("random-search", highest(pool, SCORE), f"highest DeepMAD score among {few}"),
                (
                    "random-search-100",
                    highest(pool[:PAPER_CANDIDATES], SCORE),
                    f"the same among the first {len(pool[:PAPER_CANDIDATES])} of them",
                ),
                ("parameters", highest(pool, "parameters"), f"most parameters among {few}"),
                ("macs", highest(pool, "macs"), f"most MACs among {few}"),
            ]
        return tuple(Selection(name, self.space, one.genotype, rule, one.measurements) for name, one, rule in found)

    @cached_property
    def _stages(self) -> ResidualStagesSpace:
        assert isinstance(self.space, ResidualStagesSpace)  # noqa: S101 (see __post_init__)
        return self.space


def measured(program: Program, genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
    """Score, rho and costs of each genotype, in closed form."""
    from time import perf_counter

    for genotype in genotypes:
        start = perf_counter()
        structure = program.space.structure(genotype)
        own = cost(program.fitted(structure), program.task)
        values = {
            SCORE: program.score(structure),
            "rho": program.rho(structure),
            "macs": float(own.macs),
            "parameters": float(own.parameters),
            "layers": float(own.depth),
        }
        yield Measurements(values, perf_counter() - start)


def highest(pool: Sequence[Candidate], name: str) -> Candidate:
    """The candidate with the highest measurement of a name."""
    return select_best(pool, lambda candidates: np.array([one.measurements[name] for one in candidates]))


def nothing_admitted(program: Program) -> SettingsError:
    """Why a program has no structure, by how much."""
    told = within(program.budgets) or " of the space"
    least = least_rho(program) if has_solver() else float("nan")
    if least > program.effectiveness and np.isfinite(least):
        return SettingsError(
            f"DeepMAD needs a structure whose rho is at most search.effectiveness={program.effectiveness:g}; the least"
            f"{told} is {least:.3f}, {least - program.effectiveness:.3f} more. Raise search.effectiveness or a budget."
        )
    return SettingsError(
        f"DeepMAD needs a structure{told} with rho at most {program.effectiveness:g}, widths that never shrink and "
        f"bottlenecks of at least {program.least_inner_share:g} of them; none was found. Raise a budget or "
        "search.effectiveness."
    )
