"""`archimed` as torchrun starts it: the first process runs the command, the others join its trainings silently."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiment.tiny import read, tiny_run, write_npz


def processes(words: list[str], count: int = 2) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each process, with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    named = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    named |= {"TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "archimed", *words],
            env={**os.environ, **named, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=300) for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, said, strict=True)]


@pytest.mark.slow
def test_two_processes_go_on_with_a_run_as_one_would(tmp_path: Path) -> None:
    whole = tiny_run(write_npz(tmp_path / "data.npz"), tmp_path / "whole", evaluation__baselines="resnet18")
    broken = shutil.copytree(whole, tmp_path / "broken")
    shutil.rmtree(broken / "networks" / "mstf-nas")
    for name in ("summary.json", "report.html"):
        (broken / name).unlink()
    first, second = processes(["resume", str(broken)])
    assert (first[0], second) == (0, (0, "", "")), (first, second)
    assert "mstf-nas" in first[1]
    assert sorted(path.relative_to(broken) for path in broken.rglob("*")) == sorted(
        path.relative_to(whole) for path in whole.rglob("*")
    )
    cautions = read(broken / "summary.json")["cautions"]
    told = "2 processes trained it together; batch normalisation averaged over 4 images in each."
    assert [one for one in cautions if "processes" in one] == [f"mstf-nas: {told}"]
    trained = Path("networks/resnet18/fold0.seed0/weights.safetensors")
    assert (broken / trained).read_bytes() == (whole / trained).read_bytes()  # was finished: not touched


def test_a_verb_that_does_not_train_is_refused_once(tmp_path: Path) -> None:
    first, second = processes(["evaluate", str(tmp_path)])
    assert first == (
        *(2, ""),
        "archimed: torchrun is for the verbs that train: run, resume, train; got 'evaluate'. Leave torchrun out.\n",
    )
    assert second == (0, "", "")
