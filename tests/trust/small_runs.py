"""One run of every method so small that it takes seconds: what faults are tried on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.experiment.tiny import COMMON, TINY, command_line_settings, write_npz

REAL = Path(os.environ.get("ARCHIMED_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
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


@dataclass(frozen=True)
class Sources:
    """What methods are tried on: words after `--data`.

    Attributes:
        flat: images with a class.
        volumes: of two modalities, with a class.
        masks: two sets of images with masks.
    """

    flat: tuple[str, ...]
    volumes: tuple[str, ...]
    masks: tuple[str, ...]


def run_words(method: str, sources: Sources, out: Path) -> list[str]:
    """The command of a small run."""
    words = {"mm-nas": sources.volumes, "mixsearch": sources.masks}.get(method, sources.flat)
    named = [word for source in words for word in ("--data", source)]
    return ["run", method, *named, "--out", str(out), *command_line_settings(SMALL[method])]


def made_sources(folder: Path) -> Sources:
    """Images that are made here."""
    return Sources((str(write_npz(folder / "grey.npz", size=16)),), VOLUMES, MASKS)


def real_sources(folder: Path, real: Path = REAL) -> Sources:
    """A few images of real sets: BreastMNIST, two sets of photographs with masks, PET and CT of sarcomas."""
    masks = [
        write_masks(folder / "vessels.csv", sorted((real / "seg2d" / "chasedb1").glob("*.jpg")), "_1stHO.png"),
        write_masks(folder / "cells.csv", sorted((real / "seg2d" / "wbc_dataset1").glob("*.bmp")), ".png"),
    ]
    volumes = f"{real / 'petct' / 'sts' / 'labels.csv'}?columns.label=any_mets&spacing_mm=8&image_size=16"
    for role in ("image_pet", "image_ct", "region"):
        name = {"image_pet": "PET_image", "image_ct": "CT_image", "region": "PET_mask"}[role]
        volumes += f"&columns.{role}={{patient}}/{name}.nii.gz"
    return Sources((str(write_cut(folder, real / "cls2d" / "breastmnist.npz")),), (volumes,), tuple(masks))


def write_cut(folder: Path, whole: Path) -> Path:
    """The first images of each split of a MedMNIST file."""
    most = {"train": 32, "val": 16, "test": 16}
    with np.load(whole) as arrays:
        cut = {name: array[: most[name.partition("_")[0]]] for name, array in arrays.items()}
    path = folder / "breast.npz"
    np.savez(path, **cut)
    return path


def write_masks(path: Path, images: list[Path], ending: str) -> str:
    """A table of some images and the masks beside them, with the size at which they are read."""
    rows = [f"{image},{image.with_name(image.stem + ending)}" for image in images[:: max(1, len(images) // 12)]]
    path.write_text("\n".join(["image,mask", *rows]) + "\n")
    return f"{path}?image_size=32"
