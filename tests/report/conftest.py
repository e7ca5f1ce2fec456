"""A synthetic run directory, written as files: figures without meaning in the forms that a real run has."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from archimed.genotype import describe, random_genotype
from archimed.spaces.multiscale_cell import MultiscaleCellSpace

SPACE = MultiscaleCellSpace()
SKILL = {"mstf-nas": 1.5, "random-search": 1.35, "parameters": 1.2, "macs": 1.1, "resnet18": 1.45, "resnet50": 1.2}
SIZES = {
    "mstf-nas": (4.4e6, 14.6e6),
    "random-search": (3.1e6, 9.8e6),
    "parameters": (7.9e6, 31.0e6),
    "macs": (7.7e6, 33.0e6),
    "resnet18": (11.2e6, 457.0e6),
    "resnet50": (23.5e6, 1210.0e6),
}


@dataclass(frozen=True)
class Wanted:
    """What a synthetic run shall hold."""

    kind: str = "binary"
    class_names: tuple[str, ...] = ("malignant", "normal, benign")
    networks: tuple[str, ...] = tuple(SKILL)
    seeds: tuple[int, ...] = (0,)
    cases: int = 60
    epochs: int = 12
    generations: int = 12
    population: int = 8
    cautions: tuple[str, ...] = ("mstf-nas was trained once: its interval does not cover the luck of training.",)
    lesions: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


WriteRun = Callable[[Path, Wanted], Path]


@pytest.fixture(scope="session")
def write_run() -> WriteRun:
    return write_synthetic_run


def write_synthetic_run(folder: Path, wanted: Wanted) -> Path:
    rng = np.random.default_rng(0)
    task = {"kind": wanted.kind, "class_names": list(wanted.class_names), "channels": 1, "image_size": [28, 28]}
    log = write_search(folder, wanted, rng)
    for name in wanted.networks:
        for seed in wanted.seeds:
            write_network(folder / "networks" / name / f"fold0.seed{seed}", name, wanted, task, rng)
    write_json(folder / "summary.json", summary(wanted, task, rng) | wanted.extra)
    write_json(folder / "data.json", data_document(wanted, task))
    write_json(folder / "environment.json", {"python": "3.12.1", "cores": 2, "packages": {"torch": "2.13.0"}})
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment(wanted)), encoding="utf-8")
    selected = {"network": "mstf-nas", "fold": 0, "seed": wanted.seeds[0], "genotype": log[-3]["genotype"]}
    selected |= {"space": {"name": "multiscale_cell", "width": 128, "stem_stride": 4, "num_blocks": 3}}
    rule = "highest sum of the two indicators, rescaled over the last population."
    write_json(folder / "search" / "selected.json", {"rule": rule, "selected": [selected]})
    return folder


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def experiment(wanted: Wanted) -> dict[str, Any]:
    return {
        "archimed": "0.1.0",
        "method": "mstf-nas",
        "sources": ["phantom:lesions2d"],
        "seed": wanted.seeds[0],
        "repeats": len(wanted.seeds),
        "search": {"indicators": ["naswot", "log_synflow"], "objectives": None, "generations": wanted.generations},
        "training": {"epochs": wanted.epochs, "learning_rate": 0.001, "milestones": [0.5, 0.75]},
        "machine": {"threads": 2, "precision": "float32"},
    }


def data_document(wanted: Wanted, task: dict[str, Any]) -> dict[str, Any]:
    counts = {
        split: {name: share * (3 + k) for k, name in enumerate(wanted.class_names)}
        for split, share in (("train", 70), ("validation", 10), ("test", wanted.cases // 7))
    }
    return {
        "name": "lesions2d",
        "source kind": "phantom",
        "task": task,
        "cases": 780,
        "patients": 600,
        "counts": counts,
        "checksum": "5e2f0c1d",
        "notes": ["Images are synthetic."],
    }


def write_search(folder: Path, wanted: Wanted, rng: np.random.Generator) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for search in ("mstf-nas", "random-search"):
        for number in range(wanted.generations * wanted.population):
            generation = number // wanted.population if search == "mstf-nas" else 0
            dropped = "naswot is not finite: two images have equal codes" if number % 41 == 7 else None
            lines.append(
                {
                    "search": search,
                    "fold": 0,
                    "seed": wanted.seeds[0],
                    "number": number,
                    "generation": generation,
                    "genotype": describe(random_genotype(SPACE.choices, rng), SPACE.choices),
                    "measurements": {} if dropped else measurements(generation / wanted.generations, rng),
                    "seconds": float(rng.gamma(20, 0.006)),
                    "dropped": dropped,
                }
            )
    write_lines(folder / "search" / "candidates.jsonl", lines)
    return [line for line in lines if line["search"] == "mstf-nas" and not line["dropped"]]


def measurements(progress: float, rng: np.random.Generator) -> dict[str, float]:
    macs = float(np.exp(rng.normal(16.2, 0.35 + 0.3 * progress)))
    return {
        "naswot": float(1450 + 40 * np.log(macs / 1e7) + 60 * progress + rng.normal(0, 18)),
        "log_synflow": float(80 + 9 * progress + 4 * np.log(macs / 1e7) + rng.normal(0, 3)),
        "macs": round(macs),
        "parameters": round(macs / 3.2),
    }


def write_network(folder: Path, name: str, wanted: Wanted, task: dict[str, Any], rng: np.random.Generator) -> None:
    epochs = np.arange(1, wanted.epochs + 1)
    fall = np.exp(-epochs / (wanted.epochs / 4))
    train = 0.15 + 0.6 * fall + rng.normal(0, 0.01, len(epochs))
    validation = 0.4 + 0.4 * fall + 0.2 * (epochs / wanted.epochs) ** 2 + rng.normal(0, 0.03, len(epochs))
    auc = 0.9 - 0.3 * fall + rng.normal(0, 0.01, len(epochs))
    best = int(auc.argmax())
    records = [
        {"epoch": int(e), "train_loss": t, "validation_loss": v, "validation": {"auc": a, "accuracy": a - 0.05}}
        for e, t, v, a in zip(epochs.tolist(), train.tolist(), validation.tolist(), auc.tolist(), strict=True)
    ]
    write_lines(folder / "epochs.jsonl", records)
    write_json(folder / "metrics.json", {"best_epoch": best + 1, "seconds": 240.0, "test": {"auc": 0.88}})
    write_json(folder / "architecture.json", {"space": {"name": name}, "genotype": {}, "task": task})
    write_predictions(folder / "predictions.csv", SKILL.get(name, 1.0), wanted, rng)


def write_predictions(path: Path, skill: float, wanted: Wanted, rng: np.random.Generator) -> None:
    names, size = wanted.class_names, len(wanted.class_names)
    several = wanted.kind == "multi-label"
    label_columns = [f"label_{name}" for name in names] if several else ["label"]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "split", *label_columns, *(f"probability_{name}" for name in names)])
        for case in range(wanted.cases):
            if several:
                truth = (rng.random(size) < 0.3).astype(float)
                probabilities = 1 / (1 + np.exp(-(2 * skill * truth - skill + rng.normal(0, 1, size))))
                labels = ["" if rng.random() < 0.1 else int(value) for value in truth]
            else:
                target = int(rng.integers(size))
                logits = skill * (np.arange(size) == target) + rng.normal(0, 1, size)
                probabilities = np.exp(logits) / np.exp(logits).sum()
                labels = [names[target]]
            table.writerow([f"case{case:04}", "test", *labels, *probabilities.tolist()])


def cell(value: float, width: float = 0.055) -> dict[str, float]:
    return {"value": value, "low": max(value - 1.2 * width, 0.0), "high": min(value + width, 1.0)}


def summary(wanted: Wanted, task: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    networks = {}
    for name in wanted.networks:
        auc = 0.65 + 0.16 * SKILL.get(name, 1.0) + float(rng.normal(0, 0.005))
        values = {"accuracy": auc - 0.05, "balanced_accuracy": auc - 0.06, "auc": auc, "macro_f1": auc - 0.07}
        values |= {"sensitivity": auc - 0.1, "specificity": auc - 0.02, "precision": auc - 0.08, "brier": 1 - auc}
        parameters, macs = SIZES.get(name, (1e6, 1e7))
        networks[name] = {
            "parameters": parameters,
            "macs": macs,
            "seconds": 180.0 + macs / 4e6,
            "test": {metric: cell(value) for metric, value in values.items()},
            "repeats": [{"fold": 0, "seed": seed, "test": values} for seed in wanted.seeds],
        }
    first = wanted.networks[0]
    comparisons = [
        {"metric": metric, "network": first, "against": name}
        | {"value": 0.01, "low": -0.03, "high": 0.05, "p": 0.4, "p_holm": 1.0, "inside_noise": True, "rank_p": None}
        for metric in ("auc", "accuracy")
        for name in wanted.networks[1:]
    ]
    return {
        "method": "mstf-nas",
        "data": "lesions2d",
        "task": task,
        "seed": wanted.seeds[0],
        "chosen": first,
        "cautions": list(wanted.cautions),
        "seconds": {"search": 182.4, "train": 1420.0, "evaluate": 6.2},
        "networks": networks,
        "comparisons": comparisons,
        "lesion_size": lesion_size(wanted) if wanted.lesions else None,
        "calibration": {name: {"expected_calibration_error": 0.043, "brier": 0.11} for name in wanted.networks},
        "operating_point": None,
    }


def lesion_size(wanted: Wanted) -> dict[str, Any]:
    limits = {"small": (0.0, 0.001), "medium": (0.001, 0.01), "large": (0.01, 1.0)}
    groups = [
        {"name": name, "low": low, "high": high, "cases": 20, "too_few": name == "small"}
        for name, (low, high) in limits.items()
    ]
    networks = {
        name: {
            group: {"auc": cell(0.7 + 0.08 * k + 0.05 * SKILL.get(name, 1.0), 0.09)} for k, group in enumerate(limits)
        }
        for name in wanted.networks
    }
    return {"groups": groups, "unknown_size": 2, "networks": networks}


@pytest.fixture(scope="session")
def wanted() -> type[Wanted]:
    return Wanted
