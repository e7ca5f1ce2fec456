"""All benchmarks in one run, as Markdown on stdout: `make bench`, or `python -m benchmarks [scoring|training|...]`."""

import sys

from benchmarks import deepmad, loading, masks, scaling, scoring, stages, supernet, training, weave, zen

PARTS = {
    "scoring": scoring.main,
    "training": training.main,
    "masks": masks.main,
    "loading": loading.main,
    "scaling": scaling.main,
    "supernet": supernet.main,
    "weave": weave.main,
    "stages": stages.main,
    "zen": zen.main,
    "deepmad": deepmad.main,
}

wanted = sys.argv[1:] or list(PARTS)
sys.argv[1:] = []
for name in wanted:
    if name not in PARTS:
        raise SystemExit(f"Benchmarks are {', '.join(PARTS)}; got {name!r}.")
    PARTS[name]()
