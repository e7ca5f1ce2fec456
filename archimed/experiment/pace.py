"""How long a stage still takes, by when its units were done."""

from bisect import bisect_left

MOST_POINTS = 4096


class Pace:
    """Foretells the time left at the pace of the later half of what was done.

    Units grow dearer or cheaper as a search goes on, and the first ones pay for warming up, so the earlier half does
    not count; nor does what an interrupted run had done before.
    """

    def __init__(self) -> None:
        self._done: list[float] = []
        self._clock: list[float] = []

    def add(self, done: float, clock: float) -> None:
        """So many units were done at this time, in seconds of any clock."""
        if self._done and done <= self._done[-1]:
            self._clock[-1] = clock
            return
        if len(self._done) == MOST_POINTS:
            del self._done[1::2], self._clock[1::2]
        self._done.append(done)
        self._clock.append(clock)

    @property
    def seconds_per_unit(self) -> float | None:
        """The present pace; None before two points."""
        if len(self._done) < 2:
            return None
        half = bisect_left(self._done, (self._done[0] + self._done[-1]) / 2, hi=len(self._done) - 2)
        return (self._clock[-1] - self._clock[half]) / (self._done[-1] - self._done[half])

    def left(self, total: float) -> float | None:
        """Seconds until so many units are done; None before there is a pace, or if they are."""
        pace = self.seconds_per_unit
        if pace is None or self._done[-1] >= total:
            return None
        return (total - self._done[-1]) * pace
