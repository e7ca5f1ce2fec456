"""A synthetic run of a search in two stages over two data sets to segment, in the files that a report reads."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from archimed.experiment.picture_files import Answer, PicturedCase, write_pictures
from archimed.genotype import describe
from archimed.seeding import torch_generator
from archimed.spaces import space_settings
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.strategies.mixtures import draw_alpha, entropy_of, mixture_of

SETS = {"vessels": ("background", "vessel"), "cells": ("background", "cytoplasm", "nucleus")}
NETWORKS = {"mixsearch": 0.84, "random-search": 0.8, "unet": 0.82}
WHOLE = WeavedUnetSpace(depth=5, layers=10)
FIRST = WeavedUnetSpace(depth=4, layers=8)
EPOCHS, CASES = 4, 12


def woven_run(folder: Path, sets: tuple[str, ...] = tuple(SETS)) -> Path:
    first, last = drawn_alpha(FIRST, 0), {}
    second = FIRST.deepened(mixture_of(first), 5, 10)
    last = drawn_alpha(second, 1)
    lines = [line for stage, alpha in enumerate((first, last), start=1) for line in epochs(stage, alpha)]
    write_lines(folder / "search" / "epochs.jsonl", lines)
    genotype = describe(second.derive(mixture_of(last)), second.choices)
    selected = {"network": "mixsearch", "fold": 0, "seed": 0, "genotype": genotype, "space": space_settings(second)}
    selected["measurements"] = {"epoch": float(EPOCHS), "first_stage_epoch": float(EPOCHS)}
    write_json(folder / "search" / "selected.json", {"rule": "the last epoch", "selected": [selected]})
    experiment = {"method": "mixsearch", "sources": list(sets), "space": space_settings(WHOLE), "seed": 0}
    experiment |= {"search": {"first_depth": FIRST.depth, "first_layers": FIRST.layers}}
    experiment |= {"evaluation": {"pictures": "auto", "surface_tolerance_mm": 1.0}}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(experiment))), encoding="utf-8")
    documents = {name: data_document(name) for name in sets}
    several = len(sets) > 1
    write_json(folder / "data.json", {"datasets": documents, "checksum": "5e"} if several else documents[sets[0]])
    write_json(folder / "summary.json", summary(sets))
    for name, skill in NETWORKS.items():
        for dataset in sets:
            place = f"{dataset}.fold0.seed0" if several else "fold0.seed0"
            write_network(folder / "networks" / name / place, skill, dataset)
    pictures = [case for dataset in sets for case in pictured(dataset)]
    write_pictures(folder / "figures" / "cases", pictures, {name: SETS[name] for name in sets})
    return folder


def drawn_alpha(space: WeavedUnetSpace, seed: int) -> dict[str, Any]:
    return {name: 900 * a.detach() for name, a in draw_alpha(space.mixed_choices, torch_generator(seed)).items()}


def epochs(stage: int, alpha: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "search": "mixsearch",
            "fold": 0,
            "seed": 0,
            "stage": stage,
            "epoch": epoch,
            "weight_loss": 1 / epoch,
            "architecture_loss": 0.9 / epoch,
            "validation_loss": 0.7,
            "validation": {"dice": 0.5 + 0.05 * epoch},
            "entropy": entropy_of(mixture_of({name: numbers * epoch / EPOCHS for name, numbers in alpha.items()})),
            "alpha": {name: (numbers * epoch / EPOCHS).tolist() for name, numbers in alpha.items()},
        }
        for epoch in range(1, EPOCHS + 1)
    ]


def data_document(name: str) -> dict[str, Any]:
    classes = SETS[name]
    return {
        "name": name,
        "task": task(name),
        "cases": 40,
        "patients": 20 if name == "vessels" else None,
        "patient_hashes": ["hidden"],
        "splits": {split: {"cases": cases} for split, cases in (("train", 24), ("validation", 4), ("test", CASES))},
        "counts": {split: dict.fromkeys(classes, 4) for split in ("train", "validation", "test")},
        "images": {"shapes": {"smallest": [60, 64], "median": [64, 64], "largest": [64, 80], "different": 3}},
        "spacing_mm": None,
        "channels": {"grey": {}},
        "voxels": {one: round(0.9 if one == "background" else 0.1 / (len(classes) - 1), 3) for one in classes},
        "notes": ["Images are synthetic."],
    }


def task(name: str) -> dict[str, Any]:
    return {"kind": "segmentation", "class_names": list(SETS[name]), "channels": 1, "image_size": [64, 64]}


def cell(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.04}


def summary(sets: tuple[str, ...]) -> dict[str, Any]:
    networks: dict[str, Any] = {}
    for name, skill in NETWORKS.items():
        scores = {"dice": skill, "jaccard": skill - 0.1, "surface_dice": skill - 0.05}
        test = {metric: cell(value) for metric, value in scores.items()} | {"hausdorff_95": cell(6.0)}
        networks[name] = {"parameters": 3e6, "macs": 2e9, "seconds": 60.0, "test": test, "distance_unit": "pixels"}
        if len(sets) > 1:
            networks[name]["datasets"] = {
                dataset: {"test": {"dice": cell(skill + 0.02 * place)}, "parameters": 3e6}
                for place, dataset in enumerate(sets)
            }
    return {
        "method": "mixsearch",
        "data": ", ".join(sets),
        "task": task(sets[0]),
        "seed": 0,
        "chosen": "mixsearch",
        "cautions": [],
        "seconds": {"search": 100.0, "train": 300.0},
        "networks": networks,
    }


def write_network(folder: Path, skill: float, dataset: str) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["case", "split", "class", "dice", "jaccard", "hausdorff_95", "surface_dice"])
        for case in range(CASES):
            for name in SETS[dataset][1:]:
                value = float(np.clip(skill + rng.normal(0, 0.08), 0, 1))
                table.writerow([f"{dataset}-{case:05}", "test", name, value, value - 0.1, 6.0, value])
    write_lines(folder / "epochs.jsonl", [{"epoch": 1, "train_loss": 0.5, "validation": {"dice": skill}}])
    write_json(folder / "metrics.json", {"best_epoch": 1, "test": {"dice": skill}})
    write_json(folder / "architecture.json", {"space": {"name": "unet"}, "genotype": {}, "task": task(dataset)})


def pictured(dataset: str) -> list[PicturedCase]:
    """Discs with a core, or thin vessels that cross."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    cases = []
    for place, rank in enumerate(("best", "median", "worst")):
        if dataset == "vessels":
            truth = ((rows + 7 * place + np.round(4 * np.sin(columns / 6))).astype(int) % 16 < 1).astype(np.uint8)
        else:
            away = np.hypot((rows + 9 * place) % 32 - 16, columns % 32 - 16)
            truth = (away < 11).astype(np.uint8) + (away < 5)
        image = (90 * (truth > 0) + 60 * (truth > 1) + rng.normal(80, 25, truth.shape)).clip(0, 255).astype(np.uint8)
        answers = [Answer("mixsearch", k, 3, np.roll(truth, 3 - k + place, 0), 0.9 - 0.1 * place) for k in (1, 2, 3)]
        answers.append(Answer("unet", 1, 1, np.roll(truth, place, 1), 0.8))
        cases.append(
            PicturedCase(dataset, rank, f"{dataset}-{place:05}", CASES, image[None], truth, None, tuple(answers))
        )
    return cases


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
