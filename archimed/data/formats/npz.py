"""MedMNIST-style `.npz` files: {train,val,test}_images, _labels and, optionally, _patients; 2D and 3D.

Images are [case, *space] (grey) or [case, *space, channel] with one to four channels; labels [case] or [case, 1] hold
class numbers, [case, label] zeros and ones. In place of labels, {train,val,test}_masks [case, *space] may hold a class
number for every pixel. A file named like a published set takes its class names. An array `channel_names` names the
channels.
"""

import math
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.dataset import SPLIT_NAMES, Case, Dataset
from archimed.data.formats.medmnist_sets import MEDMNIST, published
from archimed.data.preparation.assembly import segmentation
from archimed.data.problems import Problems
from archimed.data.readers.decoding import DECODER_ERRORS
from archimed.data.readers.voxels import RATIO, check_room
from archimed.errors import DataError
from archimed.task import ImagingTask, TaskKind

MaskValues = Literal["auto", "classes", "foreground"]
PREFIXES = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
LARGEST_CLASS = 255  # masks are kept as uint8
MOST_CHANNELS = 4  # a last axis no longer than this holds channels


def read_npz(path: Path, problems: Problems, ordinal: bool = False, mask_values: MaskValues = "auto") -> Dataset:
    """The data set of one file; flaws of single cases are reported to `problems`, of the file raised as DataError.

    More than two classes are grades in order if `ordinal` says so; for `mask_values` see the setting of that name.
    """
    arrays = _Arrays(path)
    splits = [name for name in SPLIT_NAMES if arrays.has(name)]
    images = _join([arrays.get(name, "images") for name in splits], "images", path)
    role = arrays.role
    labels = _join([arrays.get(name, role) for name in splits], role, path)
    patients = [arrays.get(name, "patients") for name in splits] if arrays.has("train", "patients") else None
    cases = []
    for order, name in enumerate(splits):
        count = len(arrays.get(name, "images"))
        for number in range(count):
            case_id = f"{name}-{number:05d}"
            patient = case_id if patients is None else str(patients[order].reshape(-1)[number])
            cases.append(Case(case_id, patient, split=name, origin=f"{name} image {number} of {path.name}"))
    stem = published(path.stem)
    masks = None
    if role == "masks":
        kind, class_names, target, masks = _masks(labels, images, mask_values, problems, path)
    else:
        kind, class_names, target = _target(labels, stem, path)
    if ordinal and kind == "multi-class":
        kind = "ordinal"
    tensor = torch.from_numpy(_channels_first(_plain_type(images, path), path))
    _report_nan(tensor, cases, problems)
    return Dataset(
        name=path.stem,
        source_kind="medmnist",
        task=ImagingTask(kind, class_names, tensor.shape[1], tuple(tensor.shape[2:])),
        cases=tuple(cases),
        images=Arrays.of(tensor),
        target=target,
        masks=masks,
        channel_names=_channel_names(arrays, tensor.shape[1]),
        patients_known=patients is not None,
        medmnist_flag=path.stem if stem else None,
    )


def read_npz_images(path: Path) -> dict[str, Tensor]:
    """The images of a file that needs no labels, [case, channel, *space] by split; all in `images` are `case`.

    Raises:
        DataError: the file is damaged, or holds no images.
    """
    found = _Arrays(path, labelled=False).found
    names = {"images": "case"} | {f"{word}_images": split for split in SPLIT_NAMES for word in PREFIXES[split]}
    arrays = {names[name]: array for name, array in found.items() if name in names}
    if not arrays:
        raise DataError(
            f"A .npz file to predict has an array images, or {{train,val,test}}_images; {path} has "
            f"{', '.join(sorted(found)) or 'nothing'}. Rename its array."
        )
    return {name: torch.from_numpy(_channels_first(_plain_type(one, path), path)) for name, one in arrays.items()}


class _Arrays:
    """The arrays of a file by split and role, checked on the way."""

    def __init__(self, path: Path, *, labelled: bool = True) -> None:
        self.path = path
        try:
            if zipfile.is_zipfile(path):
                _check_unpacked_size(path)
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise ValueError("a single array")
            with loaded as archive:
                self.found: dict[str, np.ndarray] = {name: archive[name] for name in archive.files}
        except (*DECODER_ERRORS, zipfile.BadZipFile, tokenize.TokenError) as error:
            raise DataError(
                f"A .npz file must be a complete archive of plain arrays; {path} is not "
                f"({type(error).__name__}: {_one_line(error)}). Fetch it again."
            ) from error
        for split in SPLIT_NAMES if labelled else ():
            if split == "train" or self.has(split):
                self._check(split)

    def has(self, split: str, role: str = "images") -> bool:
        return any(f"{prefix}_{role}" in self.found for prefix in PREFIXES[split])

    def get(self, split: str, role: str) -> np.ndarray:
        for prefix in PREFIXES[split]:
            if f"{prefix}_{role}" in self.found:
                found: np.ndarray = self.found[f"{prefix}_{role}"]
                return found
        raise DataError(
            f"A MedMNIST file has {{train,val,test}}_images and _labels; {self.path} lacks {split}_{role} and has "
            f"{', '.join(sorted(self.found)) or 'nothing'}. Rename its arrays."
        )

    @property
    def role(self) -> str:
        """What the file tells of its images: labels or masks."""
        return "masks" if self.has("train", "masks") and not self.has("train", "labels") else "labels"

    def _check(self, split: str) -> None:
        roles = ["images", self.role, *(["patients"] if self.has("train", "patients") else [])]
        lengths = {role: len(np.atleast_1d(self.get(split, role))) for role in roles}
        if len(set(lengths.values())) != 1 or not lengths["images"]:
            raise DataError(
                f"Every split needs as many {self.role} as images, and at least one; {split} of {self.path} has "
                f"{', '.join(f'{count} {role}' for role, count in lengths.items())}. Repair the file."
            )


