"""Tries the properties of `properties` on files drawn by Hypothesis: a few in the tests, or for as long as asked."""

import sys
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.trust.properties import TARGETS, Target

ROUND = 200  # examples of a target, before the next has its turn


def try_property(target: Target, folder: Path, examples: int, number: int | None = None) -> Counter[str]:
    """How many drawn inputs were read, and how many refused; the smallest that breaks the property is raised.

    Args:
        target: a reader, with what it is given and what must hold.
        folder: where files are written.
        examples: how many are drawn.
        number: the seed; None always draws the same.
    """
    tally = Counter[str]()

    @settings(
        max_examples=examples,
        derandomize=number is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        tally["read" if target(data, folder) else "refused"] += 1

    (holds if number is None else seed(number)(holds))()
    return tally


def fuzz(folder: Path, minutes: float, first: int) -> list[str]:
    """Give every reader its turn until the time is over; what broke a property, in one line for each."""
    until, number = time.monotonic() + 60 * minutes, first
    tally: dict[str, Counter[str]] = {name: Counter() for name in TARGETS}
    broken: dict[str, str] = {}
    while time.monotonic() < until and len(broken) < len(TARGETS):
        for name, target in TARGETS.items():
            if name in broken or time.monotonic() > until:
                continue
            try:
                tally[name] += try_property(target, folder, ROUND, number)
            except Exception as error:  # noqa: BLE001 - a finding, whatever it is
                broken[name] = f"{name}: {type(error).__name__}: {error} {getattr(error, '__notes__', '')}"
                sys.stderr.write(broken[name] + "\n")
        number += 1
    print("| reader | inputs read | refused |\n| --- | --- | --- |")
    for name, counts in tally.items():
        print(f"| {name} | {counts['read']:,} | {counts['refused']:,} |")
    print(f"\n{sum(one.total() for one in tally.values()):,} drawn inputs; {len(broken)} readers broken.")
    return list(broken.values())
