"""Two processes on a CPU train as one does: the same weights, the same files."""

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from archimed.errors import SettingsError
from archimed.training.machine import Machine
from archimed.training.team import ALONE, Team, check_gpus

HERE = Path(__file__).parent
NAMES = (
    *("classes", "weighted classes", "labels", "masks", "members", "two exits"),
    "little memory in one process",
)


@pytest.fixture(scope="module")
def work() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        yield importlib.import_module("team_work")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes left what came of their work."""
    return by_two(tmp_path_factory.mktemp("team"))


def by_two(out: Path, *more: str) -> Path:
    """Let two processes work."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "team_work.py", out, *more],
            env={**os.environ, **address, "OMP_NUM_THREADS": "1", **numbers(rank)},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return out


def numbers(rank: int) -> dict[str, str]:
    """What torchrun tells a process."""
    return {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture(scope="module")
def found(folder: Path) -> list[Any]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", NAMES)
def test_passes_of_two_processes_are_those_of_one(name: str, found: list[Any], work: ModuleType) -> None:
    losses, weights = work.two_passes(name, ALONE)
    for process in found:
        theirs, reached = process["passes"][name]
        assert theirs == pytest.approx(losses, rel=1e-5)
        torch.testing.assert_close(reached, weights, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0]["passes"][name], found[1]["passes"][name], rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_passes_of_two_gpus_are_those_of_one_processor(tmp_path: Path, work: ModuleType) -> None:
    by_two(tmp_path, "cuda")
    for rank in (0, 1):
        process = torch.load(tmp_path / f"{rank}.pt", weights_only=True, map_location="cpu")
        for name in NAMES:
            losses, weights = work.two_passes(name, ALONE)
            theirs, reached = process["passes"][name]
            assert theirs == pytest.approx(losses, rel=1e-3)
            torch.testing.assert_close(reached, weights, rtol=1e-2, atol=1e-3)


def test_every_kind_of_pass_is_looked_at(work: ModuleType) -> None:
    assert tuple(work.PASSES) == NAMES


def test_a_training_by_two_is_that_of_one(found: list[Any], folder: Path, work: ModuleType, tmp_path: Path) -> None:
    alone = work.fit(tmp_path / "one").state_dict()
    whole, _, broken_off, *_ = found[0]["trainings"]
    torch.testing.assert_close(whole, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(broken_off, whole, rtol=0, atol=0)
    for name in ("whole", "broken off", "stopped"):
        assert sorted(path.name for path in (folder / name).iterdir()) == sorted(
            path.name for path in (tmp_path / "one").iterdir()
        )
    assert len((folder / "stopped" / "epochs.jsonl").read_text().splitlines()) == 1


def test_the_others_hear_how_each_training_ends(found: list[Any]) -> None:
    first, second = (one["trainings"] for one in found)
    assert [one if isinstance(one, str) else "network" for one in first] == [
        *("network", "Enough.", "network", "No metric.", "network", "network")
    ]
    assert [one if isinstance(one, str) else "network" for one in second] == [
        *("network", "Enough.", "network", "No metric.", "network")
    ]


def test_cases_are_dealt_once_or_all_to_all() -> None:
    for cases, size, least in ((128, 3, 2), (7, 3, 2), (3, 3, 1), (2, 3, 1), (5, 3, 2)):
        parts = [Team(rank, size).part(cases, least) for rank in range(size)]
        dealt = [list(range(cases))[part] for part in parts]
        assert all(len(part) >= min(least, cases) for part in dealt)
        if cases >= least * size:
            assert [case for part in dealt for case in part] == list(range(cases))
        else:
            assert dealt == [list(range(cases))] * size


def test_each_process_has_its_share_of_the_machine() -> None:
    assert ALONE.machine(Machine(4)) == Machine(4)
    assert Team(1, 4, 1, 2).machine(Machine(5)) == Machine(2)
    assert Team(1, 4, 1, 4).machine(Machine(2)) == Machine(1)


def test_more_processes_than_gpus_are_refused() -> None:
    check_gpus(2, 2)
    with pytest.raises(SettingsError, match=r"4 were started on a machine with 2\. Use torchrun --nproc-per-node 2"):
        check_gpus(4, 2)


def test_the_work_of_the_leader_is_done_alone() -> None:
    assert ALONE.of_leader(lambda: 3) == 3
    network = nn.BatchNorm1d(2)
    ALONE.average_statistics(network)
    assert network.running_mean is not None
    assert network.running_mean.tolist() == [0, 0]
