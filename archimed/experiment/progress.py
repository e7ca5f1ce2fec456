"""What a run tells while it works; the command line shows it, the Python interface may stay silent."""

from typing import Protocol


class Observer(Protocol):
    """Hears of stages, of progress within them, and of what is worth a sentence."""

    def stage(self, name: str) -> None:
        """A stage begins, e.g. `search with mstf-nas, seed 0`."""
        ...

    def progress(self, done: float, total: float, note: str) -> None:
        """So many units of the present stage are done; the time left follows from the clock."""
        ...

    def say(self, sentence: str) -> None:
        """Something a person should know."""
        ...


class Silent:
    """Says nothing."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def progress(self, done: float, total: float, note: str) -> None:
        """Ignore it."""

    def say(self, sentence: str) -> None:
        """Ignore it."""
