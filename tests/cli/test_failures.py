import errno
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import typer

from archimed.cli.failures import (
    Terminated,
    is_surroundings,
    one_line,
    raise_terminated,
    run_guarded,
    surroundings,
)
from archimed.errors import ArchimedError, DataError, GenotypeError, RunError, SearchError, SettingsError
from archimed.training.progress import TrainingError
from tests.cli.command import command
from tests.experiment.tiny import TINY, command_line_settings


@pytest.fixture(autouse=True)
def _signal_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def ends_with(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    def app(standalone_mode: bool) -> NoReturn:
        assert not standalone_mode
        raise error

    code = run_guarded(app)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return code, captured.err


@pytest.mark.parametrize("kind", [ArchimedError, SettingsError, DataError, GenotypeError, SearchError, RunError])
def test_the_users_side_is_one_line_and_code_2(kind: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(kind("The rule,\n  the value.  Do this."), capsys) == (
        2,
        "archimed: The rule, the value. Do this.\n",
    )


def test_a_training_that_fails_is_the_users_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(TrainingError("The loss was not a number."), capsys)[0] == 2


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "The disk is full: /run/x. Make room, then go on with: archimed resume"),
        (errno.EDQUOT, "The disk is full"),
        (errno.EFBIG, "The disk is full"),
        (errno.EACCES, "Permission denied: /run/x. Check"),
        (errno.EROFS, "Read-only file system: /run/x."),
        (errno.ENOENT, "No such file or directory: /run/x."),
        (errno.ENOTDIR, "Not a directory: /run/x."),
    ],
)
def test_the_surroundings_are_the_users_side(number: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, line = ends_with(OSError(number, "text", "/run/x"), capsys)
    assert code == 2
    assert line.startswith(f"archimed: {said}")


def test_other_system_errors_are_our_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_surroundings(OSError(errno.EBADF, "Bad file descriptor"))
    assert ends_with(OSError(errno.EBADF, "Bad file descriptor"), capsys)[0] == 1


def test_a_full_disk_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert surroundings(OSError(errno.ENOSPC, "No space")).startswith("The disk is full. Make room")
    assert ends_with(OSError(errno.ENOSPC, "No space"), capsys)[0] == 2


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (typer.Abort(), 130), (Terminated(), 143)])
def test_an_interruption_says_how_to_go_on(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    found, line = ends_with(error, capsys)
    assert found == code
    assert "archimed resume" in line


def test_an_exit_code_passes_through(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_guarded(lambda standalone_mode: 2) == 2  # noqa: ARG005 (as Typer calls it)
    assert run_guarded(lambda standalone_mode: None) == 0  # noqa: ARG005
    assert capsys.readouterr().err == ""


def test_the_signal_of_the_end_becomes_an_exception() -> None:
    with pytest.raises(Terminated):
        raise_terminated(15, None)
    assert not issubclass(Terminated, Exception)  # nothing that catches errors may swallow it


def test_one_line_of_many() -> None:
    assert one_line(ValueError("a\n\n   b\tc")) == "a b c"


def test_our_fault_leaves_a_log_and_no_traceback(grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> NoReturn:
        raise KeyError("a bug\nof ours")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("archimed.experiment.pipeline.summarise", broken)
    out = tmp_path / "run"
    said = command("run", "mstf-nas", "--data", str(grey), "--out", str(out), *command_line_settings(TINY))
    assert said.code == 1
    assert "Traceback" not in said.stderr
    last = said.stderr.splitlines()[-1]
    assert last.startswith("archimed: This is a fault of archimed (KeyError")
    [log] = tmp_path.glob("archimed-*.log")
    assert str(log) in last
    text = log.read_text()
    assert text.startswith("Traceback")
    assert "in broken" in text
    monkeypatch.undo()
    assert command("resume", str(out)).code == 0  # what was done is not lost
