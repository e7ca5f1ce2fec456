"""The same run by one worker, by two processes and on Ray."""

from pathlib import Path
from typing import Any

import pytest

from archimed.errors import RunError
from archimed.experiment import train_together as module
from tests.experiment.interruption import dying_workers
from tests.experiment.tiny import result_of, tiny_run

SEVERAL = {"evaluation__baselines": "random-search-100", "repeats": 2}


def run_of(data: Path, out: Path, **more: Any) -> dict[str, Any]:
    """All results of a run of several seeds and networks, but for how it was worked."""
    found = result_of(tiny_run(data, out, **SEVERAL, **more))
    found["experiment"].pop("machine")
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_one_worker_two_processes_and_ray_find_the_same(grey: Path, tmp_path: Path) -> None:
    one = run_of(grey, tmp_path / "one")
    assert len(one["selected"]["selected"]) == 2 * 2
    assert run_of(grey, tmp_path / "two", machine__workers=2) == one
    assert run_of(grey, tmp_path / "ray", machine__workers=2, machine__cluster="local") == one


@pytest.mark.usefixtures("no_report")
def test_a_training_whose_worker_dies_again_and_again_ends_the_run_with_what_to_do(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "spread", dying_workers)
    with pytest.raises(RunError, match=r"fold0\.seed0: its worker died 2 times.*archimed resume"):
        tiny_run(grey, tmp_path / "run", repeats=2, machine__workers=2, search__generations=0)
