"""Runs that are killed, or asked to end, at seeded random moments, and resumed: each must end as an unbroken one.

Processes are forked from this one, which has imported everything and computed nothing, so that a moment costs no more
than the run itself.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import numpy as np
import torch
import yaml
from safetensors import SafetensorError, safe_open

from archimed.cli import main
from archimed.experiment import pipeline
from archimed.methods import METHODS, find_method
from tests.experiment.tiny import result_of

IMPORTED = (pipeline, *(find_method(name) for name in METHODS))  # before any process is forked
Words = Callable[[Path], list[str]]  # the command of a run, by its folder
PHASES = ("read data", "search", "train", "evaluate", "report")
PATIENCE_SECONDS = 300.0  # without a word of the process
TOO_MANY = 10  # broken promises, after which nothing more is tried
PROMPT_SECONDS = 10.0  # within which a process that is asked to end has saved its state


class BrokenError(Exception):
    """A promise that was not kept."""


@dataclass(frozen=True)
class End:
    """How a process ended.

    Attributes:
        code: its exit code, negative for a signal.
        said: its lines on stderr.
        spans: seconds it spent in each phase.
        phase: the phase it was in when the signal was sent; None without one.
        seconds: between the signal and the end.
    """

    code: int
    said: list[str]
    spans: Mapping[str, float]
    phase: str | None = None
    seconds: float = 0.0


@dataclass
class Tally:
    """What was tried, by phase, and what it gave."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    damaged: dict[str, int] = field(default_factory=lambda: {"checkpoint": 0, "log": 0})
    runs: int = 0
    slowest_end: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def moments(self) -> int:
        """How many processes were killed or asked to end."""
        return sum(self.kills.values()) + sum(self.ends.values())


@dataclass(frozen=True)
class Unbroken:
    """A run that nothing interrupted: its result files, the names of all its files, and seconds in each phase."""

    result: Mapping[str, Any]
    names: frozenset[str]
    spans: Mapping[str, float]


def try_crashes(trials: Mapping[str, Words], folder: Path, seed: int, enough: Callable[[Tally], bool]) -> Tally:
    """Break runs of the trials in turn until it is enough; what did not end as it must is in `broken`."""
    tally, rng = Tally(), np.random.default_rng(seed)
    whole: dict[str, Unbroken] = {}
    while not enough(tally) and len(tally.broken) < TOO_MANY:
        for number, (name, words) in enumerate(trials.items()):
            if name not in whole:
                place = folder / f"{number}-whole"
                whole[name] = unbroken(words(place), place)
            out = folder / f"{number}-{tally.runs}"
            before = tally.moments
            try:
                break_one(words(out), out, whole[name], rng, tally)
                shutil.rmtree(out)
            except BrokenError as error:
                tally.broken.append(f"{name}, run {tally.runs}: {error}")
            tally.runs += 1
            report_progress(name, tally, before)
            if enough(tally) or len(tally.broken) >= TOO_MANY:
                break
    return tally


def report_progress(name: str, tally: Tally, before: int) -> None:
    """One line on stderr."""
    failed = f"; {len(tally.broken)} BROKEN, lastly {tally.broken[-1]}" if tally.broken else ""
    sys.stderr.write(f"{name}: {tally.moments - before} moments, {tally.moments} in all{failed}\n")


def unbroken(words: list[str], out: Path) -> Unbroken:
    """A run from beginning to end."""
    end = attempt(words)
    if end.code:
        raise SystemExit("\n".join(["An unbroken run failed:", *end.said[-5:]]))
    return Unbroken(result_of(out), names_in(out), end.spans)


def break_one(words: list[str], out: Path, whole: Unbroken, rng: np.random.Generator, tally: Tally) -> None:
    """Break a run once or several times, then let it end, and compare.

    Raises:
        BrokenError: it differs from the unbroken one, a file was half-written, or a process ended as it must not.
    """
    warned = False
    while True:
        phase = PHASES[rng.integers(len(PHASES))]
        delay = float(rng.uniform(0, 1)) * max(whole.spans.get(phase, 0.0), 0.02)
        number = signal.SIGTERM if rng.random() < 0.2 else signal.SIGKILL
        end = attempt(words, phase, delay, number)
        if end.phase is None:
            break
        (tally.ends if number == signal.SIGTERM else tally.kills)[end.phase] += 1
        check_end(end, number, tally)
        check_whole_files(out)
        if (out / "experiment.yaml").exists():
            words = ["resume", str(out)]
        warned = damage_one(out, rng, tally)
        if warned or rng.random() < 0.5:
            end = attempt(words)
            break
    if end.code:
        raise BrokenError(f"resuming ended with {end.code}: {' | '.join(end.said[-2:])}")
    if warned and not any("passed over" in line for line in end.said):
        raise BrokenError("a damaged checkpoint was passed over without a word")
    compare(out, whole)


