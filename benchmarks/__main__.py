"""All benchmarks in one run, as Markdown on stdout: `make bench`, or `python -m benchmarks [scoring|training|...]`.

Each part runs in a process of its own: names in the code of others collide, and memory starts anew.
"""

import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version

PARTS = (
    *("scoring", "training", "masks", "loading", "scaling", "supernet", "weave", "stages", "zen", "deepmad"),
    "startup",
    "profiles",
)

wanted = sys.argv[1:] or list(PARTS)
for name in wanted:
    if name not in PARTS:
        raise SystemExit(f"Benchmarks are {', '.join(PARTS)}; got {name!r}.")
began = time.monotonic()
print(f"# Results of the benchmarks\n\n{datetime.now(UTC):%Y-%m-%d}, archimed {version('archimed')}.\n", flush=True)
for name in wanted:
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    print(flush=True)
print(f"All took {(time.monotonic() - began) / 60:.1f} minutes.")
