"""Spreads the genotypes of a population over processes on this machine."""

import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import torch

from archimed.candidate import Measurements
from archimed.errors import SettingsError
from archimed.evaluators.protocol import Evaluate
from archimed.genotype import Genotype

MakeEvaluate = Callable[[], Evaluate]
ATTEMPTS = 2  # a worker may die of its neighbours' memory, so its candidate is tried once more
GIVEN_UP = Measurements(
    {}, 0.0, f"its worker process died {ATTEMPTS} times, most likely for want of memory: use fewer --workers"
)


@contextmanager
def spread(make_evaluate: MakeEvaluate, workers: int, threads: int) -> Iterator[Evaluate]:
    """An evaluator that measures on several processes, in order, with the same results for any number of them.

    A worker process that dies loses only the candidate it had, which is tried once more by a fresh process and then
    given up with a reason. With one worker everything happens in this process.

    Args:
        make_evaluate: makes the evaluator of one worker. With several workers it is sent to fresh processes, so it
            must be importable and picklable, e.g. `partial(TrainingFree, space, task, batch, indicators, seed)`.
        workers: processes, at least 1.
        threads: PyTorch threads of each; restored afterwards in this process.

    Raises:
        SettingsError: `workers` or `threads` is below 1, or `make_evaluate` cannot be sent to another process.
    """
    if min(workers, threads) < 1:
        raise SettingsError(
            f"A search needs at least 1 worker and 1 thread; got {workers} workers of {threads} threads. "
            "Set --workers and --threads to 1 or more."
        )
    if workers == 1:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield make_evaluate()
        finally:
            torch.set_num_threads(before)
        return
    try:
        pickled = pickle.dumps(make_evaluate)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _not_sendable(error) from error
    team = [_Worker(pickled, threads) for _ in range(workers)]
    try:
        yield lambda genotypes: _measure_in_order(genotypes, team)
    finally:
        for worker in team:
            worker.stop()


def _measure_in_order(genotypes: Sequence[Genotype], team: "Sequence[_Worker]") -> Generator[Measurements, None, None]:
    """Hand out genotypes as workers fall idle; yield results as far as they are complete from the first on."""
    todo = deque(range(len(genotypes)))
    deaths = [0] * len(genotypes)
    results: dict[int, Measurements] = {}
    try:
        for row in range(len(genotypes)):
            while row not in results:
                for worker in team:
                    if worker.row is None and todo:
                        next_row = todo.popleft()
                        worker.begin(next_row, genotypes[next_row])
                for busy, result in _wait_for_some(team):
                    deaths[busy] += result is None
                    if result is not None or deaths[busy] == ATTEMPTS:
                        results[busy] = result or GIVEN_UP
                    else:
                        todo.appendleft(busy)
            yield results.pop(row)
    finally:
        for worker in team:
            if worker.row is not None:  # nobody waits for this answer: it must not be taken for the next one
                worker.stop()


def _wait_for_some(team: "Sequence[_Worker]") -> list[tuple[int, Measurements | None]]:
    """The rows that were finished next, with their results; None where the worker died."""
    ready = wait([worker.pipe for worker in team if worker.pipe is not None and worker.row is not None])
    return [(worker.row, worker.collect()) for worker in team if worker.row is not None and worker.pipe in ready]


class _Worker:
    """One process that measures one genotype at a time; started when needed, and afresh after its death."""

    def __init__(self, make_evaluate: bytes, threads: int) -> None:
        self.row: int | None = None  # what it is busy with
        self.pipe: Connection | None = None
        self._process: BaseProcess | None = None
        self._arguments = (make_evaluate, threads)

    def begin(self, row: int, genotype: Genotype) -> None:
        if self.pipe is None:
            context = get_context("spawn")  # forked processes would hang on the locks of PyTorch's threads
            self.pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
            self._process.start()
            theirs.close()
        self.row = row
        with suppress(OSError):  # it died while idle: `collect` will find out
            self.pipe.send(genotype)

    def collect(self) -> Measurements | None:
        """What it measured; None if it died over it. Raises what was raised there."""
        self.row = None
        try:
            answer = self.pipe.recv() if self.pipe is not None else None
        except (EOFError, OSError):
            answer = None
        if answer is None:
            self.stop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self.pipe is not None and self._process is not None:
            self.pipe.close()
            self._process.terminate()
            self._process.join()
        self.row, self.pipe, self._process = None, None, None


def _serve(pipe: Connection, make_evaluate: bytes, threads: int) -> None:
    """The life of a worker process: answer genotypes with measurements, or with the error that ends the search."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the search ends its workers
    torch.set_num_threads(threads)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the search is gone, and so are we
        try:
            evaluate: Evaluate = pickle.loads(make_evaluate)()  # noqa: S301 - written by our own parent
        except (ImportError, AttributeError) as error:
            pipe.send(_not_sendable(error))
            return
        while True:
            genotype = pipe.recv()
            try:
                answer: Measurements | Exception = next(iter(evaluate([genotype])))
            except Exception as error:  # noqa: BLE001 - raised again by `collect`
                error.add_note(traceback.format_exc())  # of this process, where it happened
                answer = error
            pipe.send(answer)


def _not_sendable(error: Exception) -> SettingsError:
    return SettingsError(
        "With several workers, the search space and the indicators must be importable by other processes; got "
        f"{type(error).__name__}: {error}. Search with --workers 1, or put them into an installed module."
    )
