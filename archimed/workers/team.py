"""Hands items out to a team of workers and yields the answers in order; deaths and delays cost one item each."""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from archimed.workers.crew import Lost, TimeLimit

ATTEMPTS = 2  # a worker may die of its neighbours' memory, so its item is tried once more


@dataclass(frozen=True)
class Died:
    """A worker that is gone: how, in words."""

    how: str


class Team(Protocol):
    """Workers by number, each with one item at a time; started when needed, and afresh after their end."""

    @property
    def size(self) -> int:
        """How many workers there are."""
        ...

    def begin(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""
        ...

    def since(self, worker: int) -> float | None:
        """When a busy worker took up its item, by `time.monotonic`; None while it is still starting."""
        ...

    def ready(self, busy: Collection[int], timeout: float | None) -> list[int]:
        """Those busy workers that have answered or died; waits for one, at most so many seconds, maybe less."""
        ...

    def collect(self, worker: int) -> Any:
        """What a ready worker answered, `Died` if it is gone. Raises what was raised there."""
        ...

    def stop(self, worker: int) -> None:
        """End a worker, whatever it is doing."""
        ...


def answers_in_order(
    items: Sequence[Any], team: Team, limit: TimeLimit, spent: Callable[[Any], bool]
) -> Generator[Any, None, None]:
    """Hand out items as workers fall idle; yield answers, or `Lost`, as far as they are complete from the first on.

    Args:
        items: what to answer.
        team: all of it idle.
        limit: of the time for one item; a worker that is over it is ended, and its item lost.
        spent: whether an answer tells that the worker has no memory left; then a fresh one tries again, once.
    """
    todo, idle = deque(range(len(items))), deque(range(team.size))
    busy: dict[int, int] = {}  # worker -> row
    failures = [0] * len(items)
    answers: dict[int, Any] = {}
    try:
        for row in range(len(items)):
            while row not in answers:
                while idle and todo:
                    worker = idle.popleft()
                    busy[worker] = todo.popleft()
                    team.begin(worker, items[busy[worker]])
                for worker in team.ready(busy, _patience(busy, team, limit)):
                    of, began = busy.pop(worker), team.since(worker)
                    idle.appendleft(worker)  # which is warm
                    seconds = 0.0 if began is None else time.monotonic() - began
                    answer = team.collect(worker)
                    failed = isinstance(answer, Died) or spent(answer)
                    failures[of] += failed
                    if failed:
                        team.stop(worker)
                    if failed and failures[of] < ATTEMPTS:
                        todo.appendleft(of)
                        continue
                    limit.add(seconds)
                    answers[of] = _gone(answer, seconds) if isinstance(answer, Died) else answer
                for worker, seconds in _overdue(busy, team, limit):
                    answers[busy.pop(worker)] = limit.lost(seconds)
                    team.stop(worker)
                    idle.append(worker)
            yield answers.pop(row)
    finally:
        for worker in busy:  # nobody waits for these answers: they must not be taken for the next ones
            team.stop(worker)


def _patience(busy: Collection[int], team: Team, limit: TimeLimit) -> float | None:
    """Seconds until the first of the busy workers is overdue; None if that never happens."""
    if limit.fixed == float("inf"):
        return None
    begun = [began for worker in busy if (began := team.since(worker)) is not None]
    return max(0.0, min(begun) + limit.seconds - time.monotonic()) if begun else None


def _overdue(busy: Collection[int], team: Team, limit: TimeLimit) -> list[tuple[int, float]]:
    """Busy workers that are over the limit, with the seconds they took."""
    if limit.fixed == float("inf"):
        return []
    now = time.monotonic()
    taken = [(worker, now - began) for worker in busy if (began := team.since(worker)) is not None]
    return [(worker, seconds) for worker, seconds in taken if seconds >= limit.seconds]


def _gone(died: Died, seconds: float) -> Lost:
    return Lost(
        f"its worker died {ATTEMPTS} times ({died.how}), most likely for want of memory: use fewer --workers", seconds
    )
