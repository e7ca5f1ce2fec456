"""`--budget`: wall clock for the whole command, about a third for search and the rest for training.

When time is short, epochs are shortened equally for every network, then baselines are dropped in a stated order; each
leaves a caution. The plan is written to the run, so that a resumed run keeps it.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from archimed.errors import SettingsError
from archimed.files import read_json, write_json
from archimed.methods.baselines import DROP_ORDER

SEARCH_SHARE = 1 / 3
RESERVE_SHARE = 0.05  # evaluation and report
RESERVE_SECONDS = 10.0
SHARE_OF_TRIALS = 0.005  # for each step that foretells an epoch
SURE = 0.9  # of the time for training is planned with: a few steps foretell an epoch to about a tenth
LEAST_EPOCHS = 10  # fewer, and baselines are dropped first

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class TrainingPlan:
    """What of the training fits the budget: epochs for every network, and the baselines left out.

    `epoch_seconds` are those the plan was made with, of each network that was kept.
    """

    epochs: int
    dropped: tuple[str, ...]
    cautions: tuple[str, ...]
    epoch_seconds: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Keep the plan with the run."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "TrainingPlan":
        """Read back what `write` wrote."""
        value = read_json(path)
        seconds = value.get("epoch_seconds", {})  # which older runs lack
        return cls(value["epochs"], tuple(value["dropped"]), tuple(value["cautions"]), seconds)

    def without(self, name: str) -> "TrainingPlan":
        """The plan with one more baseline left out, and said so."""
        told = f"The time budget ended before the baseline {name} could be trained."
        return replace(self, dropped=(*self.dropped, name), cautions=(*self.cautions, told))


@dataclass(frozen=True)
class TimeShare:
    """What one training may take: until when, by `time.monotonic`, and what one of its epochs was planned to take."""

    end: float
    epoch_seconds: float

    @classmethod
    def of(cls, left: float, epoch_seconds: Sequence[float]) -> "TimeShare":
        """The first of several trainings, whose epochs take so long, in so many seconds for all of them."""
        share = max(0.0, left) * epoch_seconds[0] / sum(epoch_seconds)
        return cls(time.monotonic() + share, epoch_seconds[0])

    @property
    def too_short(self) -> bool:
        """Whether not even half an epoch fits."""
        return self.end - time.monotonic() < self.epoch_seconds / 2

    def is_over(self, seconds: float) -> bool:
        """Whether the time is up, or most of another epoch of so many seconds would be beyond it."""
        return time.monotonic() + seconds / 2 > self.end


@dataclass
class Budget:
    """The clock of one command."""

    seconds: float | None
    searches: int = 1
    started: float = 0.0
    search_started: float = 0.0

    def __post_init__(self) -> None:
        self.started = self.search_started = time.monotonic()

    def begin_search(self) -> None:
        """Start the clock of one search."""
        self.search_started = time.monotonic()

    def stop_search(self) -> bool:
        """Whether the present search has used its share: the third divided by all searches of the run."""
        return self.seconds_left_for_search() < 0

    def seconds_left_for_search(self) -> float:
        """Until `stop_search` says so; infinite without a budget."""
        if self.seconds is None:
            return math.inf
        return self.seconds * SEARCH_SHARE / self.searches - (time.monotonic() - self.search_started)

    def left_for_training(self) -> float:
        """Seconds that training may still take."""
        reserve = max(RESERVE_SECONDS, (self.seconds or 0.0) * RESERVE_SHARE)
        return (self.seconds or 0.0) - (time.monotonic() - self.started) - reserve


def plan_training(
    seconds: float, seconds_per_epoch: dict[str, float], wanted_epochs: int, own: str = ""
) -> TrainingPlan:
    """Fit all trainings into the time left.

    Args:
        seconds: time left for training.
        seconds_per_epoch: of each network, all its data sets, folds and seeds together.
        wanted_epochs: of the recipe.
        own: name of the method's own network, which is never dropped.
    """
    kept = dict(seconds_per_epoch)
    dropped: list[str] = []
    affordable = [name for pattern in DROP_ORDER for name in kept if name != own and fnmatchcase(name, pattern)]
    while int(seconds / sum(kept.values())) < min(LEAST_EPOCHS, wanted_epochs) and affordable:
        dropped.append(affordable.pop(0))
        del kept[dropped[-1]]
    epochs = max(1, min(wanted_epochs, int(seconds / sum(kept.values()))))
    cautions = []
    if epochs < wanted_epochs:
        cautions.append(
            f"The time budget shortened every training from {wanted_epochs} to {epochs} epochs; more time may change "
            "the order of the networks."
        )
    if dropped:
        cautions.append(f"The time budget left no room for the baselines {', '.join(dropped)}.")
    return TrainingPlan(epochs, tuple(dropped), tuple(cautions), kept)


def parse_budget(text: str) -> float:
    """Seconds of a time span such as 90s, 10m, 2h or 1d.

    Raises:
        SettingsError: it is no time span.
    """
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "m")
    try:
        seconds = float(number) * UNITS[unit]
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise SettingsError(f"--budget takes a time such as 90s, 10m or 2h; got {text!r}.")
    return seconds
