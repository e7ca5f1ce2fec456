import importlib
import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from archimed.batch import Batch
from archimed.candidate import Measurements
from archimed.errors import SettingsError
from archimed.evaluators.protocol import Evaluate
from archimed.evaluators.training_free import TrainingFree
from archimed.evaluators.workers import spread_candidates
from archimed.genotype import Choice, Genotype, random_genotype
from archimed.indicators import find_indicator
from archimed.objectives import SignedSums
from archimed.search import SearchResult, search_population
from archimed.seeding import torch_generator
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.strategies import Nsga2
from archimed.task import ImagingTask
from archimed.workers import Crew

CHOICES = tuple(Choice(f"gene_{n}", tuple("abcd")) for n in range(5))


@pytest.fixture(scope="module")
def toy() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))  # spawned processes inherit it
        yield importlib.import_module("toy_evaluator")


@pytest.fixture(scope="module")
def pair(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluate]:
    """Two workers for all tests: each start of a process takes seconds."""
    with spread_candidates(
        partial(toy.ToyEvaluate, str(tmp_path_factory.mktemp("toy"))), Crew(2), threads=1
    ) as evaluate:
        yield evaluate


def lefts(measured: Iterator[Measurements]) -> list[float]:
    return [one.values["left"] for one in measured]


def evolve(evaluate: Evaluate) -> SearchResult:
    def without_process(genotypes: Sequence[Genotype]) -> Iterator[Measurements]:
        for measured in evaluate(genotypes):
            yield Measurements({name: measured.values[name] for name in ("left", "right")}, 0.0)

    strategy = Nsga2(CHOICES, SignedSums(("left", "right")), np.random.default_rng(0), population_size=8)
    strategy.offspring_size = 5
    return search_population(strategy, without_process, canonical=lambda one: one, generations=3)


def test_same_search_for_any_number_of_workers(toy: ModuleType, tmp_path: Path, pair: Evaluate) -> None:
    with spread_candidates(partial(toy.ToyEvaluate, str(tmp_path)), Crew(1), threads=1) as alone:
        assert evolve(pair) == evolve(alone)


@pytest.mark.slow
def test_training_free_scores_do_not_depend_on_the_process() -> None:
    task = ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(16, 16))
    space = MultiscaleCellSpace(num_blocks=2, width=8)
    images = torch.randn(8, 1, 16, 16, generator=torch_generator(0, "images"))
    indicators = {name: find_indicator(name) for name in ("naswot", "log_synflow", "zen_score")}
    make = partial(TrainingFree, space, task, Batch(images, torch.arange(8) % 2), indicators, 0)
    rng = np.random.default_rng(0)
    genotypes = [random_genotype(space.choices, rng) for _ in range(8)]
    found = []
    for workers in (1, 2):
        with spread_candidates(make, Crew(workers), threads=1) as evaluate:
            found.append([dict(measured.values) for measured in evaluate(genotypes)])
    assert found[0] == found[1]


def test_results_come_in_order_from_several_processes(pair: Evaluate) -> None:
    measured = list(pair([(n,) for n in range(8)]))
    assert lefts(iter(measured)) == [float(n) for n in range(8)]
    assert len({one.values["process"] for one in measured}) == 2
    assert {one.values["threads"] for one in measured} == {1.0}
    assert lefts(pair([])) == []


def test_a_worker_that_dies_is_replaced(toy: ModuleType, pair: Evaluate) -> None:
    genotypes = [(1,), (toy.DIES_ONCE,), (2,), (toy.DIES,), (3,), (4,)]
    first, once, second, twice, third, fourth = pair(genotypes)
    assert lefts(iter([first, once, second, third, fourth])) == [1.0, float(toy.DIES_ONCE), 2.0, 3.0, 4.0]
    assert twice.failure is not None
    assert "died 2 times" in twice.failure
    assert twice.values == {}


def test_answers_nobody_waits_for_are_not_taken_for_the_next(pair: Evaluate) -> None:
    unfinished = pair([(2,), (4,), (6,), (8,)])
    assert next(unfinished).values["left"] == 2.0
    unfinished.close()  # type: ignore[attr-defined]
    assert lefts(pair([(11,), (13,)])) == [11.0, 13.0]


def test_mistakes_and_wrong_settings_end_the_search(toy: ModuleType, tmp_path: Path, pair: Evaluate) -> None:
    with spread_candidates(partial(toy.ToyEvaluate, str(tmp_path)), Crew(1), threads=1) as alone:
        for evaluate in (alone, pair):
            with pytest.raises(TypeError, match="a mistake in the code"):
                list(evaluate([(toy.MISTAKEN,)]))
            with pytest.raises(SettingsError, match="Next step"):
                list(evaluate([(1,), (toy.UNKNOWN_SETTING,)]))
    with pytest.raises(TypeError) as raised:
        list(pair([(toy.MISTAKEN,)]))
    assert "misbehave" in "".join(raised.value.__notes__)  # where it happened, in the other process


def test_no_process_is_left_behind(toy: ModuleType, tmp_path: Path) -> None:
    before = set(multiprocessing.active_children())
    with spread_candidates(partial(toy.ToyEvaluate, str(tmp_path)), Crew(2), threads=1) as evaluate:
        next(evaluate([(1,)]))
        (worker,) = set(multiprocessing.active_children()) - before
    assert not worker.is_alive()


def test_threads_are_restored_in_this_process(toy: ModuleType, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    with spread_candidates(partial(toy.ToyEvaluate, str(tmp_path)), Crew(1), threads=before + 1) as evaluate:
        assert next(evaluate([(1,)])).values["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_what_cannot_be_sent_is_a_setting_to_mend(toy: ModuleType) -> None:
    with (
        pytest.raises(SettingsError, match="--workers 1"),
        spread_candidates(partial(toy.ToyEvaluate, threading.Lock()), Crew(2), threads=1),
    ):
        pass


def test_what_others_cannot_import_is_a_setting_to_mend(toy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "missing_from_this_module", toy.Unimportable(), raising=False)
    with (
        spread_candidates(partial(toy.ToyEvaluate, toy.missing_from_this_module), Crew(2), threads=1) as evaluate,
        pytest.raises(SettingsError, match=r"importable by other processes.*--workers 1"),
    ):
        list(evaluate([(1,)]))


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (2, 0), (-1, 1)])
def test_impossible_numbers_are_refused(toy: ModuleType, workers: int, threads: int) -> None:
    with pytest.raises(SettingsError, match="at least 1"), spread_candidates(toy.ToyEvaluate, Crew(workers), threads):
        pass
