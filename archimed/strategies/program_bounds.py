"""How high DeepMAD's program can score, choice by choice: Lagrangian bounds, which leave little to prove.

A price on MACs, on parameters and on missing log-width turns the budgets into costs; whatever the prices, no structure
within the budgets scores more than the best priced one. With the stages' widths fixed, what a log-width is worth is
fixed too, so the best block of each stage is found stage by stage. `first` bounds let the stages' depths disagree with
those that are penalised, at a price a block; `exact` bounds do not. Prices are chosen where the largest bound is least.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from archimed.strategies.program_tables import NEVER, Tables

Point = Float[np.ndarray, " price"]
Rows = Int[np.ndarray, "choice stage"]  # of `Tables.stage_widths`
Depths = Int[np.ndarray, " choice"]  # numbers of rows of `Tables.depths`
ENOUGH = 1e-4  # of the bound: steps that promise less end the search for prices


@dataclass(frozen=True)
class Prices:
    """What a unit costs, in units of the score.

    Attributes:
        mac: one multiply-accumulate.
        parameter: one learnable number.
        log_width: what a unit of log-width earns towards rho.
        blocks: what a block of each stage earns, and costs where depths are penalised.
    """

    mac: float
    parameter: float
    log_width: float
    blocks: Float[np.ndarray, " stage"]


@dataclass(frozen=True)
class Lines:
    """The priced worth of a stage as a line in its number of blocks, for each row and each option.

    An option is a form of a block, in the first stage a form for each width of the stem. What is not allowed is worth
    NEVER or less.
    """

    one: Float[np.ndarray, "choice option"]
    more: Float[np.ndarray, "choice option"]

    def worth(self, blocks: Int[np.ndarray, " depth"]) -> Float[np.ndarray, "choice depth"]:
        """Of the best option, for each number of blocks."""
        best: Float[np.ndarray, "choice depth"] = (self.one[:, :, None] + self.more[:, :, None] * (blocks - 1)).max(1)
        return best


@dataclass(frozen=True)
class Bounder:
    """Bounds of one set of tables."""

    tables: Tables

    @property
    def limits(self) -> tuple[float, float]:
        """MACs and parameters; infinite where open."""
        budgets = self.tables.program.budgets
        return float(budgets.macs or np.inf), float(budgets.parameters or np.inf)

    def prices(self, point: Point) -> Prices:
        """Prices at a point: what the budgets cost in all, what log-width earns, and, if told, what blocks earn."""
        mac, parameter = (cost / limit for cost, limit in zip(point[:2], self.limits, strict=True))
        blocks = point[3:] if len(point) > 3 else np.zeros(self.tables.stages)
        return Prices(mac, parameter, float(point[2]), blocks)

    def lines(self, rows: Rows, prices: Prices) -> list[Lines]:
        """The priced worth of every stage."""
        worth = self.tables.gains(rows) + prices.log_width
        first = [self._with_stem(rows, worth[:, 0], prices)]
        return first + [
            self._stage(stage, self.tables.forms.widths[rows[:, stage - 1]], rows[:, stage], worth[:, stage], prices)
            for stage in range(1, self.tables.stages)
        ]

    def constant(self, rows: Rows, prices: Prices) -> Float[np.ndarray, " choice"]:
        """What remains: the priced budgets, the stem's own log-width in all later entropies, the linear layer."""
        tables = self.tables
        spent = sum(
            price * limit
            for price, limit in zip((prices.mac, prices.parameter), self.limits, strict=True)
            if np.isfinite(limit)
        )
        outputs = tables.program.task.num_outputs
        head = tables.forms.widths[rows[:, -1]] * outputs * (prices.mac + prices.parameter)
        head = head + outputs * prices.parameter
        rest: Float[np.ndarray, " choice"] = (
            tables.stem_log_width * (tables.gains(rows)[:, 0] + prices.log_width) - head + spent
        )
        return rest

    def first(self, rows: Rows, prices: Prices) -> Float[np.ndarray, " choice"]:
        """No structure with these widths scores more."""
        most = self.tables.program.space.most_layers
        ends = np.array([1, most])
        stages = sum(line.worth(ends).max(1) for line in self.earning(rows, prices))
        bound: Float[np.ndarray, " choice"] = self.constant(rows, prices) + stages + self.depths(prices).max()
        return bound

    def exact(self, rows: Rows, depths: Depths, prices: Prices) -> Float[np.ndarray, "choice depths"]:
        """No structure with these widths and depths scores more; blocks have no price."""
        counts = np.arange(1, self.tables.program.space.most_layers + 1)
        total: Float[np.ndarray, "choice depths"] = (
            self.constant(rows, prices)[:, None] + self.depths(prices)[depths][None]
        )
        for stage, line in enumerate(self.lines(rows, prices)):
            total += line.worth(counts)[:, self.tables.depths[depths, stage] - 1]
        return total

    def pairs(self, rows: Rows, depths: Depths, prices: Prices) -> Float[np.ndarray, " pair"]:
        """The same for each row and the choice of depths beside it."""
        counts = np.arange(1, self.tables.program.space.most_layers + 1)
        unique, where = np.unique(rows, axis=0, return_inverse=True)
        total: Float[np.ndarray, " pair"] = self.constant(unique, prices)[where] + self.depths(prices)[depths]
        for stage, line in enumerate(self.lines(unique, prices)):
            total += line.worth(counts)[where, self.tables.depths[depths, stage] - 1]
        return total

    def earning(self, rows: Rows, prices: Prices) -> list[Lines]:
        """The worth of every stage with what its blocks earn."""
        lines = self.lines(rows, prices)
        return [Lines(line.one + price, line.more + price) for line, price in zip(lines, prices.blocks, strict=True)]

    def depths(self, prices: Prices) -> Float[np.ndarray, " depths"]:
        """What a choice of depths adds: penalty, log-width that it asks for, its blocks' price."""
        tables = self.tables
        worth: Float[np.ndarray, " depths"] = (
            -tables.penalties - prices.log_width * tables.least_log_widths - tables.depths @ prices.blocks
        )
        return worth

    def _stage(
        self,
        stage: int,
        before: Int[np.ndarray, " choice"],
        rows: Int[np.ndarray, " choice"],
        worth: Float[np.ndarray, " choice"],
        prices: Prices,
    ) -> Lines:
        tables, forms = self.tables, self.tables.forms
        width, enter, rest = forms.widths[rows], forms.enter[rows], forms.rest[rows]
        weight = prices.mac * tables.positions[stage + 1] + prices.parameter
        entering = prices.mac * tables.entering(stage) + prices.parameter
        norms = prices.parameter * forms.norms[rows]
        shortcut = np.where(
            tables.strided[stage] | (before != width), before * width * weight + 2 * width * prices.parameter, 0.0
        )
        logs = worth[:, None] * forms.logs[rows]
        one = logs + (worth * np.log(before) - shortcut)[:, None]
        one -= entering * before[:, None] * enter + weight * rest + norms
        more = worth * np.log(width)
        return Lines(one, logs + more[:, None] - weight * (width[:, None] * enter + rest) - norms)

    def _with_stem(self, rows: Rows, worth: Float[np.ndarray, " choice"], prices: Prices) -> Lines:
        """The first stage, for each width of the stem."""
        tables, growth = self.tables, self.tables.program.most_growth
        width = tables.forms.widths[rows[:, 0]]
        found = []
        for stem in tables.stems.tolist():
            line = self._stage(0, np.full(len(rows), stem), rows[:, 0], worth, prices)
            own = tables.scale_weights[0] * np.log(stem * tables.positions[0]) * tables.stem_log_width
            own -= stem * tables.stem_weights * (prices.mac * tables.positions[0] + prices.parameter)
            own -= 2 * stem * prices.parameter
            allowed = (stem <= width) & (width <= growth * stem)
            found.append(Lines(np.where(allowed[:, None], line.one + own, NEVER), line.more))
        return Lines(np.concatenate([one.one for one in found], 1), np.concatenate([one.more for one in found], 1))


