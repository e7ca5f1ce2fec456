"""Runs so small that each takes a fraction of a second, and what two runs are compared by."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import archimed

SPACE = {"space.width": 4, "space.num_blocks": 1, "space.num_nodes": 2, "space.num_pools": 2}
SEARCH = {
    "search.population_size": 3,
    "search.offspring_size": 3,
    "search.generations": 1,
    "search.batch_size": 8,
}
COMMON = {
    "training.epochs": 2,
    "training.batch_size": 8,
    "evaluation.baselines": "none",
    "evaluation.resamples": 100,
    "machine.threads": 1,
    "machine.precision": "float32",
    "machine.memory_format": "contiguous",
}
TINY: Mapping[str, Any] = SPACE | SEARCH | COMMON
TWO_SEARCHES = {"evaluation.baselines": "random-search,random-search-100,parameters"}


def tiny_run(data: str | Path, out: Path, method: str = "mstf-nas", **settings: Any) -> Path:
    """A run with the tiny settings; further ones are written with __ for the dot."""
    own = {name.replace("__", "."): value for name, value in settings.items()}
    base = TINY
    if method == "random-search":
        base = SPACE | COMMON | {"search.candidates": 4, "search.batch_size": 8}
    if "space.name" in own:
        base = {name: value for name, value in base.items() if not name.startswith("space.")}
    return archimed.run(method, str(data), out, settings={**base, **own})


def command_line_settings(settings: Mapping[str, Any]) -> list[str]:
    """The same settings as arguments of the command line."""
    return [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]


def write_npz(
    path: Path, classes: int = 2, channels: int = 1, labels: int = 0, size: int = 12, test_value: int | None = None
) -> Path:
    """A file of 32 images with official splits; a bright square, of a height that tells the class, in noise."""
    rng = np.random.default_rng(5)
    arrays = {}
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        target = np.arange(count) % classes
        shape = (count, size, size) if channels == 1 else (count, size, size, channels)
        images = rng.integers(0, 150, shape, dtype=np.uint8)
        for image, label in zip(images, target, strict=True):
            image[1 + 2 * label : 5 + 2 * label, 3:9] += 100
        if labels:
            target = rng.integers(0, 2, (count, labels))
            target[:2] = [[0] * labels, [1] * labels]
        arrays |= {f"{split}_images": images, f"{split}_labels": target.reshape(count, -1)}
    if test_value is not None:
        arrays["test_images"] = np.full_like(arrays["test_images"], test_value)
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def without_seconds(value: Any) -> Any:
    """A JSON value without its times, which differ from run to run."""
    if isinstance(value, dict):
        return {key: without_seconds(inner) for key, inner in value.items() if key != "seconds"}
    return [without_seconds(inner) for inner in value] if isinstance(value, list) else value


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


def lines(path: Path) -> list[Any]:
    """A JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def result_of(run: Path) -> dict[str, Any]:
    """All that must not depend on how often a run was interrupted: every result file, seconds aside."""
    parts: dict[str, Any] = {
        "summary": without_seconds(read(run / "summary.json")),
        "selected": read(run / "search" / "selected.json"),
        "splits": read(run / "splits.json"),
        "data": read(run / "data.json"),
        "experiment": yaml.safe_load((run / "experiment.yaml").read_text()),
    }
    for path in sorted((*(run / "search").glob("*.jsonl"), *(run / "networks").rglob("*"))):
        name = str(path.relative_to(run))
        if path.suffix == ".jsonl":
            parts[name] = without_seconds(lines(path))
        elif path.suffix == ".json":
            parts[name] = without_seconds(read(path))
        elif path.is_file():
            parts[name] = path.read_bytes()
    return parts
