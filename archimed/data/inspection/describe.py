"""What a data set holds, as plain values: the fingerprint that runs keep as data.json.

It holds no pixel, no file name and no patient name: patients are keyed hashes, made with a key of the user's own.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from archimed.data.arrays import Arrays, Shape
from archimed.data.dataset import SPLIT_NAMES, Dataset, Fold, SplitName
from archimed.data.inspection.duplicates import crossing_fold, find_duplicates, split_numbers
from archimed.data.inspection.survey import Progress, Survey, survey
from archimed.data.privacy import hash_of, user_key
from archimed.data.volume import ChannelKind

UNITS = {"ct": "HU", "pet": "SUV", "mr": "", "other": "", "mask": ""}
QUANTILE_NAMES = ("min", "p1", "median", "p99", "max")


def describe(dataset: Dataset, seen: Survey | None = None) -> dict[str, Any]:
    """The fingerprint of a data set.

    `counts` are those of the first fold; `checksum` covers ids, images, masks and targets in order.

    Args:
        dataset: the data.
        seen: what `look` found, if it was called before.
    """
    seen = seen or look(dataset)
    task = dataset.task
    patients = {case.patient for case in dataset.cases}
    splits = split_numbers(dataset)
    equal = find_duplicates(dataset, seen.digests, None).equal
    return {
        "name": dataset.name,
        "source_kind": dataset.source_kind,
        "task": {
            "kind": task.kind,
            "class_names": list(task.class_names),
            "channels": task.channels,
            "image_size": list(task.image_size),
            "channel_names": list(task.channel_names),
        },
        "cases": len(dataset.cases),
        "patients": len(patients) if dataset.patients_known else None,
        "patient_hashes": _hashes(patients) if dataset.patients_known and dataset.source_kind != "phantom" else None,
        "folds": len(dataset.folds),
        "splits": split_sizes(dataset, dataset.folds[0]) if dataset.folds else {},
        "counts": class_counts(dataset),
        "images": {"type": str(dataset.images.dtype).removeprefix("torch."), "shapes": sizes_of(dataset.images.shapes)},
        "spacing_mm": spacing_of(dataset.spacing),
        "grid": dataset.grid and dataset.grid.to_json(),
        "regions": dataset.regions,
        "channels": channels_of(seen, dataset.channel_names, dataset.channel_kinds, task.spatial_dims),
        "voxels": _voxel_shares(dataset, seen),
        "unknown_labels": unknown_labels(dataset),
        "duplicates_across_splits": sum(crossing_fold(rows, splits) is not None for rows in equal),
        "lesion_area": sum(case.lesion_area is not None for case in dataset.cases),
        "checksum": seen.checksum,
        "notes": list(dataset.notes),
    }


def look(dataset: Dataset, *, with_signatures: bool = False, progress: Progress | None = None) -> Survey:
    """Look at every image and mask of a data set once."""
    ids = "\n".join(case.id for case in dataset.cases)
    before = f"{ids}{(dataset.images.shapes, str(dataset.images.dtype))!r}".encode()
    after = np.ascontiguousarray(dataset.target.numpy()).tobytes()
    classes = len(dataset.task.class_names)
    return survey(
        dataset.images,
        dataset.masks,
        classes,
        framed_by=(before, after),
        with_signatures=with_signatures,
        progress=progress,
    )


def _hashes(patients: Iterable[str]) -> list[str]:
    key = user_key()
    return sorted(hash_of(patient, key) for patient in patients)


def patients_of_cases(dataset: Dataset) -> dict[str, str]:
    """The keyed hash of every case's patient, by case id; empty where patients are unknown. Synthetic ones stay."""
    if not dataset.patients_known:
        return {}
    if dataset.source_kind == "phantom":
        return {case.id: case.patient for case in dataset.cases}
    key = user_key()
    return {case.id: hash_of(case.patient, key) for case in dataset.cases}


