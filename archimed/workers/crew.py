"""Who works: how many workers, where, and what one piece of work may take."""

import math
from bisect import insort
from dataclasses import dataclass, field, replace

FIRST_SECONDS = 600.0  # before the usual time is known
LEAST_SECONDS = 60.0
TIMES_MEDIAN = 20.0  # candidates of one space differ by less
KNOWN = 3  # pieces that tell the usual time


@dataclass(frozen=True)
class Crew:
    """How work is spread.

    Attributes:
        workers: how many pieces are worked on at a time; one without a cluster is this process itself.
        cluster: address of a Ray cluster, `local` to start one on this machine, None for processes of this machine.
        seconds: what one piece may take; None adapts to those done (`TimeLimit`), infinity is no limit.
        gib: memory that one piece may take, on Linux and a CPU; None is what is free at the start, infinity no limit.
    """

    workers: int = 1
    cluster: str | None = None
    seconds: float | None = None
    gib: float | None = None

    @property
    def alone(self) -> bool:
        """Whether this process does all the work itself."""
        return self.workers == 1 and self.cluster is None

    def unlimited(self) -> "Crew":
        """The same crew for pieces that may take what they need."""
        return replace(self, seconds=math.inf, gib=math.inf)


@dataclass(frozen=True)
class Lost:
    """A piece of work that gave no answer: why, in words, and the seconds spent on it."""

    reason: str
    seconds: float


@dataclass
class TimeLimit:
    """How long one piece may take: `fixed`, or by the median of those done so far."""

    fixed: float | None
    _done: list[float] = field(default_factory=list)

    def add(self, seconds: float) -> None:
        """One more piece was done, in so many seconds."""
        if self.fixed is None:
            insort(self._done, seconds)

    @property
    def seconds(self) -> float:
        """The limit now; infinite if there is none."""
        if self.fixed is not None:
            return self.fixed
        if len(self._done) < KNOWN:
            return FIRST_SECONDS
        return max(LEAST_SECONDS, TIMES_MEDIAN * self._done[len(self._done) // 2])

    def lost(self, seconds: float) -> Lost:
        """The answer of a piece that took too long."""
        return Lost(
            f"it was ended after {self.seconds:.0f} s: --set machine.candidate_seconds=SECONDS gives more time", seconds
        )