@dataclass(frozen=True)
class Oracle:
    """The largest bound of some rows as a function of the prices, which is convex.

    Attributes:
        bounder: gives the bounds.
        rows: of `Tables.stage_widths`.
        choices: the choices of depths of exact bounds; None: first bounds.
    """

    bounder: Bounder
    rows: Rows
    choices: Depths | None = None

    def __call__(self, point: Point) -> tuple[float, Point]:
        """The largest bound at a point and its slope along each price."""
        bounder, prices = self.bounder, self.bounder.prices(point)
        if self.choices is not None:
            totals = bounder.exact(self.rows, self.choices, prices)
            row, column = np.unravel_index(totals.argmax(), totals.shape)
            depths = self.choices[column]
            bound, counts = float(totals[row, column]), bounder.tables.depths[depths][:, None]
        else:
            totals = bounder.first(self.rows, prices)
            row, depths = totals.argmax(), bounder.depths(prices).argmax()
            ends = np.array([1, bounder.tables.program.space.most_layers])
            bound, counts = float(totals[row]), np.tile(ends, (bounder.tables.stages, 1))
        chosen = [
            np.unravel_index(worth.argmax(), worth.shape)
            for line, own in zip(bounder.earning(self.rows[row : row + 1], prices), counts, strict=True)
            for worth in [line.one[0][:, None] + line.more[0][:, None] * (own - 1)]
        ]

        def bound_there(other: Point) -> float:
            """Of the same choices at other prices."""
            there = bounder.prices(other)
            lines = bounder.earning(self.rows[row : row + 1], there)
            stages = (
                line.one[0, option] + line.more[0, option] * (own[end] - 1)
                for line, own, (option, end) in zip(lines, counts, chosen, strict=True)
            )
            constant = bounder.constant(self.rows[row : row + 1], there)[0]
            return float(constant + sum(stages) + bounder.depths(there)[depths])

        base = bound_there(np.zeros_like(point))
        slopes = [bound_there(unit) - base for unit in np.eye(len(point))]
        return bound, np.array(slopes)


