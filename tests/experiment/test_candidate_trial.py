"""One worker's threads measure candidates together or side by side: chosen once, said, recorded."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import archimed
from archimed.experiment.progress import Silent
from archimed.methods.mstf_nas import MstfNas
from archimed.methods.protocol import SearchProblem
from tests.experiment.tiny import TINY, lines, tiny_run, without_seconds, write_npz

WORDS = {"threads": "one at a time by 2 threads", "processes": "2 at a time by processes of one thread"}


class Told(Silent):
    """Remembers what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "grey.npz")


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even searches as tiny as these are worth a look."""
    monkeypatch.setattr("archimed.experiment.candidate_trial.FEW_CANDIDATES", 0)


def log_of(run: Path) -> Any:
    return without_seconds(lines(run / "search" / "candidates.jsonl"))


def recorded(run: Path) -> str:
    found: str = yaml.safe_load((run / "experiment.yaml").read_text())["machine"]["candidates"]
    return found


def foretells(seconds: dict[str, float], asked: list[str]) -> Any:
    def search_seconds(_method: MstfNas, problem: SearchProblem) -> float:
        asked.append(problem.machine.candidates)
        return seconds[problem.machine.candidates]

    return search_seconds


def test_processes_measure_what_workers_of_one_thread_do(grey: Path, tmp_path: Path) -> None:
    side_by_side = tiny_run(grey, tmp_path / "one", machine__threads=2, machine__candidates="processes")
    workers = tiny_run(grey, tmp_path / "two", machine__workers=2)
    assert log_of(side_by_side) == log_of(workers)
    assert recorded(side_by_side) == "processes"


@pytest.mark.usefixtures("few_are_enough")
@pytest.mark.parametrize(
    ("threads", "processes", "chosen"),
    [(1000.0, 900.0, "processes"), (1000.0, 980.0, "threads"), (61.0, 58.0, "threads")],
)
def test_the_faster_form_is_chosen_said_and_kept_by_resume(
    grey: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: float,
    processes: float,
    chosen: str,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(MstfNas, "search_seconds", foretells({"threads": threads, "processes": processes}, asked))
    observer = Told()
    settings = {**TINY, "machine.threads": 2}
    run = archimed.run("mstf-nas", str(grey), tmp_path / "run", settings=settings, observer=observer)
    assert recorded(run) == chosen
    assert asked == ["threads", "processes", "threads"]
    told = "\n".join(observer.said)
    assert f"candidates are measured {WORDS[chosen]}" in told
    monkeypatch.setattr(MstfNas, "search_seconds", foretells({}, asked))
    (run / "summary.json").unlink()
    archimed.run("mstf-nas", str(grey), run, settings=settings)
    assert len(asked) == 3


@pytest.mark.usefixtures("few_are_enough")
@pytest.mark.parametrize("settings", [{"machine__threads": 1}, {"machine__threads": 2, "machine__workers": 2}])
def test_there_is_no_trial_where_there_is_no_choice(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(MstfNas, "search_seconds", foretells({}, asked))
    assert recorded(tiny_run(grey, tmp_path / "run", **settings)) == "threads"
    assert asked == []


@pytest.mark.parametrize(("few", "asked_for"), [(0, ["threads"]), (10, [])])
def test_a_short_search_is_not_worth_processes(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int, asked_for: list[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("archimed.experiment.candidate_trial.FEW_CANDIDATES", few)
    monkeypatch.setattr(MstfNas, "search_seconds", foretells({"threads": 59.0}, asked))
    assert recorded(tiny_run(grey, tmp_path / "run", machine__threads=2)) == "threads"
    assert asked == asked_for
