"""The worker's side, wherever it is: makes its work from an order, and answers one item at a time."""

import pickle
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from archimed.errors import SettingsError
from archimed.processor import computing
from archimed.userfile import imported_files, load_file
from archimed.workers.limits import memory_limit, most_data, offer_to_be_ended

Work = Callable[[Any], Any]
Answered = tuple[Any, Exception | None]  # an answer, or what was raised


@dataclass(frozen=True)
class Order:
    """What makes a worker.

    Attributes:
        make_work: a pickled function that makes the work.
        threads: PyTorch threads.
        gib: memory that one piece may take, see `Crew`.
        files: the user's own files, which what is pickled comes from.
        path: where modules are looked for.
    """

    make_work: bytes
    threads: int
    gib: float | None
    files: tuple[str, ...]
    path: tuple[str, ...]


def write_order(make_work: Callable[[], Work], threads: int, gib: float | None) -> Order:
    """The order for some work.

    Raises:
        SettingsError: the work cannot be sent to another process.
    """
    try:
        pickled = pickle.dumps(make_work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise _not_sendable(error) from error
    files = tuple(file for name, file in imported_files().items() if name.encode() in pickled)
    return Order(pickled, threads, gib, files, tuple(sys.path))


class Desk:
    """One worker at its work.

    Raises:
        SettingsError: the work cannot be had in this process.
    """

    def __init__(self, order: Order) -> None:
        offer_to_be_ended()
        self._held = ExitStack()  # as long as the process lives
        self._held.enter_context(computing(order.threads))
        sys.path += [folder for folder in order.path if folder not in sys.path]
        for file in order.files:
            load_file(file)
        try:
            self._work: Work = pickle.loads(order.make_work)()  # noqa: S301 - written by the process that leads
        except (ImportError, AttributeError) as error:
            raise _not_sendable(error) from error
        self._held.enter_context(memory_limit(most_data(order.gib)))

    def answer(self, item: Any) -> Answered:
        """The answer to one item; what it raises is to be raised again by the process that leads."""
        try:
            return self._work(item), None
        except Exception as error:  # noqa: BLE001 - told, not hidden
            return None, sendable(error)


def sendable(error: Exception) -> Exception:
    """The error with a note on where it happened, or its text, if it cannot travel."""
    error.add_note(traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - whatever a foreign exception does when it is pickled
        return RuntimeError("".join(traceback.format_exception_only(error)).strip())
    return error


def _not_sendable(error: Exception) -> SettingsError:
    return SettingsError(
        "With several workers, the search space and the indicators must be importable by other processes; got "
        f"{type(error).__name__}: {error}. Search with --workers 1, or put them into an installed module."
    )
