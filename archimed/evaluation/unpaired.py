"""The difference of two results on different cases, from their intervals alone.

Zou and Donner, Construction of confidence limits about effect measures: a general approach, Statistics in Medicine 27
(2008): each limit of the difference is as far off as the two limits that push it that way, added as squares.
"""

from collections.abc import Mapping
from math import hypot
from typing import Any

from archimed.evaluation.intervals import IntervalRow


def difference(here: Mapping[str, Any], there: Mapping[str, Any]) -> IntervalRow:
    """One cell minus another one, with its interval; None where a cell lacks a value, or a limit.

    Args:
        here: `value`, `low` and `high` of one result.
        there: those of the other one, from cases that have nothing to do with the first.
    """
    row: IntervalRow = {"value": None, "low": None, "high": None}
    a, b = here.get("value"), there.get("value")
    if a is None or b is None:
        return row
    row["value"] = a - b
    limits = [cell.get(key) for cell in (here, there) for key in ("low", "high")]
    if None not in limits:
        low_a, high_a, low_b, high_b = limits
        row |= {"low": a - b - hypot(a - low_a, high_b - b), "high": a - b + hypot(high_a - a, b - low_b)}
    return row
