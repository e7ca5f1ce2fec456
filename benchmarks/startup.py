"""How soon commands answer: against bare imports, and until a search scores its first candidate on a cold cache.

Run by `make bench`, or alone: python -m benchmarks.startup [--repeats N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.timing import interleaved, machine, markdown_table

STARTS = 3
ARCHIMED = [str(Path(sys.executable).with_name("archimed"))]


def command(words: Sequence[str]) -> Callable[[], object]:
    """Run it to its end, quietly."""
    return lambda: subprocess.run(words, check=True, capture_output=True)


def first_score(folder: Path) -> float:
    """Seconds from the command to the first line of the log of candidates, with a cache of its own."""
    out = folder / "run"
    words = [*ARCHIMED, "run", "mstf-nas", "--data", "phantom:lesions2d", "--preset", "quick", "--out", str(out)]
    began = time.perf_counter()
    with subprocess.Popen(
        words, env={**os.environ, "ARCHIMED_CACHE": str(folder / "cache")}, stderr=subprocess.DEVNULL
    ) as process:
        log = out / "search" / "candidates.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        if process.poll() is not None:
            raise SystemExit(f"The search ended before it scored anything: {' '.join(words)}")
        process.terminate()
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    bare = "python, import typer"
    arms = {
        bare: command([sys.executable, "-c", "import typer"]),
        "archimed --help": command([*ARCHIMED, "--help"]),
        "archimed list methods": command([*ARCHIMED, "list", "methods"]),
    }
    print(f"## Start-up\n\n{machine()}; arms in turn, medians of {arguments.repeats} rounds.\n")
    times = interleaved(arms, arguments.repeats)
    rows = [[name, f"{1000 * seconds:.0f}", f"{seconds / times[bare]:.2f}"] for name, seconds in times.items()]
    starts = []
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory() as folder:
            starts.append(first_score(Path(folder)))
    first = "archimed run, empty cache of data, until the first candidate is logged"
    rows.append([first, f"{1000 * statistics.median(starts):.0f}", ""])
    print(markdown_table(["command", "ms", "times the bare import"], rows))


if __name__ == "__main__":
    main()
