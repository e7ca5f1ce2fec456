"""`--budget`: wall clock for the whole command, about a third for search and the rest for training.

When time is short, epochs are shortened equally for every network, then baselines are dropped in a stated order; each
leaves a caution. The plan is written to the run, so that a resumed run keeps it.
"""

import math
import time
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from archimed.errors import SettingsError
from archimed.files import read_json, write_json
from archimed.methods.baselines import DROP_ORDER

SEARCH_SHARE = 1 / 3
RESERVE_SHARE = 0.05  # evaluation and report
RESERVE_SECONDS = 10.0
LEAST_EPOCHS = 10  # fewer, and baselines are dropped first

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class TrainingPlan:
    """What of the training fits the budget: epochs for every network, and the baselines left out."""

    epochs: int
    dropped: tuple[str, ...]
    cautions: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Keep the plan with the run."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "TrainingPlan":
        """Read back what `write` wrote."""
        value = read_json(path)
        return cls(value["epochs"], tuple(value["dropped"]), tuple(value["cautions"]))


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
    return TrainingPlan(epochs, tuple(dropped), tuple(cautions))


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
