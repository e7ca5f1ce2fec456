"""A team of actors on a Ray cluster.

Ray starts nothing that talks to the network of its own accord: no dashboard, no usage statistics, and no copy of the
working folder is sent anywhere. What is sent to the nodes is the order: the evaluator with its mini-batch of images.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Any

from archimed.errors import SettingsError
from archimed.workers.desk import Answered, Desk, Order, sendable
from archimed.workers.team import Died

LOCAL = "local"
STORE = 2**27  # bytes of the object store of a cluster here; an order that is larger lies on the disk
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # which would send the working folder
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_raylet_start_wait_time_s": "300",  # of a busy machine
}


@contextmanager
def connected(cluster: str, processors: int) -> Iterator[Any]:
    """Connect to a cluster, or start one here with so many processors; gives Ray, and ends what was begun here.

    Raises:
        SettingsError: Ray is not installed, or there is no such cluster.
    """
    ray = ray_library()
    ours = not ray.is_initialized()
    if ours:
        with _own_signal_handlers():
            _connect(ray, cluster, processors)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def ray_team(order: Order, size: int, cluster: str, gpu: bool) -> Iterator["RayTeam"]:
    """A team on a cluster, by the connection there is or one of its own.

    Raises:
        SettingsError: as `connected`, or the cluster has too few processors.
    """
    with connected(cluster, size * order.threads) as ray:
        _check_size(ray, size, order.threads)
        with closing(RayTeam(ray, order, size, gpu)) as team:
            yield team


def ray_library() -> Any:
    """The library.

    Raises:
        SettingsError: it is not installed.
    """
    os.environ.update(QUIET)  # read when it is imported
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        import ray
    except ImportError:
        raise SettingsError(
            "--cluster needs Ray, which is not installed. Install it with: pip install 'archimed[cluster]'"
        ) from None
    return ray


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put back what Ray puts in place of this program's own ways to end."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in zip(numbers, handlers, strict=True):
                signal.signal(number, handler)


def _connect(ray: Any, cluster: str, processors: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if cluster == LOCAL:
        here = {"num_cpus": processors, "include_dashboard": False, "object_store_memory": STORE}
        ray.init(address=LOCAL, **here, **quiet)
        return
    try:
        ray.init(address=cluster, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"--cluster takes the address of a Ray cluster, auto or local; {cluster!r} cannot be reached: {told} "
            "Start one with: ray start --head --include-dashboard=false --disable-usage-stats"
        ) from error


def _check_size(ray: Any, size: int, threads: int) -> None:
    processors = ray.cluster_resources().get("CPU", 0)
    if processors < size * threads:
        raise SettingsError(
            f"Every worker needs its processors; {size} workers of {threads} threads want {size * threads}, and the "
            f"cluster has {processors:.0f}. Use --workers {max(1, int(processors // threads))}, fewer --threads, or "
            "add nodes."
        )


class RayTeam:
    """Actors with one item at a time (see `Team`)."""

    def __init__(self, ray: Any, order: Order, size: int, gpu: bool) -> None:
        self.size = size
        self._ray = ray
        self._order = ray.put(order)
        options = {"num_cpus": order.threads, "max_restarts": 0, "max_task_retries": 0, "num_gpus": int(gpu)}
        self._actor = ray.remote(_Actor).options(**options)
        self._actors: dict[int, Any] = {}
        self._starting: dict[int, Any] = {}
        self._answers: dict[int, Any] = {}
        self._since: dict[int, float] = {}

    def begin(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""
        self._since.pop(worker, None)
        if worker not in self._actors:
            self._actors[worker] = self._actor.remote(self._order)
            self._starting[worker] = self._actors[worker].ready.remote()
        else:
            self._since[worker] = time.monotonic()
        self._answers[worker] = self._actors[worker].answer.remote(item)

    def since(self, worker: int) -> float | None:
        """When it took up its item."""
        return self._since.get(worker)

    def ready(self, busy: Collection[int], timeout: float | None) -> list[int]:
        """Those that have answered or died."""
        waited = {self._starting.get(worker, self._answers[worker]): worker for worker in busy}
        if not waited:
            return []
        done, rest = self._ray.wait(list(waited), num_returns=1, timeout=timeout, fetch_local=False)
        if done and rest:
            done += self._ray.wait(rest, num_returns=len(rest), timeout=0, fetch_local=False)[0]
        found = []
        for reference in done:
            worker = waited[reference]
            if self._starting.pop(worker, None) is None:
                found.append(worker)
            else:
                self._since[worker] = time.monotonic()
        return found

    def collect(self, worker: int) -> Any:
        """What it answered."""
        try:
            answer, error = self._ray.get(self._answers.pop(worker))
        except self._ray.exceptions.RayError as gone:
            return Died(f"{type(gone).__name__} on the cluster")
        if error is not None:
            raise error
        return answer

    def stop(self, worker: int) -> None:
        """End it."""
        self._starting.pop(worker, None)
        self._answers.pop(worker, None)
        if worker in self._actors:
            self._ray.kill(self._actors.pop(worker))

    def close(self) -> None:
        """End all."""
        for worker in list(self._actors):
            self.stop(worker)


class _Actor:
    """The life of a worker on the cluster."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._desk: Desk | None = None
        self._failure: Exception | None = None

    def ready(self) -> None:
        """Prepare; a failure is the answer to the first item."""
        try:
            self._desk = Desk(self._order)
        except Exception as error:  # noqa: BLE001 - raised again by `collect`
            self._failure = sendable(error)

    def answer(self, item: Any) -> Answered:
        """The answer to one item."""
        return (None, self._failure) if self._desk is None else self._desk.answer(item)