def cheapest(oracle: Callable[[Point], tuple[float, Point]], start: Point, scale: Point, steps: int) -> Point:
    """The prices at which a convex function is about least: cutting planes within a region that is trusted.

    Args:
        oracle: value and slope at a point.
        start: the first point.
        scale: how far along each price one may look at first; a price of scale 0 stays.
        steps: calls of the oracle at most.
    """
    from scipy.optimize import linprog

    free = scale > 0
    value, slope = oracle(start)
    best, region = (value, start), 1.0
    planes = [(start, value, slope)]
    for _ in range(steps):
        low, high = best[1] - region * scale, best[1] + region * scale
        low[:3] = np.maximum(low[:3], 0.0)
        found = linprog(
            [*np.zeros(free.sum()), 1.0],
            A_ub=[[*(slope * scale)[free], -1.0] for _, _, slope in planes],
            b_ub=[slope @ (point - start) - value for point, value, slope in planes],
            bounds=[
                *zip(((low - start)[free] / scale[free]), (high - start)[free] / scale[free], strict=True),
                (None, None),
            ],
        )
        if found.x is None or best[0] - found.x[-1] < ENOUGH * abs(best[0]):
            break
        point = start.copy()
        point[free] += found.x[:-1] * scale[free]
        value, slope = oracle(point)
        planes.append((point, value, slope))
        promised, kept = best[0] - found.x[-1], best[0] - value
        region *= 1.5 if kept > 0.5 * promised else 1.0 if kept > 0 else 0.7
        if kept > 0:
            best = (value, point)
    return best[1]
