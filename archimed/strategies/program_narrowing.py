"""What bounds leave of DeepMAD's program: widths, depths and blocks with which a score can still reach a floor."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from archimed.strategies.program_bounds import Bounder, Oracle, Point, cheapest

MOST_PAIRS = 2_000_000  # widths and depths that are looked at one by one
MOST_OPTIONS = 200_000  # blocks that are left to the solver
TOLERANCE = 1e-6  # of bounds, for what rounding does to them
SAMPLE, ACTIVE = 1500, 30  # rows that the first prices, and those of exact bounds, are chosen by
STEPS, PAIR_STEPS = 60, 15  # calls of an oracle
CHUNK = 256  # rows whose exact bounds are worked out at a time
FEW_PAIRS = 30  # that are left as they are
ROUNDS = 60  # pairs whose own prices are tried on all others


@dataclass(frozen=True)
class Options:
    """Blocks of one stage, each in one choice of widths and depths.

    Attributes:
        choice: which, in order.
        before: channels that come in.
        form: column of `Tables.forms`.
        loss: of the bound, against the best of the same stage and choice.
    """

    choice: Int[np.ndarray, " option"]
    before: Int[np.ndarray, " option"]
    form: Int[np.ndarray, " option"]
    loss: Float[np.ndarray, " option"]


@dataclass(frozen=True)
class Remaining:
    """Widths and depths that may still hold the best structure, with the blocks that may be in it.

    Attributes:
        rows: numbers of rows of `Tables.stage_widths`, of each choice.
        depths: numbers of rows of `Tables.depths`, of each choice.
        options: of each stage, what its blocks may be.
    """

    rows: Int[np.ndarray, " choice"]
    depths: Int[np.ndarray, " choice"]
    options: tuple[Options, ...]


@dataclass
class Pairs:
    """Widths and depths, each pair with its lowest bound so far and the prices that gave it."""

    rows: Int[np.ndarray, " pair"]
    depths: Int[np.ndarray, " pair"]
    bounds: Float[np.ndarray, " pair"]
    points: Int[np.ndarray, " pair"]  # numbers of points

    def keep(self, kept: Bool[np.ndarray, " pair"]) -> "Pairs":
        """Some of them."""
        return Pairs(self.rows[kept], self.depths[kept], self.bounds[kept], self.points[kept])


@dataclass
class Narrowing:
    """Finds prices once and then narrows the program down to what may reach a floor.

    Attributes:
        bounder: gives the bounds.
        first: no structure with the widths of a row scores more.
        by_depths: no structure with a choice of depths scores more.
        point: the prices of exact bounds.
        scale: how large prices may be, about.
    """

    bounder: Bounder
    first: Float[np.ndarray, " row"] = field(init=False)
    by_depths: Float[np.ndarray, " depths"] = field(init=False)
    point: Point = field(init=False)
    scale: Point = field(init=False)

    def __post_init__(self) -> None:
        bounder, tables = self.bounder, self.bounder.tables
        rows, stages = tables.stage_widths, tables.stages
        unit = float(bounder.first(rows, bounder.prices(np.zeros(3))).max()) / 10
        self.scale = np.array([*(unit * np.isfinite(bounder.limits)), tables.gains(rows).max()])
        start = np.concatenate([self.scale, np.zeros(stages)])
        around = np.array([*self.scale, *[unit / 20] * stages])
        sample = rows[:: max(1, len(rows) // SAMPLE)]
        point = cheapest(Oracle(bounder, sample), start, around, STEPS)
        self.first = bounder.first(rows, bounder.prices(point))
        depths = bounder.depths(bounder.prices(point))
        self.by_depths = self.first.max() + depths - depths.max()
        best = rows[np.argsort(-self.first, kind="stable")[:ACTIVE]]
        every = np.arange(len(tables.depths))
        self.point = cheapest(
            Oracle(bounder, best, every[:: max(1, len(every) // SAMPLE)]), point[:3], self.scale / 3, STEPS
        )

    @property
    def top(self) -> float:
        """No structure scores more."""
        return float(self.first.max())

    def remaining(self, floor: float, spare: float = 0.0) -> Remaining | None:
        """All choices and blocks that may score at least the floor; None if they are too many to be solved.

        `spare` lets more blocks stay, those that may score so much less in the same choices.
        """
        pairs = self._pairs(floor)
        if pairs is None:
            return None
        points, pairs = self._tightened(pairs, floor)
        options = [self._options(stage, pairs, points, floor - spare) for stage in range(self.bounder.tables.stages)]
        if sum(len(found.choice) for found in options) > MOST_OPTIONS:
            return None
        return Remaining(pairs.rows, pairs.depths, tuple(options))

    def _pairs(self, floor: float) -> Pairs | None:
        """Widths and depths whose exact bounds at the common prices reach the floor."""
        bounder, tables = self.bounder, self.bounder.tables
        prices = bounder.prices(self.point)
        allowed = np.flatnonzero(self.first >= floor - TOLERANCE)
        depths = np.flatnonzero(self.by_depths >= floor - TOLERANCE)
        found, count = [], 0
        for start in range(0, len(allowed), CHUNK):
            rows = allowed[start : start + CHUNK]
            bounds = bounder.exact(tables.stage_widths[rows], depths, prices)
            row, column = np.nonzero(bounds >= floor - TOLERANCE)
            found.append((rows[row], depths[column], bounds[row, column]))
            count += len(row)
            if count > MOST_PAIRS:
                return None
        if not found:
            none = np.zeros(0, dtype=np.int64)
            return Pairs(none, none, np.zeros(0), none)
        rows, chosen, bounds = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Pairs(rows, chosen, bounds, np.zeros(len(rows), dtype=np.int64))

    def _tightened(self, pairs: Pairs, floor: float) -> tuple[list[Point], Pairs]:
        """The pairs that still reach the floor when the best prices of the highest of them are tried on all."""
        bounder, widths = self.bounder, self.bounder.tables.stage_widths
        points = [self.point]
        for _ in range(ROUNDS):
            if len(pairs.rows) <= FEW_PAIRS:
                break
            untried = np.where(pairs.points < 0, -np.inf, pairs.bounds)
            highest = int(untried.argmax())
            oracle = Oracle(bounder, widths[pairs.rows[[highest]]], pairs.depths[[highest]])
            points.append(cheapest(oracle, points[pairs.points[highest]], self.scale / 10, PAIR_STEPS))
            bounds = bounder.pairs(widths[pairs.rows], pairs.depths, bounder.prices(points[-1]))
            lower = bounds < pairs.bounds
            pairs.points[lower] = len(points) - 1
            pairs.bounds[lower] = bounds[lower]
            pairs = pairs.keep(pairs.bounds >= floor - TOLERANCE)
        return points, pairs

    def _options(self, stage: int, pairs: Pairs, points: list[Point], floor: float) -> Options:
        """The blocks of a stage that may be in a pair whose score reaches the floor."""
        bounder, tables = self.bounder, self.bounder.tables
        found = []
        for number in np.unique(pairs.points).tolist():
            choices = np.flatnonzero(pairs.points == number)
            unique, where = np.unique(pairs.rows[choices], return_inverse=True)
            line = bounder.lines(tables.stage_widths[unique], bounder.prices(points[number]))[stage]
            more = tables.depths[pairs.depths[choices], stage] - 1
            worth = line.one[where] + line.more[where] * more[:, None]
            slack = pairs.bounds[choices] - floor + TOLERANCE
            losses = worth.max(1)[:, None] - worth
            choice, option = np.nonzero(losses <= slack[:, None])
            found.append((choices[choice], option, losses[choice, option]))
        if not found:
            none = np.zeros(0, dtype=np.int64)
            return Options(none, none, none, np.zeros(0))
        choice, option, loss = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((loss, choice))
        choice, option, loss = choice[order], option[order], loss[order]
        if stage == 0:
            forms = tables.forms.logs.shape[1]
            return Options(choice, tables.stems[option // forms], option % forms, loss)
        before = tables.forms.widths[tables.stage_widths[pairs.rows[choice], stage - 1]]
        return Options(choice, before, option, loss)
