import sys

import pytest

from archimed.cli import console as module
from archimed.cli.console import PLAIN_LINE_SECONDS, Console, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (44.6, "45 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (90000, "25.0 h")],
)
def test_a_time_span_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still; set its only entry."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_few_and_tell_the_time_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=False) as console:
        console.stage("search")
        for done in range(1, 101):
            clock[0] += 1.0
            console.progress(done, 100, "candidates")
        console.say("a sentence")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "search"
    assert lines[1] == "  1/100  candidates"
    assert lines[2] == "  16/100  candidates  84 s left"
    assert lines[-2:] == ["  100/100  candidates", "  a sentence"]
    assert len(lines) == 3 + 1 + int(99 / PLAIN_LINE_SECONDS)


def test_what_was_done_before_an_interruption_is_no_sign_of_pace(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Console(quiet=False) as console:
        console.stage("search")
        console.progress(900, 1000, "candidates")
        clock[0] += 20.0
        console.progress(910, 1000, "candidates")  # 10 in 20 s: 90 more take 180 s
    assert capsys.readouterr().err.splitlines()[-1] == "  910/1000  candidates  3 min left"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(quiet=True) as console:
        console.stage("search")
        console.progress(1, 1, "candidates")
        console.say("a sentence")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_terminal_gets_a_live_bar_that_is_closed_on_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console = Console(quiet=False)
    with pytest.raises(ZeroDivisionError), console:
        show_something(console)
    assert console.bar is not None
    assert not console.bar.live.is_started
    assert "[markup]" in capsys.readouterr().err  # what a run says is text, never markup


def show_something(console: Console) -> None:
    console.stage("search")
    console.progress(1, 2, "candidates")
    console.say("a [markup] sentence")
    console.stage("train")
    raise ZeroDivisionError