def _check_unpacked_size(path: Path) -> None:
    """ValueError if the arrays do not fit into memory, or one is larger than its part of the archive can hold."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_room(sum(member.file_size for member in members))
        for member in members:
            if member.file_size > RATIO["bzip2"] * max(member.compress_size, 1):
                raise ValueError(f"{member.filename[:80]!r} tells of more bytes than it can hold")
            with archive.open(member) as file:
                _check_told_size(file, member)


def _check_told_size(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    major, _ = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{member.filename[:80]!r} tells of more numbers than it has")


def _channel_names(arrays: _Arrays, channels: int) -> tuple[str, ...]:
    """What each channel shows; empty where the file does not say."""
    found = arrays.found.get("channel_names")
    if found is None:
        return ()
    names = tuple(map(str, np.atleast_1d(found).tolist()))
    if len(names) != channels or len(set(names)) != len(names):
        raise DataError(
            f"channel_names must name each channel once; those of {arrays.path} are {', '.join(names)} for {channels} "
            "channels. Correct the array."
        )
    return names


def _join(parts: list[np.ndarray], role: str, path: Path) -> np.ndarray:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1:
        raise DataError(f"All {role} of a file must have one shape; {path} has {sorted(shapes)}. Repair the file.")
    return np.concatenate(parts)


def _plain_type(images: np.ndarray, path: Path) -> np.ndarray:
    if images.dtype in (np.uint8, np.uint16, np.float32):
        return images
    if images.dtype == bool:
        return images.astype(np.uint8)
    if not np.issubdtype(images.dtype, np.number) or np.issubdtype(images.dtype, np.complexfloating):
        raise DataError(f"Images must be numbers; those of {path} are {images.dtype}. Save them as uint8 or float32.")
    return images.astype(np.float32)


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    has_channels = images.ndim >= 4 and images.shape[-1] <= MOST_CHANNELS
    if images.ndim - 1 - has_channels not in (2, 3) or min(images.shape) < 1:
        raise DataError(
            f"Images must be [case, height, width] or [case, depth, height, width], and up to {MOST_CHANNELS} "
            f"channels last; those of {path} are {list(images.shape)}. Save them in that form."
        )
    return np.ascontiguousarray(np.moveaxis(images, -1, 1)) if has_channels else images[:, None]


def _target(labels: np.ndarray, stem: tuple[str, int] | None, path: Path) -> tuple[TaskKind, tuple[str, ...], Tensor]:
    """Task kind, class names and target, by the published set or else by the form of the labels."""
    if not np.issubdtype(labels.dtype, np.number) and labels.dtype != bool:
        raise DataError(f"Labels must be numbers; those of {path} are {labels.dtype}. Save class numbers.")
    labels = labels.reshape(len(labels), -1)
    known = MEDMNIST[stem[0]] if stem else None
    if labels.shape[1] > 1:
        values = labels.astype(np.float32)
        if not np.isin(values[~np.isnan(values)], (0, 1)).all():
            raise DataError(f"Several labels per image must be 0, 1 or NaN (unknown); those of {path} are not. Recode.")
        fits = known is not None and known.kind == "multi-label" and len(known.class_names) == labels.shape[1]
        names = known.class_names if known and fits else tuple(f"label_{k}" for k in range(labels.shape[1]))
        return "multi-label", names, torch.from_numpy(values)
    classes = labels[:, 0]
    if not np.array_equal(classes, np.nan_to_num(classes).astype(np.int64)):
        raise DataError(f"Class numbers must be whole; those of {path} are not. Save integers.")
    if known and known.kind != "multi-label" and np.isin(classes, range(len(known.class_names))).all():
        return known.kind, known.class_names, torch.from_numpy(classes.astype(np.int64))
    values, target = np.unique(classes.astype(np.int64), return_inverse=True)
    kind: TaskKind = "binary" if len(values) == 2 else "multi-class"
    return kind, tuple(str(value) for value in values), torch.from_numpy(target.astype(np.int64))


def _masks(
    values: np.ndarray, images: np.ndarray, mask_values: MaskValues, problems: Problems, path: Path
) -> tuple[TaskKind, tuple[str, ...], Tensor, Arrays]:
    """Task kind, class names, which classes occur in each mask, and the masks."""
    if images.shape[: values.ndim] != values.shape or values.ndim not in (3, 4):
        raise DataError(
            f"Masks must have the sizes of their images; those of {path} are {list(values.shape)} for images "
            f"{list(images.shape)}. Save [case, *space]."
        )
    whole = np.issubdtype(values.dtype, np.integer) or values.dtype == bool
    if not whole or values.min() < 0 or values.max() > LARGEST_CLASS:
        raise DataError(f"Masks hold class numbers from 0 to {LARGEST_CLASS}; those of {path} do not. Save uint8.")
    numbers = (values > 0 if mask_values == "foreground" else values).astype(np.uint8)
    found = [np.unique(mask).tolist() for mask in numbers]
    return segmentation(Arrays.of(torch.from_numpy(numbers)), found, (), mask_values, problems)


def _report_nan(images: Tensor, cases: list[Case], problems: Problems) -> None:
    if not images.is_floating_point():
        return
    for row, image in enumerate(images):
        if not bool(torch.isfinite(image).all()):
            problems.fatal(
                f"Pixels must be finite numbers; {cases[row].origin} holds NaN or infinity. Repair or leave it out."
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
