"""Searches of folds and seeds side by side: the files of one after the other, whoever worked, cut off or not."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import archimed
from archimed.errors import RunError
from archimed.experiment import search_together as module
from archimed.experiment.progress import Silent
from tests.experiment.interruption import Interrupted, dying_workers
from tests.methods.test_mm_nas import DARTS, searched, without_candidates

pytestmark = pytest.mark.usefixtures("no_report")

SETTINGS = {**DARTS, "training.epochs": 1, "repeats": 2, "evaluation.baselines": "random-search"}


def run_of(data: Path, out: Path, observer: Silent | None = None, **machine: Any) -> dict[str, Any]:
    """What a run of two searches leaves, but for how it was worked."""
    settings = {**SETTINGS, **{f"machine.{name}": value for name, value in machine.items()}}
    run = archimed.run("darts", str(data), out, settings=settings, observer=observer or Silent())
    found = {**without_candidates(run), "searched": searched(run)}
    found["experiment"].pop("machine")
    assert not (run / "search" / "apart").exists()
    return found


@pytest.fixture(scope="module")
def in_turn(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The searches one after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
        return run_of(grey, tmp_path_factory.mktemp("in turn") / "run")


def spread_in_turn(stop: int | None) -> Callable[..., Any]:
    """Stands for two workers: answers in this process, until before the answer `stop`."""

    @contextmanager
    def spread(make: Callable[[], Callable[[int], Any]], *_rest: object, **_named: object) -> Iterator[Any]:
        def answers(items: Sequence[int]) -> Iterator[Any]:
            work = make()
            for number, item in enumerate(items):
                answer = work(item)
                if number == stop:
                    raise Interrupted
                yield answer

        yield answers

    return spread


def test_two_processes_leave_the_files_of_one(grey: Path, tmp_path: Path, in_turn: dict[str, Any]) -> None:
    assert len(in_turn["selected"]["selected"]) == 2 * 2
    assert run_of(grey, tmp_path / "two", workers=2) == in_turn


@pytest.mark.parametrize(("stop", "workers"), [(0, 2), (1, 1)])
def test_searches_that_were_cut_off_go_on_apart(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_turn: dict[str, Any], stop: int, workers: int
) -> None:
    monkeypatch.setattr(module, "spread", spread_in_turn(stop))
    with pytest.raises(Interrupted):
        run_of(grey, tmp_path / "run", workers=2)
    assert [path.name for path in (tmp_path / "run" / "search" / "apart").iterdir()] == [f"fold0.seed{stop}"]
    told = Heard()
    monkeypatch.setattr(module, "spread", spread_in_turn(None))
    assert run_of(grey, tmp_path / "run", told, workers=workers) == in_turn
    assert told.stages.count("search: darts, seed 0") == 0  # what was done apart is not done again


def test_logs_that_were_joined_before_a_crash_are_joined_once(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_turn: dict[str, Any]
) -> None:
    add = module.add_selections

    def cut_off(*_arguments: object) -> None:
        raise Interrupted

    monkeypatch.setattr(module, "spread", spread_in_turn(None))
    monkeypatch.setattr(module, "add_selections", cut_off)
    with pytest.raises(Interrupted):
        run_of(grey, tmp_path / "run", workers=2)
    monkeypatch.setattr(module, "add_selections", add)
    assert run_of(grey, tmp_path / "run", workers=2) == in_turn


def test_a_search_whose_worker_dies_again_and_again_ends_the_run_with_what_to_do(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "spread", dying_workers)
    with pytest.raises(RunError, match=r"fold0\.seed0: its worker died 2 times.*archimed resume"):
        run_of(grey, tmp_path / "run", workers=2)


class Heard(Silent):
    """Remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)
