"""Tracking of a run: an observer beside the user's own that tells trackers what the run's logs gained."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from archimed.experiment.progress import Observer
from archimed.experiment.workbench import Workbench
from archimed.runs import RunDirectory
from archimed.runs.points import RunPoints, tracked_settings
from archimed.runs.trackers import Mlflow, TensorBoard, Tracker

SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True)
class Tracking:
    """Where a run is tracked besides its own files.

    Attributes:
        tensorboard: whether event files are written to `tensorboard/` in the run's folder.
        mlflow: the address of an MLflow server or database; None for none.
    """

    tensorboard: bool = False
    mlflow: str | None = None

    def trackers(self, run: RunDirectory) -> list[Tracker]:
        """The trackers of a run, ready to begin.

        Raises:
            SettingsError: a package is missing, or the address is wrong.
        """
        found: list[Tracker] = [TensorBoard(run)] if self.tensorboard else []
        if self.mlflow is not None:
            server = Mlflow(run, self.mlflow)
            server.connect()
            found.append(server)
        return found


UNTRACKED = Tracking()


class Tracked:
    """Passes on what it hears, and now and then tells trackers what the run's logs have gained.

    A tracker that fails is let go with a sentence: the run matters more.
    """

    def __init__(self, observer: Observer, run: RunDirectory, trackers: Sequence[Tracker]) -> None:
        self.observer, self.points = observer, RunPoints(run)
        self.trackers = list(trackers)
        self.looked = float("-inf")
        settings = tracked_settings(run.read_experiment())
        self._tell(lambda tracker: tracker.begin(settings))

    def stage(self, name: str) -> None:
        """A stage begins."""
        self.observer.stage(name)
        self.look()

    def progress(self, done: float, total: float, note: str) -> None:
        """So many units are done."""
        self.observer.progress(done, total, note)
        if time.monotonic() - self.looked > SECONDS_BETWEEN_LOOKS:
            self.look()

    def say(self, sentence: str) -> None:
        """Something a person should know."""
        self.observer.say(sentence)

    def look(self) -> None:
        """Tell the trackers what is new."""
        points = self.points.fresh()
        if points:
            self._tell(lambda tracker: tracker.write(points))
        self.looked = time.monotonic()

    def close(self, finished: bool) -> None:
        """Tell what is left, and that this process is done."""
        self.look()
        self._tell(lambda tracker: tracker.close(finished))

    def _tell(self, message: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                message(tracker)
            except Exception as error:  # noqa: BLE001 - of a server or a disk that is not the run's
                self.trackers.remove(tracker)
                self.observer.say(
                    f"{type(tracker).__name__} failed and hears no more of this run, which goes on: "
                    f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                )


@contextmanager
def tracked(bench: Workbench, trackers: Sequence[Tracker]) -> Iterator[None]:
    """Let trackers hear of the work on a run whose settings are written; without any nothing changes."""
    if not trackers:
        yield
        return
    own, finished = bench.observer, False
    bench.observer = tracking = Tracked(own, bench.run, trackers)
    try:
        yield
        finished = True
    finally:
        tracking.close(finished)
        bench.observer = own
