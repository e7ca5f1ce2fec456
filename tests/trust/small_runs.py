"""One run of every method so small that it takes seconds: what faults are tried on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.experiment.tiny import COMMON, TINY, command_line_settings, write_npz

LEARNING = {"search.epochs": 3, "search.batch_size": 4, "search.memory": "none"}
CELLS = {"search.width": 4, "search.num_cells": 3, "space.num_cells": 3, "space.num_nodes": 1, "space.width": 4}
STAGES = {
    **{"space.stages": 2, "space.parts": 1, "space.most_layers": 2, "space.most_width": 16, "space.kernels": "[3]"},
    **{"space.blocks": "[basic]", "search.budget_params": 20000, "search.candidates": 12},
}
PATHS = {
    **{"space.blocks": "[1, 1]", "space.widths": "[4, 6]", "space.stem_width": 4, "space.first_width": 4},
    **{"space.head_width": 8, "search.population_size": 4, "search.keep": 2, "search.first_candidates": 4},
    **{"search.warmup_epochs": 1, "search.epochs": 4, "search.batch_size": 4, "search.statistics_cases": 8},
    **{"search.held_out_cases": 8, "search.finalists": 2, "search.finalist_epochs": 1},
}
WOVEN = {
    **{"space.depth": 3, "space.layers": 4, "space.width": 2, "space.num_nodes": 1, "search.first_depth": 3},
    **{"search.first_layers": 4, "search.warmup_epochs": 1, "search.image_size": 16},
}
FUSION = {"space.num_nodes": 1, "space.num_reduction": 1, "space.width": 4, "space.head": 4}
VOLUMES = ("phantom:petct?cases=24&size=16",)
MASKS = ("phantom:polyps?cases=24&size=16", "phantom:cells?cases=24&size=16")
SMALL: Mapping[str, Mapping[str, Any]] = {
    "mstf-nas": TINY | {"evaluation.baselines": "random-search", "repeats": 2},
    "random-search": {
        **COMMON,
        **{"space.width": 4, "space.num_blocks": 1, "space.num_nodes": 2, "space.num_pools": 2},
        **{"search.candidates": 6, "search.batch_size": 8},
    },
    "darts": COMMON | LEARNING | CELLS,
    "shapley-nas": COMMON
    | LEARNING
    | CELLS
    | {"search.warmup_epochs": 1, "search.permutations": 1, "search.game_images": 8},
    "emars": COMMON | PATHS,
    "zen-nas": COMMON
    | STAGES
    | {"search.population_size": 4, "search.first_candidates": 4, "search.offspring_size": 2, "search.batch_size": 2},
    "deepmad": COMMON | STAGES | {"search.solver_seconds": 20, "search.evolved": 50},
    "mm-nas": COMMON | LEARNING | FUSION | {"search.warmup_epochs": 1},
    "mixsearch": COMMON | LEARNING | WOVEN | {"training.epochs": 1, "training.batch_size": 4},
}


def run_words(method: str, data: Path, out: Path) -> list[str]:
    """The command of a small run; classification of flat images reads `data`, the others phantoms."""
    sources = {"mm-nas": VOLUMES, "mixsearch": MASKS}.get(method, (str(data),))
    named = [word for source in sources for word in ("--data", source)]
    return ["run", method, *named, "--out", str(out), *command_line_settings(SMALL[method])]


def write_data(folder: Path) -> Path:
    """The flat images that most of the methods are tried on."""
    return write_npz(folder / "grey.npz", size=16)
