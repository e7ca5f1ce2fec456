"""Run folders whose predictions are made up, so that what a comparison must find is known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from archimed.experiment.predictions import SplitPredictions, write_predictions
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("benign", "malignant"), 1, (28, 28))
CASES = tuple(f"case-{number:03}" for number in range(120))
TRUTH = np.arange(len(CASES)) % 2
FIXED = ("resnet18", "resnet50")
MACS = {"resnet50": 4_000, "resnet18": 2_000}


def made_run(
    folder: Path,
    method: str,
    shares: Mapping[str, float],
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    cases: Sequence[str] = CASES,
    truth: Any = TRUTH,
    patients: Mapping[str, str] | None = None,
    task: ImagingTask = TASK,
    data_name: str = "breast",
    checksum: str = "c0ffee",
    **settings: Any,
) -> Path:
    """A finished run of one fold; each network is right in its share of the test cases."""
    experiment: dict[str, Any] = {
        "archimed": "0.1",
        "method": method,
        "seed": seeds[0],
        "repeats": len(seeds),
        "budget_seconds": None,
        "data": {"image_size": 28, "cache": True},
        "space": {"name": "multiscale_cell", "width": 8},
        "search": {"population_size": 6},
        "training": {"epochs": 3, "batch_size": 64},
        "evaluation": {"resamples": 200, "confidence": 0.95},
    }
    for key, value in settings.items():
        section, _, field = key.partition("__")
        experiment[section] = experiment[section] | {field: value} if field else value
    task_document = {
        "kind": task.kind,
        "class_names": list(task.class_names),
        "channels": 1,
        "image_size": [28, 28],
        "channel_names": [],
    }
    split: dict[str, Any] = {"folds": [{"train": ["t"], "validation": ["v"], "test": list(cases)}]}
    if patients is not None:
        split["patients"] = patients
    known = None if patients is None else len(set(patients.values()))
    data = {"name": data_name, "task": task_document, "cases": len(cases), "patients": known, "checksum": checksum}
    summary = {"chosen": method, "data": data_name, "networks": {name: {} for name in shares}}
    selected = [
        {"network": name, "fold": 0, "seed": seed, "genotype": {} if name in FIXED else {"edge": "conv"}}
        for name in shares
        for seed in seeds
    ]
    documents = {"summary": summary, "data": data, "splits": split, "search/selected": {"selected": selected}}
    for name, document in documents.items():
        write(folder / f"{name}.json", json.dumps(document))
    write(folder / "experiment.yaml", yaml.safe_dump(experiment))
    for name, share in shares.items():
        for seed in seeds:
            made_network(folder, name, share, seed, cases, truth, task)
    return folder


def made_network(
    folder: Path, name: str, share: float, seed: int, cases: Sequence[str], truth: Any, task: ImagingTask
) -> None:
    """One training: its architecture and its predictions, drawn by name and seed."""
    rng = np.random.default_rng([seed, *map(ord, name)])
    right = rng.random(len(cases)) < share
    score = np.clip(np.where(right == (truth == 1), 0.75, 0.25) + rng.normal(0, 0.05, len(cases)), 0.01, 0.99)
    path = folder / "networks" / name / f"fold0.seed{seed}"
    space = {"name": "resnet", "depth": 18 if name == "resnet18" else 50} if name in FIXED else {"name": "cell"}
    size = {"space": space, "parameters": 1_000, "macs": MACS.get(name, 1_500)}
    write(path / "architecture.json", json.dumps(size))
    probabilities = np.stack([1 - score, score], axis=1).astype(np.float32)
    write_predictions(path / "predictions.csv", task, [SplitPredictions("test", tuple(cases), truth, probabilities)])


def write(path: Path, text: str) -> None:
    """Write a file and the folders that hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
