"""A team of processes on this machine."""

import os
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from archimed.workers.desk import Desk, Order, sendable
from archimed.workers.team import Died

BEGUN = b"begun"


class ProcessTeam:
    """Processes with one item at a time (see `Team`)."""

    def __init__(self, order: Order, size: int) -> None:
        self.size = size
        self._order = order
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}
        self._since: dict[int, float] = {}
        self._inbox: dict[int, Any] = {}

    def begin(self, worker: int, item: Any) -> None:
        """Give an idle worker an item."""
        self._since.pop(worker, None)
        if worker not in self._workers:
            context = get_context("spawn")  # forked processes would hang on the locks of PyTorch's threads
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self._order), daemon=True)
            process.start()
            theirs.close()
            self._workers[worker] = process, ours
        with suppress(OSError):  # it died while idle: `ready` will find out
            self._workers[worker][1].send(item)

    def since(self, worker: int) -> float | None:
        """When it took up its item."""
        return self._since.get(worker)

    def ready(self, busy: Collection[int], timeout: float | None) -> list[int]:
        """Those that have answered or died."""
        pipes = {self._workers[worker][1]: worker for worker in busy}
        for pipe in wait(list(pipes), timeout):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                message = self._workers[worker][1].recv()
            except (EOFError, OSError):
                message = Died(self._end(worker))
            if message == BEGUN:
                self._since[worker] = time.monotonic()
            else:
                self._inbox[worker] = message
        return [worker for worker in busy if worker in self._inbox]

    def collect(self, worker: int) -> Any:
        """What it answered."""
        message = self._inbox.pop(worker)
        if isinstance(message, Died):
            return message
        answer, error = message
        if error is not None:
            raise error
        return answer

    def stop(self, worker: int) -> None:
        """End it."""
        self._inbox.pop(worker, None)
        if worker in self._workers:
            process, pipe = self._workers.pop(worker)
            pipe.close()
            process.kill()
            process.join()

    def close(self) -> None:
        """End all."""
        for worker in list(self._workers):
            self.stop(worker)

    def _end(self, worker: int) -> str:
        process = self._workers[worker][0]
        process.join(timeout=5.0)
        code = process.exitcode
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"exit code {code}"


def _serve(pipe: Connection, order: Order) -> None:
    """The life of a worker process: answer items until the process that leads is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the search ends its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the search is gone, and so are we
        try:
            desk = Desk(order)
        except Exception as error:  # noqa: BLE001 - raised again by `collect`
            pipe.send((None, sendable(error)))
            return
        while True:
            item = pipe.recv()
            pipe.send(BEGUN)
            pipe.send(desk.answer(item))


def _die_with_parent() -> None:
    """End this process with its parent, even within an item that hangs: nobody else may write where it writes."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
