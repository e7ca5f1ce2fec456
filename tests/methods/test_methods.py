"""What every method promises, and what each one's own rule is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from archimed.candidate import Candidate
from archimed.data.arrays import Arrays
from archimed.data.dataset import Subset
from archimed.data.normalisation import Normalisation
from archimed.errors import SearchError, SettingsError
from archimed.methods import METHODS, find_method
from archimed.methods.baselines import DEFAULT, FIXED, baseline_names
from archimed.methods.mstf_nas import MstfNas, MstfNasSearch
from archimed.methods.protocol import Journal, Method, SearchProblem
from archimed.methods.random_search import (
    FROM_RANDOM_POOL,
    PAPER_CANDIDATES,
    RandomSearch,
    RandomSearchSettings,
    random_search_beside,
)
from archimed.methods.training_free import ScoringSettings, best_by_indicators, score_candidates, scoring_batch
from archimed.search import SearchResult
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.task import ImagingTask
from archimed.training.machine import Machine

SPACE = MultiscaleCellSpace(width=4, num_blocks=1, num_nodes=2, num_pools=2)
TASK = ImagingTask("binary", ("no", "yes"), 1, (12, 12))
NORMALISE = Normalisation.from_json({"full_scale": 255.0, "mean": [0.5], "std": [0.5]})


def problem(seed: int = 0, count: int = 20, **named: Any) -> SearchProblem:
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 1, 12, 12), generator=generator, dtype=torch.uint8)
    subset = Subset(tuple(f"c{k}" for k in range(count)), Arrays.of(images), torch.arange(count) % 2)
    return SearchProblem(TASK, subset, subset, NORMALISE, seed, Machine(threads=1), **named)


def mstf(**search: Any) -> MstfNas:
    small = {"population_size": 4, "offspring_size": 4, "generations": 2, "batch_size": 8}
    return MstfNas(space=SPACE, search=MstfNasSearch(**{**small, **search}))


def random_method(**search: Any) -> RandomSearch:
    return RandomSearch(space=SPACE, search=RandomSearchSettings(**{"candidates": 6, "batch_size": 8, **search}))


@pytest.mark.parametrize("name", METHODS)
def test_every_method_listed_is_one(name: str) -> None:
    kind = find_method(name)
    method = kind()
    assert isinstance(method, Method)
    assert kind.name == name
    assert {"quick", "paper"} <= set(kind.presets)
    planned = method.search.planned_candidates
    assert planned > 0 or (method.pool(0) is None and "macs" not in kind.searched_baselines)  # else it learns
    assert "random-search" in kind.searched_baselines
    assert METHODS[name].summary


@pytest.mark.parametrize(("name", "near"), [("mstf", "mstf-nas"), ("random", "random-search")])
def test_the_nearest_method_is_suggested(name: str, near: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean {near}"):
        find_method(name)


@pytest.mark.parametrize("method", [mstf(), random_method()], ids=["mstf-nas", "random-search"])
def test_a_search_repeats_and_goes_on_from_any_part_of_its_log(method: Method) -> None:
    log: list[Candidate] = []
    whole = method.run_search(problem(), Journal(record=log.append))
    assert whole.unique_candidates == len(log) <= method.search.planned_candidates
    assert method.name in {selection.network for selection in whole.selections}
    for known in (0, 1, len(log) // 2, len(log)):
        fresh: list[Candidate] = []
        again = method.run_search(problem(), Journal(known=log[:known], record=fresh.append))
        assert again == whole
        assert [one.genotype for one in fresh] == [one.genotype for one in log[known:]]
        assert [one.measurements for one in fresh] == [one.measurements for one in log[known:]]


def test_another_seed_searches_elsewhere() -> None:
    logs: list[list[Candidate]] = [[], []]
    for seed, log in enumerate(logs):
        mstf().run_search(problem(seed), Journal(record=log.append))
    assert [one.genotype for one in logs[0]] != [one.genotype for one in logs[1]]


def test_mstf_nas_chooses_among_its_last_survivors_by_the_sum_of_rescaled_indicators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results: list[SearchResult] = []

    def watched(*arguments: Any, **named: Any) -> SearchResult:
        results.append(score_candidates(*arguments, **named))
        return results[-1]

    monkeypatch.setattr("archimed.methods.mstf_nas.score_candidates", watched)
    method = mstf(generations=3)
    [selection] = method.run_search(problem(), Journal()).selections
    [result] = results
    assert len(result.populations) == 4  # the random one and three generations (NSGA-Net)
    assert len(result.survivors) == 4
    columns = np.array([[one.measurements[name] for name in ("naswot", "log_synflow")] for one in result.survivors])
    totals = ((columns - columns.min(0)) / np.ptp(columns, axis=0)).sum(1)
    best = result.survivors[int(totals.argmax())]
    assert (selection.genotype, selection.measurements) == (best.genotype, best.measurements)
    assert selection.space is method.space


def candidate(genotype: int, naswot: float, log_synflow: float, **more: Any) -> Candidate:
    return Candidate((genotype,), 0, {"naswot": naswot, "log_synflow": log_synflow}, **more)


def test_the_best_by_indicators_by_hand() -> None:
    population = [
        candidate(0, 10.0, 0.0),  # 0 + 0
        candidate(1, 20.0, 2.0),  # 1 + 0.2
        candidate(2, 15.0, 8.0),  # 0.5 + 0.8
        candidate(3, 10.0, 10.0),  # 0 + 1
        candidate(4, 99.0, 99.0, dropped="failed"),
    ]
    assert best_by_indicators(population, ("naswot", "log_synflow")).genotype == (2,)
    assert best_by_indicators(population[:2], ("naswot", "log_synflow")).genotype == (1,)
    with pytest.raises(SearchError, match="none of them measured"):
        best_by_indicators(population[4:], ("naswot",))


def test_the_pool_of_random_search_gives_four_networks() -> None:
    pool = [
        Candidate((k,), 0, {"naswot": k % 7, "log_synflow": 0.0, "parameters": -k, "macs": k % 150}) for k in range(200)
    ]
    chosen = {one.network: one for one in random_method().selections(pool)}
    assert {name: one.genotype for name, one in chosen.items()} == {
        "random-search": (6,),
        "random-search-100": (6,),
        "parameters": (0,),
        "macs": (149,),
    }
    late = [Candidate((k,), 0, {"naswot": k, "log_synflow": k, "parameters": 1, "macs": 1}) for k in range(200)]
    by_name = {one.network: one.genotype for one in random_method().selections(late)}
    assert (by_name["random-search"], by_name["random-search-100"]) == ((199,), (PAPER_CANDIDATES - 1,))


def test_random_search_draws_unique_architectures_as_many_as_asked() -> None:
    log: list[Candidate] = []
    outcome = random_method(candidates=9).run_search(problem(), Journal(record=log.append))
    forms = {SPACE.canonical(one.genotype) for one in log}
    assert outcome.unique_candidates == len(log) == len(forms) == 9


def test_random_search_beside_a_method_has_its_space_indicators_and_budget() -> None:
    method = mstf(indicators=("fisher", "synflow"), batch_size=16, image_size=24)
    beside = random_search_beside(method, 77)
    assert beside.space is method.space
    assert beside.training is method.training
    search = beside.search
    assert (search.indicators, search.batch_size, search.image_size) == (("fisher", "synflow"), 16, 24)
    assert search.candidates == search.planned_candidates == 77


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("none", ()),
        ("default", DEFAULT),
        ("all", (*FROM_RANDOM_POOL, *FIXED)),
        ("resnet18,macs", ("macs", "resnet18")),
        (" macs , macs", ("macs",)),
    ],
)
def test_baselines_by_name(asked: str, given: tuple[str, ...]) -> None:
    assert baseline_names(asked) == given


@pytest.mark.parametrize("asked", ["resnet", "", "default,macs", "macs,"])
def test_an_unknown_baseline_is_refused(asked: str) -> None:
    with pytest.raises(SettingsError, match="--baselines"):
        baseline_names(asked)


def test_the_scoring_batch_is_of_training_images_and_drawn_once_per_seed() -> None:
    one, again, other = (scoring_batch(problem(seed), 8) for seed in (0, 0, 1))
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    everything = NORMALISE(problem().train.images.all())
    for image, label in zip(one.images, one.target, strict=True):
        [row] = [k for k in range(20) if torch.equal(everything[k], image)]
        assert int(label) == row % 2
    assert len(one) == 8
    assert len(scoring_batch(problem(), 999)) == 20


def test_images_with_masks_are_scored_by_patches_of_one_size() -> None:
    generator = torch.Generator().manual_seed(0)
    masks = [torch.randint(2, size, generator=generator, dtype=torch.uint8) for size in ((30, 20), (40, 31), (33, 17))]
    images = Arrays.of([mask[None] for mask in masks])
    subset = Subset(("a", "b", "c"), images, torch.ones(3, 2), Arrays.of(masks))
    batch = scoring_batch(replace(problem(), train=subset, normalise=torch.Tensor.float), 2)
    assert batch.images.shape == (2, 1, 32, 16)
    assert torch.equal(batch.target, batch.images[:, 0].long())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"indicators": ("naswot", "synflo")}, "synflow"),
        ({"indicators": ("naswot", "snip", "grasp")}, "two indicators"),
        ({"objectives": ("-mac", "naswot")}, "mac"),
        ({"objectives": ("-macs", "fisher")}, "fisher"),
    ],
)
def test_what_cannot_be_scored_is_refused_at_once(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        ScoringSettings(**settings)


def test_three_indicators_with_objectives_are_fine() -> None:
    settings = ScoringSettings(indicators=("naswot", "snip", "grasp"), objectives=("-macs", "snip+grasp"))
    assert set(settings.indicator_functions()) == {"naswot", "snip", "grasp"}


def objectives_of(settings: ScoringSettings, population: Sequence[Candidate]) -> Any:
    return settings.objective_functions()(population)


def test_the_objectives_left_out_are_equation_5() -> None:
    """MSTF-NAS, Eq. 5: the first indicator plus MACs, the second less MACs, each rescaled, both maximised."""
    values = [(10.0, 1.0, 100.0), (20.0, 3.0, 300.0), (30.0, 2.0, 200.0)]
    population = [
        Candidate((k,), 0, {"naswot": a, "log_synflow": b, "macs": c, "parameters": 1.0})
        for k, (a, b, c) in enumerate(values)
    ]
    first, second, macs = (np.array([row[column] for row in values]) for column in range(3))

    def rescaled(column: np.ndarray) -> np.ndarray:
        return (column - column.min()) / np.ptp(column)

    expected = np.stack([-(rescaled(first) + rescaled(macs)), -(rescaled(second) - rescaled(macs))], axis=1)
    np.testing.assert_allclose(objectives_of(ScoringSettings(), population), expected)


def test_a_search_that_is_stopped_selects_from_what_it_has() -> None:
    log: list[Candidate] = []
    journal = Journal(record=log.append, stop=lambda: len(log) >= 3)
    outcome = mstf().run_search(problem(), journal)
    assert outcome.unique_candidates == len(log) == 3
    assert outcome.selections[0].genotype in {one.genotype for one in log}


def test_a_search_without_time_says_so() -> None:
    with pytest.raises(SearchError, match="--budget"):
        mstf().run_search(problem(), Journal(stop=lambda: True))
