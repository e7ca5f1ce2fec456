"""`make trust`, or `python -m tests.trust --minutes 10 [--moments 200]`: faults, tried for longer.

`python -m tests.trust crashes` is the same; `all` does the rest too: `fuzz` reads drawn files, damaged at random,
and `coverage` files that reach code which none before did.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tests.trust.coverage_fuzz import fuzz_coverage
from tests.trust.crashes import PHASES, Tally, Words, try_crashes
from tests.trust.fuzz import fuzz
from tests.trust.small_runs import REAL, SMALL, made_sources, real_sources, run_words

DATA = ("made", "real", "both")


def main() -> int:
    """Try what was asked for, print the figures as Markdown; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust", description=__doc__)
    parser.add_argument("what", nargs="?", choices=tuple(WHAT), default="crashes")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long in all")
    parser.add_argument("--moments", type=int, help="this many processes killed or ended, however long it takes")
    parser.add_argument("--methods", default=",".join(SMALL), help="with commas")
    parser.add_argument("--data", choices=DATA, default="both" if REAL.is_dir() else "made", help="what runs are of")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"ARCHIMED_CACHE": str(folder / "cache"), "ARCHIMED_CONFIG": str(folder / "config")}
        broken = WHAT[asked.what](asked, folder)
    for line in broken:
        print(f"BROKEN: {line}")
    return 1 if broken else 0


def crashes(asked: argparse.Namespace, folder: Path) -> list[str]:
    """Break runs until the moments or the minutes are used up."""
    until = time.monotonic() + 60 * asked.minutes

    def enough(tally: Tally) -> bool:
        return tally.moments >= asked.moments if asked.moments else time.monotonic() > until

    tally = try_crashes(trials(asked, folder), folder, asked.seed, enough)
    print("| phase | killed (SIGKILL) | asked to end (SIGTERM) |\n| --- | --- | --- |")
    for phase in PHASES:
        print(f"| {phase} | {tally.kills[phase]} | {tally.ends[phase]} |")
    print(
        f"\n{tally.moments} moments in {tally.runs} runs of {asked.methods} ({asked.data} data); "
        f"{tally.damaged['checkpoint']} checkpoints spoilt, {tally.damaged['log']} logs cut; the slowest end after "
        f"SIGTERM {tally.slowest_end:.1f} s; {len(tally.broken)} broken."
    )
    return tally.broken


def everything(asked: argparse.Namespace, folder: Path) -> list[str]:
    """Kills for half of the minutes, then drawn files, then files by coverage."""
    minutes = asked.minutes
    asked.minutes = minutes / 2
    for part in ("crashes", "fuzz", "coverage"):
        (folder / part).mkdir()
    broken = crashes(asked, folder / "crashes")
    broken += fuzz(folder / "fuzz", minutes / 5, asked.seed)
    return broken + fuzz_coverage(folder / "coverage", minutes * 3 / 10)


WHAT: Mapping[str, Callable[[argparse.Namespace, Path], list[str]]] = {
    "crashes": crashes,
    "fuzz": lambda asked, folder: fuzz(folder, asked.minutes, asked.seed),
    "coverage": lambda asked, folder: fuzz_coverage(folder, asked.minutes),
    "all": everything,
}


def trials(asked: argparse.Namespace, folder: Path) -> Mapping[str, Words]:
    """Every method on every kind of data that was asked for."""
    found: dict[str, Words] = {}
    for kind in DATA[:2] if asked.data == "both" else [asked.data]:
        sources = real_sources(folder) if kind == "real" else made_sources(folder)
        for method in asked.methods.split(","):
            found[f"{method} on {kind} data"] = partial(run_words, method, sources)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