def sizes_of(shapes: Sequence[Shape]) -> dict[str, Any]:
    """Smallest, median and largest pixels along each axis, and how many different sizes there are."""
    sides = np.array([shape[1:] for shape in shapes])
    middle = np.sort(sides, axis=0)[len(sides) // 2]
    return {
        "smallest": sides.min(0).tolist(),
        "median": middle.tolist(),
        "largest": sides.max(0).tolist(),
        "different": len(set(shapes)),
    }


def spacing_of(spacing: Sequence[tuple[float, ...] | None]) -> dict[str, Any] | None:
    """Smallest, median and largest millimetres along each axis, and of how many cases they are unknown."""
    known = np.array([steps for steps in spacing if steps is not None])
    if not len(known):
        return None
    return {
        "smallest": known.min(0).tolist(),
        "median": np.sort(known, axis=0)[len(known) // 2].tolist(),
        "largest": known.max(0).tolist(),
        "unknown": len(spacing) - len(known),
    }


def channels_of(
    seen: Survey, names: Sequence[str], kinds: Sequence[ChannelKind], dims: int
) -> dict[str, dict[str, Any]]:
    """Kind, unit and range of values of each channel, by its name."""
    found: dict[str, dict[str, Any]] = {}
    usual = _usual_names(len(seen.quantiles), kinds, dims)
    for number, values in enumerate(seen.quantiles.tolist()):
        name = names[number] if names and names[number] not in found else usual[number]
        kind: ChannelKind = kinds[number] if kinds else "other"
        rounded = [None if np.isnan(value) else float(f"{value:.6g}") for value in values]
        found[name] = {"kind": kind, "unit": UNITS[kind], **dict(zip(QUANTILE_NAMES, rounded, strict=True))}
    return found


def _usual_names(channels: int, kinds: Sequence[ChannelKind], dims: int) -> list[str]:
    """What channels are called that the source does not name."""
    if channels == 1:
        return [kinds[0].upper() if kinds and kinds[0] != "other" else "grey"]
    if channels == 3 and dims == 2 and not any(kind != "other" for kind in kinds):
        return ["red", "green", "blue"]
    return [f"channel {number}" for number in range(channels)]


def _voxel_shares(dataset: Dataset, seen: Survey) -> dict[str, float] | None:
    """Share of all pixels that each class of a segmentation covers."""
    if seen.voxels is None:
        return None
    totals = seen.voxels.sum(0)
    shares = [float(f"{share:.4g}") for share in totals / max(int(totals.sum()), 1)]
    return dict(zip(dataset.task.class_names, shares, strict=True))


def split_sizes(dataset: Dataset, fold: Fold) -> dict[SplitName, dict[str, int | None]]:
    """Cases and patients of each split of a fold; None where patients are not known."""
    found: dict[SplitName, dict[str, int | None]] = {}
    for name in SPLIT_NAMES:
        patients = {dataset.cases[row].patient for row in dataset.rows(fold.split(name))}
        found[name] = {"cases": len(fold.split(name)), "patients": len(patients) if dataset.patients_known else None}
    return found


def class_counts(dataset: Dataset, fold: int = 0) -> dict[SplitName, dict[str, int]]:
    """Cases of each class, or with each label, in each split of a fold; empty without folds."""
    if not dataset.folds:
        return {}
    return {name: count_classes(dataset, dataset.rows(dataset.folds[fold].split(name))) for name in SPLIT_NAMES}


def count_classes(dataset: Dataset, rows: Sequence[int]) -> dict[str, int]:
    """Cases of each class, with each label, or in whose mask each class occurs."""
    target, names = dataset.target[list(rows)], dataset.task.class_names
    if target.ndim == 1:
        return {name: int((target == index).sum()) for index, name in enumerate(names)}
    return {name: int((target[:, index] == 1).sum()) for index, name in enumerate(names)}


def unknown_labels(dataset: Dataset) -> dict[str, int]:
    """In how many cases each label of a multi-label task is unknown."""
    if dataset.task.kind != "multi-label":
        return {}
    return dict(zip(dataset.task.class_names, torch.isnan(dataset.target).sum(0).tolist(), strict=True))


def describe_images(images: Arrays, kinds: Sequence[ChannelKind]) -> dict[str, Any]:
    """The part of a fingerprint that images have without labels."""
    seen = survey(images)
    return {
        "images": {"type": str(images.dtype).removeprefix("torch."), "shapes": sizes_of(images.shapes)},
        "channels": channels_of(seen, (), kinds, len(images.shapes[0]) - 1),
    }
