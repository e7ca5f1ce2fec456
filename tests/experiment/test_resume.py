"""A run that was interrupted, at whatever step and however often, ends with the files of an unbroken one."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archimed
from archimed.experiment.pipeline import STAGES, run_again
from archimed.experiment.progress import Silent
from tests.experiment.interruption import Steps, interrupted_at
from tests.experiment.tiny import TINY, TWO_SEARCHES, lines, result_of

pytestmark = pytest.mark.usefixtures("no_report")

ONE_SEARCH: Mapping[str, Any] = {**TINY, "search.population_size": 2, "search.offspring_size": 2}
SEVERAL = {**TINY, **TWO_SEARCHES, "repeats": 2, "training.epochs": 1}


def begin(data: Path, out: Path, settings: Mapping[str, Any]) -> Callable[[Steps], object]:
    """The command that begins the run, which also goes on with it."""
    return lambda steps: archimed.run("mstf-nas", str(data), out, settings=settings, observer=steps)


def check_steps(data: Path, folder: Path, settings: Mapping[str, Any], stride: int) -> list[str]:
    whole = interrupted_at(None, begin(data, folder / "whole", settings))
    expected = result_of(folder / "whole")
    for stop in range(1, len(whole.names) + 1, stride):
        out = folder / f"stopped-at-{stop}"
        broken = interrupted_at(stop, begin(data, out, settings))
        assert broken.names == whole.names[:stop]  # until then, the same steps
        if (out / "experiment.yaml").exists() and stop % 2:
            run_again(out, STAGES, Silent())
        else:
            begin(data, out, settings)(Steps())
        found = result_of(out)
        for name, value in expected.items():
            assert found[name] == value, (whole.names[stop - 1], name)
        assert found.keys() == expected.keys()
        assert not list(out.rglob("*.part"))
    return whole.names


def test_a_run_goes_on_from_any_step(grey: Path, tmp_path: Path) -> None:
    steps = check_steps(grey, tmp_path, ONE_SEARCH, stride=3)
    assert steps.count("half a line of candidates.jsonl") == 4
    assert steps.count("half a line of epochs.jsonl") == 2
    for name in ("experiment.yaml", "splits.json", "data.json", "selected.json", "weights.safetensors", "metrics.json"):
        assert steps.count(f"renamed {name}") == 1


@pytest.mark.slow
def test_a_run_of_several_searches_and_seeds_goes_on_from_any_step(grey: Path, tmp_path: Path) -> None:
    check_steps(grey, tmp_path, SEVERAL, stride=5)


@pytest.mark.parametrize("seed", [0])
def test_a_run_that_is_interrupted_again_and_again_ends_alike(grey: Path, tmp_path: Path, seed: int) -> None:
    expected = result_of(Path(str(begin(grey, tmp_path / "whole", SEVERAL)(Steps()))))
    rng, out, attempts = np.random.default_rng(seed), tmp_path / "broken", 0
    while not (out / "summary.json").exists():
        interrupted_at(int(rng.integers(8, 40)), begin(grey, out, SEVERAL))
        attempts += 1
        assert attempts < 200
    assert attempts > 5
    assert result_of(out) == expected


def test_no_candidate_is_measured_twice(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archimed.evaluators.training_free import TrainingFree

    measured = []
    measure = TrainingFree.measure

    def counted(self: TrainingFree, genotype: tuple[int, ...]) -> Any:
        measured.append(genotype)
        return measure(self, genotype)

    monkeypatch.setattr(TrainingFree, "measure", counted)
    work = begin(grey, tmp_path / "run", ONE_SEARCH)
    names = interrupted_at(None, begin(grey, tmp_path / "whole", ONE_SEARCH)).names
    measured.clear()
    third = [number for number, name in enumerate(names, start=1) if name == "half a line of candidates.jsonl"][2]
    interrupted_at(third, work)
    assert len(measured) == 3
    assert len((tmp_path / "run" / "search" / "candidates.jsonl").read_bytes().splitlines()) == 3  # the last one torn
    work(Steps())
    assert len(measured) == 5  # the one that was lost, and it alone, again
    assert measured[3] == measured[2]
    assert len(lines(tmp_path / "run" / "search" / "candidates.jsonl")) == 4


def test_a_clock_that_jumps_back_changes_nothing(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(grey, tmp_path / "whole", ONE_SEARCH)(Steps())
    told = iter(range(2_000_000_000, 0, -86_400))  # each look at the clock is a day earlier than the one before
    monkeypatch.setattr(time, "time", lambda: float(next(told)))
    monkeypatch.setattr(time, "time_ns", lambda: next(told) * 1_000_000_000)
    work = begin(grey, tmp_path / "run", ONE_SEARCH)
    names = interrupted_at(12, work).names
    assert len(names) == 12
    work(Steps())
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")


def test_a_finished_run_is_left_as_it_is(grey: Path, tmp_path: Path) -> None:
    work = begin(grey, tmp_path / "run", ONE_SEARCH)
    work(Steps())
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    steps = Steps()
    work(steps)
    assert not [name for name in steps.names if "epochs" in name or name.startswith("told stage train")]
    for path, content in before.items():
        if path.name not in ("summary.json", ".lock"):
            assert path.read_bytes() == content, path


@pytest.mark.parametrize("stage", ["search", "train"])
def test_a_stage_done_afresh_gives_the_same(grey: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "run"
    begin(grey, out, ONE_SEARCH)(Steps())
    before = result_of(out)
    run_again(out, (stage,), Silent(), fresh=True)
    assert not (out / "summary.json").exists()
    run_again(out, STAGES, Silent())
    assert result_of(out) == before
