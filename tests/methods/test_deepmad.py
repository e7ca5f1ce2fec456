"""DeepMAD end to end on made-up images: the optimum and random structures beside it, repetition, fallback, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from archimed.candidate import Candidate
from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.errors import SettingsError
from archimed.methods import deepmad
from archimed.methods.deepmad import SCORE, DeepMad, DeepMadSearch
from archimed.methods.protocol import Journal, SearchProblem
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.strategies.mathematical_program import solve
from archimed.strategies.program_evolution import evolved
from archimed.task import ImagingTask
from archimed.training.machine import Machine

TASK = ImagingTask("multi-label", ("a", "b", "c"), 1, (24, 24))
SPACE = ResidualStagesSpace(stages=2, parts=1, most_width=48, most_layers=3, kernels=(3,))
BUDGETS = {"budget_macs": 900_000, "budget_params": 30_000, "depth": 12, "effectiveness": 0.25}


def problem(seed: int = 0) -> SearchProblem:
    images = torch.zeros(6, 1, 24, 24, dtype=torch.uint8)
    subset = Subset(tuple(f"c{k}" for k in range(6)), Arrays.of(images), torch.zeros(6, 3))
    normalise = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})
    return SearchProblem(TASK, subset, subset, normalise, seed, Machine(threads=1))


def method(**search: Any) -> DeepMad:
    small = {"candidates": 25, "widths_per_doubling": 1, "evolved": 400}
    return DeepMad(space=SPACE, search=DeepMadSearch(**{**small, **BUDGETS, **search}))


def solved(
    folder: Path | None = None, known: tuple[Candidate, ...] = (), **search: Any
) -> tuple[Any, list[Candidate], list[str]]:
    log, said = [*known], []
    journal = Journal(known=known, record=log.append, say=said.append, folder=folder)
    return method(**search).run_search(problem(), journal), log, said


def test_the_optimum_is_chosen_and_random_structures_stand_beside_it() -> None:
    pytest.importorskip("ortools")
    outcome, log, said = solved()
    program = method().program(TASK)
    assert said[0] == "Solving the mathematical program."
    assert said[1].startswith("DeepMAD's optimum is proven, in ")
    assert {one.network for one in outcome.selections} == {"deepmad", *DeepMad.searched_baselines}
    chosen = {one.network: one for one in outcome.selections}
    assert "proven by CP-SAT" in chosen["deepmad"].rule
    assert "within 900,000 MACs, 30,000 parameters, 12 layers" in chosen["deepmad"].rule
    assert chosen["deepmad"].measurements[SCORE] == max(one.measurements[SCORE] for one in log)
    assert chosen["random-search"].measurements[SCORE] == max(one.measurements[SCORE] for one in log[1:])
    assert chosen["macs"].measurements["macs"] == max(one.measurements["macs"] for one in log[1:])
    assert outcome.unique_candidates == len(log) <= method().search.planned_candidates
    for one in log:
        assert program.admits(SPACE.structure(one.genotype))
        network = SPACE.build(one.genotype, TASK)
        assert one.measurements["parameters"] == sum(value.numel() for value in network.parameters())


def test_a_search_ends_as_it_would_have_without_a_break(tmp_path: Path) -> None:
    pytest.importorskip("ortools")
    whole, log, _ = solved(tmp_path)
    for known in (0, 1, 10, len(log)):
        again, fresh, _ = solved(tmp_path, tuple(log[:known]))
        assert again == whole
        assert [(one.genotype, one.measurements) for one in fresh] == [(one.genotype, one.measurements) for one in log]
    assert solved()[0].selections == whole.selections


def test_without_the_solver_evolution_answers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deepmad, "has_solver", lambda: False)
    outcome, log, said = solved()
    assert said[1:] == [
        "DeepMAD's optimum is not proven: OR-Tools is not installed (pip install 'archimed[solver]'). The best of an "
        "evolutionary search is taken."
    ]
    assert "not proven" in outcome.selections[0].rule
    assert outcome.selections[0].measurements[SCORE] >= max(one.measurements[SCORE] for one in log[1:])


def test_evolution_is_no_better_than_the_optimum_and_comes_near() -> None:
    pytest.importorskip("ortools")
    program = method().program(TASK)
    found = evolved(program, np.random.default_rng(0), 2000)
    assert found is not None
    assert program.admits(found)
    assert 0.9 * solve(program).score <= program.score(found)


def test_what_no_structure_keeps_is_named_with_by_how_much() -> None:
    pytest.importorskip("ortools")
    with pytest.raises(SettingsError, match=r"the least is [\d,]+ parameters, .* search\.budget_params=900"):
        solved(budget_params=900)
    with pytest.raises(SettingsError, match=r"search\.effectiveness=0\.01; the least within .* is 0\.\d+, 0\.\d+ more"):
        solved(effectiveness=0.01)
    with pytest.raises(SettingsError, match=r"space\.name=residual_stages"):
        DeepMad(space=MultiscaleCellSpace(width=4))
