"""Processes that are killed, ended, interrupted or doubled; `archimed resume` ends them all like an unbroken run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from archimed.cli.console import Console
from tests.cli.command import Said, command
from tests.experiment.tiny import TINY, command_line_settings, lines, result_of, write_npz

LONGER = {**TINY, "search.population_size": 8, "search.offspring_size": 8, "search.generations": 4} | {
    "training.epochs": 25,
    "evaluation.baselines": "random-search",
}
START = "import torch; torch.set_num_threads(1); from archimed.cli import main; main()"


@pytest.fixture(scope="module", autouse=True)
def interruptible() -> None:
    """A shell's background jobs ignore SIGINT, and so would the processes that these tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "data.npz")


def run_words(data: Path, out: Path, *more: str, settings: dict[str, object] | None = None) -> list[str]:
    return ["run", "mstf-nas", "--data", str(data), "--out", str(out), *command_line_settings(settings or TINY), *more]


Start = Callable[[list[str]], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `archimed words...` in a process group of its own; what is left at the end is killed."""
    processes = []

    def begin(words: list[str]) -> subprocess.Popen[str]:
        command_line = [sys.executable, "-c", START, *words]
        process = subprocess.Popen(
            command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Read the process's progress until it tells `line`."""
    assert process.stderr is not None
    for told in process.stderr:
        if told.startswith(line):
            return
    pytest.fail(f"the process ended before it told {line!r}")


def logged(run: Path) -> int:
    """Lines of all logs of a run."""
    return sum(path.read_bytes().count(b"\n") for path in run.rglob("*.jsonl"))


def wait_until_logged(process: subprocess.Popen[str], run: Path, lines: int) -> None:
    """Sleep until the logs have so many lines or the process has ended."""
    while logged(run) < lines and process.poll() is None:
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_the_figures_are_those_of_an_unbroken_run(
    data: Path, tmp_path: Path, start: Start
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert command(*run_words(data, whole, settings=LONGER)).code == 0
    rng, words = np.random.default_rng(11), run_words(data, out, settings=LONGER)
    for kill in range(8):
        process = start(words)
        wait_for(process, "read data")
        wait_until_logged(process, out, logged(out) + int(rng.integers(0, 15)))
        time.sleep(float(rng.uniform(0, 0.05)))  # anywhere between two lines
        assert process.poll() is None, f"the run came to its end before kill {kill + 1}"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if (out / "experiment.yaml").exists():
            words = ["resume", str(out)]
    assert logged(out) > 0
    said = command(*words)
    assert said.code == 0, said.stderr
    assert result_of(out) == result_of(whole)
    assert not list(out.rglob("*.part"))
    assert not list(out.rglob("checkpoint*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "stage", "code"),
    [(signal.SIGTERM, "search", 143), (signal.SIGINT, "train", 130), (signal.SIGTERM, "train", 143)],
)
def test_a_process_that_is_asked_to_end_saves_and_says_so(
    data: Path, tmp_path: Path, start: Start, number: int, stage: str, code: int
) -> None:
    out = tmp_path / "run"
    process = start(run_words(data, out, settings=LONGER))
    wait_for(process, stage)
    time.sleep(0.3)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "archimed resume" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    assert command("resume", str(out)).code == 0
    whole = tmp_path / "whole"
    assert command(*run_words(data, whole, settings=LONGER)).code == 0
    assert result_of(out) == result_of(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_search(data: Path, tmp_path: Path, start: Start, number: int, code: int) -> None:
    out = tmp_path / "run"
    process = start(run_words(data, out, "--workers", "2", settings={**LONGER, "search.generations": 400}))
    wait_for(process, "  1/")
    time.sleep(0.5)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert workers
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches the whole terminal
    else:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in stderr
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert lines_are_whole(out / "search" / "candidates.jsonl") or number == signal.SIGKILL


def lines_are_whole(path: Path) -> bool:
    return path.read_bytes().endswith(b"\n") and len(lines(path)) > 0


def signalled_run(monkeypatch: pytest.MonkeyPatch, number: int, when: int, words: list[str]) -> Said:
    """A command in this process that gets a signal when it tells its progress for the `when`-th time."""
    count, tell = [0], Console.progress

    def signalled(console: Console, done: float, total: float, note: str) -> None:
        tell(console, done, total, note)
        count[0] += 1
        if count[0] == when:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Console, "progress", signalled)
        return command(*words)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("when", [2, 7])  # in the search of six candidates, in the training
def test_a_signal_ends_the_run_in_one_line_and_it_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int, when: int
) -> None:
    out = tmp_path / "run"
    said = signalled_run(monkeypatch, number, when, run_words(data, out))
    assert said.code == code
    assert said.stdout == ""
    assert "archimed resume" in said.stderr.splitlines()[-1]
    assert "Traceback" not in said.stderr
    assert command("resume", str(out)).code == 0
    assert command(*run_words(data, tmp_path / "whole")).code == 0
    assert result_of(out) == result_of(tmp_path / "whole")


HOLD = (
    "import sys\nfrom pathlib import Path\nfrom archimed.runs import RunDirectory\n"
    "with RunDirectory(Path(sys.argv[1])).locked():\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture
def held(data: Path, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A finished run that another process holds, and that process's number."""
    out = tmp_path / "run"
    assert command(*run_words(data, out)).code == 0
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield out, process.pid
    process.kill()
    process.communicate()


def test_a_second_process_is_told_who_holds_the_run(data: Path, held: tuple[Path, int]) -> None:
    out, holder = held
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    refused: list[Said] = [command(verb, str(out)) for verb in ("resume", "train", "evaluate", "report")]
    refused += [command("train", str(out), "--fresh"), command(*run_words(data, out))]
    for said in refused:
        assert said.code == 2
        assert said.stdout == ""
        last = said.stderr.splitlines()[-1]
        assert f"process {holder} on " in last
        assert str(out) in last
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("cut", [1, 30])
@pytest.mark.parametrize(
    ("name", "when"), [("search/candidates.jsonl", 4), ("networks/mstf-nas/fold0.seed0/epochs.jsonl", 7)]
)
def test_a_log_whose_last_line_was_cut_off_is_repaired(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, when: int, cut: int
) -> None:
    out = tmp_path / "run"
    said = signalled_run(monkeypatch, signal.SIGTERM, when, run_words(data, out))
    assert said.code == 143
    log = out / name
    assert log.read_bytes().endswith(b"}\n")
    log.write_bytes(log.read_bytes()[:-cut])
    said = command("resume", str(out))
    assert said.code == 0, said.stderr
    assert command(*run_words(data, tmp_path / "whole")).code == 0
    assert result_of(out) == result_of(tmp_path / "whole")
