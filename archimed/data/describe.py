"""What a data set holds, as plain values and as contact sheets: for data.json and `archimed data describe`."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import SPLIT_NAMES, Dataset, SplitName
from archimed.data.privacy import patient_hash, user_key

TILES = 36  # images on a contact sheet at most
TILE_SIDE = 96  # pixels


def describe(dataset: Dataset) -> dict[str, Any]:
    """The fingerprint of a data set: no pixel and no patient name, only keyed hashes of patients.

    `counts` are those of the first fold; `checksum` covers ids, images and targets in order.
    """
    task = dataset.task
    low, high = intensity_range(dataset.images)
    patients = {case.patient for case in dataset.cases}
    return {
        "name": dataset.name,
        "source_kind": dataset.source_kind,
        "task": {
            "kind": task.kind,
            "class_names": list(task.class_names),
            "channels": task.channels,
            "image_size": list(task.image_size),
        },
        "cases": len(dataset.cases),
        "patients": len(patients) if dataset.patients_known else None,
        "patient_hashes": _hashes(patients) if dataset.patients_known and dataset.source_kind != "phantom" else None,
        "folds": len(dataset.folds),
        "counts": class_counts(dataset),
        "images": {"shapes": _shapes(dataset.images), "type": str(dataset.images.dtype).removeprefix("torch.")},
        "intensity": {"min": low, "max": high},
        "unknown_labels": unknown_labels(dataset),
        "duplicates_across_splits": len(duplicates_across_splits(dataset)),
        "lesion_area": dataset.has_lesion_area,
        "checksum": checksum(dataset),
        "notes": list(dataset.notes),
    }


def _shapes(images: Arrays) -> dict[str, int]:
    """How many images have each shape."""
    counts = Counter("x".join(map(str, shape)) for shape in images.shapes)
    return dict(counts.most_common())


def _hashes(patients: set[str]) -> list[str]:
    key = user_key()
    return sorted(patient_hash(patient, key) for patient in patients)


def class_counts(dataset: Dataset) -> dict[SplitName, dict[str, int]]:
    """Cases of each class, or with each label, in each split of the first fold."""
    return {name: _counts(dataset, dataset.rows(dataset.folds[0].split(name))) for name in SPLIT_NAMES if dataset.folds}


def _counts(dataset: Dataset, rows: Sequence[int]) -> dict[str, int]:
    target = dataset.target[list(rows)]
    names = dataset.task.class_names
    if target.ndim == 1:
        return {name: int((target == index).sum()) for index, name in enumerate(names)}
    return {name: int((target[:, index] == 1).sum()) for index, name in enumerate(names)}


def unknown_labels(dataset: Dataset) -> int:
    """Labels that the source leaves empty; zero unless the task has several labels."""
    return int(torch.isnan(dataset.target).sum()) if dataset.target.is_floating_point() else 0


def intensity_range(images: Arrays) -> tuple[list[float], list[float]]:
    """Smallest and largest stored value of each channel."""
    pixels = [image.flatten(1).numpy() for image in images]
    low = np.min([image.min(1) for image in pixels], axis=0)
    high = np.max([image.max(1) for image in pixels], axis=0)
    return [float(value) for value in low], [float(value) for value in high]


def checksum(dataset: Dataset) -> str:
    """SHA-256 of ids, image size, images and targets, in the order of the cases."""
    digest = hashlib.sha256()
    digest.update("\n".join(case.id for case in dataset.cases).encode())
    digest.update(repr((dataset.images.shapes, str(dataset.images.dtype))).encode())
    for array in (*dataset.images, *(dataset.masks or ())):
        digest.update(array.contiguous().numpy().data)
    digest.update(np.ascontiguousarray(dataset.target.numpy()).data)
    return digest.hexdigest()


def duplicates_across_splits(dataset: Dataset) -> list[dict[str, list[int]]]:
    """Groups of images equal pixel by pixel that lie in more than one split of the first fold: rows by split."""
    if not dataset.folds:
        return []
    groups: dict[bytes, dict[str, list[int]]] = {}
    for name in SPLIT_NAMES:
        for row in dataset.rows(dataset.folds[0].split(name)):
            content = hashlib.blake2b(dataset.images[row].contiguous().numpy().data, digest_size=16).digest()
            groups.setdefault(content, {}).setdefault(name, []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def contact_sheets(dataset: Dataset, folder: Path) -> list[Path]:
    """One PNG per class or label in `folder`, with images spread evenly over its cases; volumes by their middle."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index, name in enumerate(dataset.task.class_names):
        shown = dataset.target == index if dataset.target.ndim == 1 else dataset.target[:, index] == 1
        rows = torch.nonzero(shown).flatten().tolist()
        if not rows:
            continue
        chosen = [rows[k] for k in np.linspace(0, len(rows) - 1, min(TILES, len(rows))).astype(int)]
        path = folder / f"{index:02d}-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-') or 'class'}.png"
        Image.fromarray(_sheet([dataset.images[row] for row in chosen])).save(path)
        written.append(path)
    return written


def _sheet(images: Sequence[Shaped[Tensor, "channel *space"]]) -> UInt8[np.ndarray, "height width 3"]:
    """Images in a near-square grid, grey values stretched over the 1st to 99th percentile of all of them."""
    from PIL import Image

    flat = [image if image.ndim == 3 else image[:, image.shape[1] // 2] for image in images]
    values = [
        (image if len(image) == 3 else image[:1].expand(3, -1, -1)).to(torch.float32).numpy() for image in flat
    ]
    if images[0].dtype != torch.uint8:
        low, high = np.percentile(np.concatenate([value.ravel() for value in values]), (1, 99))
        values = [(value - low) / max(high - low, 1e-12) * 255 for value in values]
    tiles = [np.moveaxis(value.clip(0, 255).astype(np.uint8), 0, -1) for value in values]
    columns = int(np.ceil(np.sqrt(len(tiles))))
    lines = -(-len(tiles) // columns)
    sheet = np.zeros((lines * TILE_SIDE, columns * TILE_SIDE, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * TILE_SIDE, number % columns * TILE_SIDE
        sheet[top : top + TILE_SIDE, left : left + TILE_SIDE] = np.asarray(
            Image.fromarray(tile).resize((TILE_SIDE, TILE_SIDE), Image.Resampling.BICUBIC)
        )
    return sheet


def class_text(counts: Mapping[str, int]) -> str:
    """Counts in one line: "malignant 147 · normal, benign 399"."""
    return " · ".join(f"{name} {count}" for name, count in counts.items())
