"""Zen-NAS end to end on made-up images: budgets, baselines within them, repetition, refusals."""

from typing import Any

import pytest
import torch

from archimed.candidate import Candidate
from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.errors import SettingsError
from archimed.methods.budget_settings import BudgetSettings, drawing
from archimed.methods.mstf_nas import MstfNasSearch
from archimed.methods.protocol import Journal, SearchProblem
from archimed.methods.random_search import RandomSearch, RandomSearchSettings
from archimed.methods.zen_nas import ZenNas, ZenNasSearch
from archimed.seeding import numpy_generator
from archimed.spaces.budgets import cost, resnet_for
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.spaces.residual_stages import ResidualStagesSpace
from archimed.task import ImagingTask
from archimed.training.machine import Machine

TASK = ImagingTask("binary", ("no", "yes"), 1, (12, 12))
SPACE = ResidualStagesSpace(stages=2, most_width=32, most_layers=3)
MACS, PARAMETERS, DEPTH = 400_000, 20_000, 9


def problem(seed: int = 0) -> SearchProblem:
    images = torch.zeros(10, 1, 12, 12, dtype=torch.uint8)
    subset = Subset(tuple(f"c{k}" for k in range(10)), Arrays.of(images), torch.arange(10) % 2)
    normalise = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})
    return SearchProblem(TASK, subset, subset, normalise, seed, Machine(threads=1))


def method(**search: Any) -> ZenNas:
    small = {"candidates": 14, "population_size": 5, "first_candidates": 4, "offspring_size": 3, "batch_size": 4}
    budgets = {"budget_macs": MACS, "budget_params": PARAMETERS, "depth": DEPTH}
    return ZenNas(space=SPACE, search=ZenNasSearch(**{**small, **budgets, **search}))


def test_the_highest_score_within_the_budgets_is_chosen() -> None:
    log: list[Candidate] = []
    outcome = method().run_search(problem(), Journal(record=log.append))
    [selection] = outcome.selections
    assert outcome.unique_candidates == len(log) == 14
    assert selection.measurements["zen_score"] == max(one.measurements["zen_score"] for one in log)
    assert "within 400,000 MACs, 20,000 parameters, 9 layers" in selection.rule
    for one in log:
        found = SPACE.cost(one.genotype, TASK)
        assert (one.measurements["macs"], one.measurements["parameters"]) == (found.macs, found.parameters)
        assert found.macs <= MACS
        assert found.parameters <= PARAMETERS
        assert found.depth <= DEPTH


def test_a_search_repeats_and_goes_on_from_its_log() -> None:
    log: list[Candidate] = []
    whole = method().run_search(problem(), Journal(record=log.append))
    fresh: list[Candidate] = []
    again = method().run_search(problem(), Journal(known=log[:6], record=fresh.append))
    assert again == whole
    assert [(one.genotype, one.measurements) for one in fresh] == [(one.genotype, one.measurements) for one in log[6:]]
    other: list[Candidate] = []
    method().run_search(problem(seed=1), Journal(record=other.append))
    assert [one.genotype for one in other] != [one.genotype for one in log]


def test_random_search_beside_it_keeps_the_same_budgets() -> None:
    pool = method().pool(9)
    assert isinstance(pool, RandomSearch)
    log: list[Candidate] = []
    outcome = pool.run_search(problem(), Journal(record=log.append))
    assert outcome.unique_candidates == 9
    assert {one.network for one in outcome.selections} == set(ZenNas.searched_baselines)
    assert all(one.measurements["macs"] <= MACS and one.measurements["parameters"] <= PARAMETERS for one in log)
    assert all(SPACE.cost(one.genotype, TASK).depth <= DEPTH for one in log)


def test_budgets_not_given_are_those_of_a_resnet() -> None:
    like = cost(resnet_for("resnet50", TASK), TASK)
    small = cost(resnet_for("resnet18", TASK), TASK)
    assert vars(BudgetSettings(as_large_as="resnet50").budgets(TASK)) == vars(like)
    assert vars(BudgetSettings(as_large_as="resnet50", depth=20).budgets(TASK)) == {**vars(like), "depth": 20}
    assert vars(BudgetSettings().budgets(TASK)) == vars(small)
    assert BudgetSettings(depth=20).budgets(TASK).limits == {"depth": 20}
    assert BudgetSettings(as_large_as="none").budgets(TASK).limits == {}


def test_other_spaces_are_drawn_without_budgets_and_refuse_them() -> None:
    cells = MultiscaleCellSpace(width=4)
    rng = numpy_generator(0, "draws")
    for settings in (MstfNasSearch(), RandomSearchSettings()):
        assert len(drawing(cells, settings, TASK)(rng)) == len(cells.choices)
    with pytest.raises(SettingsError, match=r"space\.name=residual_stages"):
        drawing(cells, RandomSearchSettings(budget_macs=10), TASK)
    with pytest.raises(SettingsError, match=r"space\.name=residual_stages"):
        ZenNas(space=cells)


def test_what_cannot_be_searched_is_refused_at_once() -> None:
    with pytest.raises(SettingsError, match="one objective"):
        ZenNasSearch(objectives=("zen_score", "-macs"))
    with pytest.raises(SettingsError, match=r"search\.budget_params=10"):
        method(budget_params=10).run_search(problem(), Journal())
