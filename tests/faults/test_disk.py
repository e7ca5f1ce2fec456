"""A disk that is full at any write: exit code 2, one line, no half-written file, and a run that can go on."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from tests.cli.command import command
from tests.experiment.tiny import TINY, command_line_settings, read, result_of, tiny_run, write_npz

SETTINGS = command_line_settings({**TINY, "search.population_size": 2, "search.offspring_size": 2})
FILES = (
    *("experiment.yaml", "environment.json", "splits.json", "data.json", "selected.json", "architecture.json"),
    *("checkpoint.safetensors", "weights.safetensors", "training.json", "predictions.csv", "metrics.json"),
    *("summary.json", "report.html"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "data.npz")


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run on a disk with room."""
    small = {"search__population_size": 2, "search__offspring_size": 2}
    return tiny_run(data, tmp_path_factory.mktemp("whole") / "run", **small)


def check_full(stderr: str, code: int) -> None:
    assert code == 2, stderr
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1].startswith("archimed: The disk is full")


@pytest.mark.parametrize("name", FILES)
def test_a_disk_that_is_full_when_a_file_is_written(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace, out = Path.replace, tmp_path / "run"

    def full(path: Path, target: Path) -> Path:
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        said = command("run", "mstf-nas", "--data", str(data), "--out", str(out), *SETTINGS)
    check_full(said.stderr, said.code)
    assert not list(tmp_path.rglob("*.part"))
    if name == "experiment.yaml":
        assert not out.exists()  # nothing began
        said = command("run", "mstf-nas", "--data", str(data), "--out", str(out), *SETTINGS)
    else:
        assert not list(out.rglob(name))
        said = command("resume", str(out))
    assert said.code == 0, said.stderr
    assert result_of(out) == result_of(whole)


@pytest.mark.parametrize(("name", "line"), [("candidates.jsonl", 3), ("epochs.jsonl", 2)])
def test_a_disk_that_is_full_in_the_middle_of_a_line(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: int
) -> None:
    opened, count, out = Path.open, [0], tmp_path / "run"

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, text: str) -> NoReturn:
            self.file.write(text[:40])
            raise OSError(errno.ENOSPC, "No space left on device", name)

    def full(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = opened(path, mode, *rest, **named)
        if mode != "a" or path.name != name:
            return file
        count[0] += 1
        return Full(file) if count[0] == line else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        said = command("run", "mstf-nas", "--data", str(data), "--out", str(out), *SETTINGS)
    check_full(said.stderr, said.code)
    assert command("resume", str(out)).code == 0
    assert result_of(out) == result_of(whole)


LIMITED = (
    "import resource, signal, sys\n"
    "import torch\n"
    "torch.set_num_threads(1)\n"
    "from archimed.cli import main\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)\n"
    "main()\n"
)


def limited_run(data: Path, out: Path, largest: int) -> subprocess.CompletedProcess[str]:
    """A run in a process whose files may not exceed a number of bytes."""
    words = ["run", "mstf-nas", "--data", str(data), "--out", str(out), *SETTINGS]
    command_line = [sys.executable, "-c", LIMITED, str(largest), *words]
    return subprocess.run(command_line, capture_output=True, text=True, check=False, timeout=120)


def test_a_real_limit_on_the_size_of_files(data: Path, whole: Path, tmp_path: Path) -> None:
    weights = (whole / "networks" / "mstf-nas" / "fold0.seed0" / "weights.safetensors").stat().st_size
    said = limited_run(data, tmp_path / "run", largest=weights)  # checkpoints are larger
    check_full(said.stderr, said.returncode)
    assert (tmp_path / "run" / "search" / "selected.json").exists()
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.safetensors"))
    assert command("resume", str(tmp_path / "run")).code == 0
    assert result_of(tmp_path / "run") == result_of(whole)


def test_a_folder_without_permission(data: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    if os.access(closed, os.W_OK):
        closed.chmod(0o700)
        pytest.skip("this user may write everywhere")
    said = command("run", "mstf-nas", "--data", str(data), "--out", str(closed / "run"), *SETTINGS)
    assert said.code == 2
    assert "Permission denied" in said.stderr.splitlines()[-1]
    closed.chmod(0o700)


def test_a_key_that_cannot_be_written_is_told_before_anything_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHIMED_CONFIG", str(tmp_path / "file" / "below"))
    with np.load(data) as archive:
        arrays = dict(archive)
    for split in ("train", "val", "test"):
        arrays[f"{split}_patients"] = np.array([f"{split} {k}" for k in range(len(arrays[f"{split}_labels"]))])
    named = tmp_path / "named.npz"
    np.savez(named, **arrays)
    said = command("run", "mstf-nas", "--data", str(named), "--out", str(tmp_path / "run"), *SETTINGS)
    assert said.code == 2
    assert "ARCHIMED_CONFIG" in said.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_the_summary_of_a_whole_run_is_complete(whole: Path) -> None:
    assert list(read(whole / "summary.json")["networks"]) == ["mstf-nas"]
