"""Stops a run at a step, by number or name (a file took its name, a line of a log, progress told), or its workers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from archimed.experiment import train_stage
from archimed.experiment.progress import Silent
from archimed.workers import Lost


class Interrupted(BaseException):
    """Like the end of the process: nothing in the program catches it."""


@contextmanager
def dying_workers(*_arguments: Any, **_more: Any) -> Iterator[Any]:
    """Stands for `spread` where every worker dies over its piece, again and again."""
    yield lambda items: iter([Lost("its worker died 2 times", 0.0) for _ in items])


class Steps(Silent):
    """Counts the steps of a run; at step `stop`, or the first so called, it raises Interrupted, and ever after."""

    def __init__(self, stop: int | str | None = None) -> None:
        self.stop = stop
        self.names: list[str] = []

    def step(self, name: str) -> None:
        self.names.append(name)
        if isinstance(self.stop, str) and name.startswith(self.stop):
            self.stop = len(self.names)
        if isinstance(self.stop, int) and len(self.names) >= self.stop:
            raise Interrupted(name)

    def stage(self, name: str) -> None:
        self.step(f"told stage {name}")

    def progress(self, done: float, total: float, note: str) -> None:
        self.step(f"told {done} of {total} {note}")

    def say(self, sentence: str) -> None:
        self.step(f"said {sentence[:20]}")


@contextmanager
def files_watched(steps: Steps) -> Iterator[None]:
    """Make every rename of a file and every line of a log a step; a line is cut off in its middle."""
    replace, append = Path.replace, Path.open

    def watched_replace(path: Path, target: Path) -> Path:
        result = replace(path, target)
        steps.step(f"renamed {target.name}")
        return result

    def watched_open(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = append(path, mode, *rest, **named)
        return TornFile(file, steps, path.name) if mode == "a" and path.suffix == ".jsonl" else file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", watched_replace)
        patch.setattr(Path, "open", watched_open)
        yield


class TornFile:
    """A file whose write can be interrupted half-way."""

    def __init__(self, file: Any, steps: Steps, name: str) -> None:
        self.file, self.steps, self.name = file, steps, name

    def __enter__(self) -> "TornFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        self.file.write(text[: len(text) // 2])
        self.steps.step(f"half a line of {self.name}")
        self.file.write(text[len(text) // 2 :])


def interrupted_at(stop: int | str | None, work: Callable[[Steps], object]) -> Steps:
    """Do the work until its step `stop`, or the first whose name begins so; to its end without such a step."""
    steps = Steps(stop)
    with files_watched(steps), suppress(Interrupted):
        work(steps)
    return steps


@contextmanager
def interrupted_training(number: int) -> Iterator[None]:
    """Ctrl-C as the training of that number begins, counted from 1."""
    train = train_stage.train_one
    begun = count(1)

    def watched(*arguments: Any) -> None:
        if next(begun) == number:
            raise KeyboardInterrupt
        train(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_stage, "train_one", watched)
        with pytest.raises(KeyboardInterrupt):
            yield
