"""Journals of searches that keep what they hear, and searches that are killed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from archimed.methods import bilevel_loop
from archimed.methods.bilevel_state import SearchFolder
from archimed.methods.protocol import Journal


class Killed(BaseException):
    """The end of the process."""


class Log:
    """A journal that keeps what it hears."""

    def __init__(self, folder: Path | None = None, stop: Callable[[], bool] = lambda: False) -> None:
        self.epochs: list[Mapping[str, Any]] = []
        self.said: list[str] = []
        self.told: list[tuple[float, float, str]] = []
        self.journal = Journal(
            folder=folder,
            stop=stop,
            progress=lambda *told: self.told.append(told),
            restore_epochs=lambda epochs: self.epochs.__setitem__(slice(None), list(epochs)),
            record_epoch=self.epochs.append,
            say=self.said.append,
        )


def timeless(epochs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(json.dumps({key: value for key, value in one.items() if key != "seconds"})) for one in epochs]


@dataclass
class Moments:
    """Counts the moments of a search; at the one numbered `last` it is killed."""

    last: int
    count: int = 0

    def step(self, *_: Any) -> None:
        self.count += 1
        if self.count == self.last:
            raise Killed

    @property
    def over(self) -> bool:
        return self.count >= self.last


@contextmanager
def killed_at(number: int) -> Iterator[Moments]:
    """Kill what is done inside at a moment: a file took its name, or `step` of what is given was called."""
    moments, rename = Moments(number), Path.replace

    def renamed(path: Path, target: Path) -> Path:
        result = rename(path, target)
        moments.step()
        return result

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(Path, "replace", renamed)
        yield moments


@contextmanager
def killed_after(epochs: int) -> Iterator[None]:
    """Kill a bilevel search once it has done so many epochs."""

    def finish(*_: Any) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchFolder, "finish", finish)
        patch.setattr(bilevel_loop._Search, "_is_over", lambda _, records: len(records) == epochs)
        with pytest.raises(Killed):
            yield
