"""One way to spread work: serial in this process, over processes of this machine, or over a Ray cluster."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeVar

from archimed.errors import SettingsError
from archimed.processor import computing
from archimed.workers.crew import Crew, Lost, TimeLimit
from archimed.workers.desk import write_order
from archimed.workers.limits import TimeUpError, memory_limit, most_data, time_limit
from archimed.workers.processes import ProcessTeam
from archimed.workers.ray_cluster import connected, ray_team
from archimed.workers.team import Team, answers_in_order

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Answers = Callable[[Sequence[Item]], Generator[Answer | Lost, None, None]]


@contextmanager
def spread(
    make_work: Callable[[], Callable[[Item], Answer]],
    crew: Crew,
    threads: int,
    *,
    gpu: bool = False,
    spent: Callable[[Answer], bool] = lambda _: False,
) -> Iterator[Answers[Item, Answer]]:
    """A function that answers items in their order, lazily, with the same answers whoever works.

    A worker that dies loses only the item it had, which a fresh one tries once more and which then is `Lost`; so is one
    that takes too long, at once. Errors that are raised are raised here.

    Args:
        make_work: makes what answers an item, once per worker. Where other processes work it is sent to them, so it
            must be importable and picklable, e.g. `partial(TrainingFree, space, task, batch, indicators, seed)`.
        crew: who works, and what an item may take.
        threads: PyTorch threads of each worker; restored afterwards in this process.
        gpu: whether each worker of a cluster needs a GPU.
        spent: whether an answer tells that its worker has no memory left; a fresh one then tries once more.

    Raises:
        SettingsError: too few workers or threads, `make_work` cannot be sent, or there is no such cluster.
    """
    if min(crew.workers, threads) < 1:
        raise SettingsError(
            f"A search needs at least 1 worker and 1 thread; got {crew.workers} workers of {threads} threads. "
            "Set --workers and --threads to 1 or more."
        )
    limit = TimeLimit(crew.seconds)
    if crew.alone:
        with computing(threads):
            work, most = make_work(), most_data(crew.gib)
            yield lambda items: _alone(items, work, limit, most)
        return
    with team_of(make_work, crew, threads, gpu) as team:
        yield lambda items: answers_in_order(items, team, limit, spent)


@contextmanager
def held(crew: Crew, threads: int) -> Iterator[None]:
    """Keep the cluster of a crew, if it has one, over all that is spread within: connecting takes seconds."""
    if crew.cluster is None:
        yield
        return
    with connected(crew.cluster, crew.workers * threads):
        yield


@contextmanager
def team_of(make_work: Callable[[], Callable[[Any], Any]], crew: Crew, threads: int, gpu: bool) -> Iterator[Team]:
    """Other processes, here or on a cluster; all are ended afterwards."""
    order = write_order(make_work, threads, crew.gib)
    if crew.cluster is not None:
        with ray_team(order, crew.workers, crew.cluster, gpu) as actors:
            yield actors
        return
    with closing(ProcessTeam(order, crew.workers)) as processes:
        yield processes


def _alone(
    items: Sequence[Any], work: Callable[[Any], Any], limit: TimeLimit, most: int | None
) -> Generator[Any, None, None]:
    """Answer items one by one in this process."""
    for item in items:
        began = time.monotonic()
        try:
            with memory_limit(most), time_limit(limit.seconds):
                answer = work(item)
        except TimeUpError:
            answer = limit.lost(time.monotonic() - began)
        limit.add(time.monotonic() - began)
        yield answer