def check_end(end: End, number: int, tally: Tally) -> None:
    """A killed process is dead; one that was asked to end says how to go on, soon, with exit code 143."""
    if number == signal.SIGKILL:
        if end.code != -signal.SIGKILL:
            raise BrokenError(f"a killed process ended with {end.code}")
        return
    tally.slowest_end = max(tally.slowest_end, end.seconds)
    if end.code != 143 or "archimed resume" not in end.said[-1]:
        raise BrokenError(f"SIGTERM in {end.phase} ended with {end.code}: {end.said[-1]}")
    if end.seconds > PROMPT_SECONDS:
        raise BrokenError(f"SIGTERM in {end.phase} took {end.seconds:.1f} s")


def compare(out: Path, whole: Unbroken) -> None:
    """BrokenError unless the run has the files and the figures of the unbroken one."""
    found = result_of(out)
    for name, value in whole.result.items():
        if found.get(name) != value:
            raise BrokenError(f"{name} differs")
    if names_in(out) != whole.names:
        raise BrokenError(f"other files: {sorted(names_in(out) ^ whole.names)[:4]}")


def names_in(out: Path) -> frozenset[str]:
    """Every file of a run, by its path in it."""
    return frozenset(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def check_whole_files(out: Path) -> None:
    """BrokenError if a file that has its name is not complete; of a log the last line may be cut off."""
    for path in sorted(out.rglob("*")):
        if path.is_dir() or path.name.startswith("."):
            continue
        try:
            check_whole(path)
        except (ValueError, KeyError, OSError, SafetensorError, ElementTree.ParseError, yaml.YAMLError) as error:
            raise BrokenError(f"half-written: {path.relative_to(out)} ({error})") from None


def check_whole(path: Path) -> None:
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".yaml":
        yaml.safe_load(path.read_text())["method"]
    elif path.suffix == ".jsonl":
        for line in path.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                file.get_tensor(name)
    elif path.suffix == ".svg":
        ElementTree.fromstring(path.read_text())  # noqa: S314 - our own
    elif path.suffix == ".html" and not path.read_text().rstrip().endswith("</html>"):
        raise ValueError("no end")


def damage_one(out: Path, rng: np.random.Generator, tally: Tally) -> bool:
    """Now and then cut a log's last line, or spoil a checkpoint; whether a checkpoint was."""
    if rng.random() > 0.3:
        return False
    files = [path for path in out.rglob("[!.]*") if path.is_file()]
    logs = [path for path in sorted(files, key=written)[-1:] if path.suffix == ".jsonl"]  # under way
    states = sorted(out.rglob("checkpoint.safetensors"))
    if states and rng.random() < 0.7:
        spoil(states[rng.integers(len(states))], rng)
        tally.damaged["checkpoint"] += 1
        return True
    for log in logs:
        log.write_bytes(log.read_bytes()[: -int(rng.integers(1, 15))])
        tally.damaged["log"] += 1
    return False


def written(path: Path) -> int:
    """When a file was written last."""
    return path.stat().st_mtime_ns


def spoil(path: Path, rng: np.random.Generator) -> None:
    """Cut a file off, or fill a part of its head with noise."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        content = content[: int(rng.integers(0, len(content)))]
    else:
        content[:64] = rng.bytes(64)
    path.write_bytes(content)


def attempt(words: list[str], phase: str | None = None, delay: float = 0.0, number: int = signal.SIGKILL) -> End:
    """Run `archimed words...` in a process of its own; in a phase, after a delay, send it a signal."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        be_the_program(words, writing)
    os.close(writing)
    lines, spans, now, since = [], dict.fromkeys(PHASES, 0.0), "", time.monotonic()
    timer, sent, at = Timer(), 0.0, None
    for line in lines_until(reading, timer):
        if line is None:
            timer.due, sent, at = None, time.monotonic(), now or PHASES[0]
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
            continue
        lines.append(line)
        begun = next((one for one in PHASES if line.startswith(one)), None)
        if begun and begun != now:
            spans[now] = spans.get(now, 0.0) + time.monotonic() - since
            now, since = begun, time.monotonic()
            if begun == phase and at is None and timer.due is None:
                timer.due = time.monotonic() + delay
    os.close(reading)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    spans[now] = spans.get(now, 0.0) + time.monotonic() - since
    if code == 0:  # the signal came as it ended
        at = None
    return End(code, lines, spans, at, time.monotonic() - sent if sent else 0.0)


@dataclass
class Timer:
    """A moment by the monotonic clock; None where none is awaited."""

    due: float | None = None


def lines_until(reading: int, timer: Timer) -> Iterator[str | None]:
    """Lines of a pipe as they come; None at the moment that is due; ends with the pipe."""
    rest = b""
    while True:
        moment = timer.due
        wait = PATIENCE_SECONDS if moment is None else max(0.0, moment - time.monotonic())
        ready, _, _ = select.select([reading], [], [], wait)
        if not ready:
            if moment is None:
                raise SystemExit("A process said nothing for five minutes.")
            yield None
            continue
        piece = os.read(reading, 65536)
        if not piece:
            return
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def be_the_program(words: list[str], stderr: int) -> NoReturn:
    """The forked process: the command line, and nothing after it."""
    code: object = 1
    try:
        os.dup2(stderr, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)
        sys.argv = ["archimed", *words]
        main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
