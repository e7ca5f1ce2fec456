"""One search that learnt a mixture, as its figures need it, and what they share: scales of epochs, the epoch picked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from archimed.report.figures.canvas import Scale, line, text
from archimed.report.reading import Record, number


@dataclass(frozen=True)
class MixtureLog:
    """One search that learnt a mixture, in one fold and for one seed.

    Attributes:
        name: the search.
        place: its fold and seed, in words; empty where a run has one search only.
        epochs: the lines of its log.
        picked: the epoch from which the network was derived.
        weights: of each mixed choice the weights [epoch][option], softmax of alpha.
        options: of each mixed choice.
        chosen: the option that the derived network has on a mixed choice; without those it left out.
        inputs: of each cell the names of its inputs, where they are known.
        spatial_dims: 2 or 3.
        stage: of a search in several, counted from 1; 0 where there is one.
        key: which search it is.
    """

    name: str
    place: str
    epochs: tuple[Record, ...]
    picked: float | None
    weights: Mapping[str, Sequence[Sequence[float]]]
    options: Mapping[str, tuple[str, ...]]
    chosen: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spatial_dims: int = 2
    stage: int = 0
    key: tuple[str, ...] = ()

    @property
    def cells(self) -> dict[str, list[str]]:
        """The mixed choices of each cell; of choices without a cell one part."""
        found: dict[str, list[str]] = {}
        for name in self.weights:
            found.setdefault(name.partition(".")[0] if "." in name else "network", []).append(name)
        return found

    @property
    def shown(self) -> int:
        """The position of the epoch picked, else of the last."""
        numbers = [epoch.get("epoch") for epoch in self.epochs]
        return numbers.index(self.picked) if self.picked in numbers else len(numbers) - 1

    def kept(self, choice: str) -> tuple[str, ...]:
        """The options that the derived network has on a mixed choice; of kinds of cell there may be several."""
        return tuple(self.chosen[choice].split("+")) if choice in self.chosen else ()

    def edge_words(self, choice: str) -> str:
        """An edge in a few words: "PET stem → node 1"; of a choice between kinds of cell, where they stand."""
        if found := re.fullmatch(r"type\.d(\d+)\.l(\d+)", choice):
            return f"row {found[1]}, layer {found[2]}"
        cell, _, rest = choice.partition(".")
        target, _, source = rest.partition(".")
        if not source:
            return choice
        named = dict(zip((f"input{k}" for k in range(1, 9)), self.inputs.get(cell, ()), strict=False))
        return " → ".join(named.get(state) or re.sub(r"(?<=[a-z])(?=\d)", " ", state) for state in (source, target))


def epoch_scale(epochs: Sequence[Record], start: float, stop: float) -> Scale:
    """The scale of epochs, never empty."""
    numbers = [number(epoch.get("epoch")) or float(place) for place, epoch in enumerate(epochs, start=1)]
    first, last = min(numbers, default=1.0), max(numbers, default=1.0)
    low, high = (first, last) if last > first else (last - 1, last + 1)
    return Scale(low, high, start, stop, whole=True)


def picked_line(log: MixtureLog, scale: Scale, top: float, bottom: float, *, words: bool = True) -> str:
    """A dashed line at the epoch picked, with its number in words."""
    if log.picked is None or not scale.low <= log.picked <= scale.high:
        return ""
    x = scale(log.picked)
    left = x > (scale.start + scale.stop) / 2
    side = (x - 6, "tick halo end") if left else (x + 6, "tick halo")
    name = text(side[0], bottom - 8, f"epoch {log.picked:.0f}", side[1]) if words else ""
    return line((x, top), (x, bottom), "marker") + name


def marked(log: MixtureLog) -> str:
    """What the dashed line is."""
    if log.picked is None:
        return ""
    what = "the network was derived" if log.chosen or not log.stage else "the next stage was made"
    return f"The dashed line marks the epoch from which {what}."


def placed(log: MixtureLog) -> str:
    """The stage, fold and seed at the end of a title."""
    words = ", ".join(part for part in (f"stage {log.stage}" if log.stage else "", log.place) if part)
    return f" ({words})" if words else ""
