"""The one form in which every reader hands over its data: task, cases, images, targets and folds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Shaped
from torch import Tensor

from archimed.errors import DataError
from archimed.task import ImagingTask

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Case:
    """One labelled image and what is known about it.

    Attributes:
        id: unique name of the case, written to splits and predictions; never derived from a patient or file name.
        patient: who it is, as the source says; kept in memory only. The case's own id where the source does not say.
        file: the image file, if it has one of its own.
        split: the official split of the source, if it names one.
        fold: the official fold of the source, if it names one.
        lesion_area: share of the image that the lesion covers, 0 to 1; None if unknown.
        origin: where a message should point to, for example "row 12 of cases.csv".
    """

    id: str
    patient: str = field(repr=False)
    file: Path | None = None
    split: SplitName | None = None
    fold: str | None = None
    lesion_area: float | None = None
    origin: str = ""


@dataclass(frozen=True)
class Fold:
    """Case ids of one division of the data; no patient occurs in two of its splits."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def split(self, name: SplitName) -> tuple[str, ...]:
        """The ids of the split of that name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


@dataclass(frozen=True)
class Subset:
    """Some cases of a data set, in the order of `ids`.

    Attributes:
        ids: case ids.
        images: [case, channel, *space] as stored (uint8, uint16 or float32), contiguous.
        target: class indices [case] (int64) or labels [case, label] (float32; 0, 1, or NaN where unknown).
    """

    ids: tuple[str, ...]
    images: Shaped[Tensor, "case channel *space"]
    target: Shaped[Tensor, "case *label"]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Dataset:
    """Cases of one task with their images, targets and folds.

    Attributes:
        name: short name for reports.
        source_kind: what it was read from: `medmnist`, `csv`, `folders`, `phantom` or `object`.
        task: what is asked of a network.
        cases: in the order of `images` and `target`.
        images: [case, channel, *space] as stored (uint8, uint16 or float32); may be backed by a memory-mapped file.
        target: class indices [case] (int64) or labels [case, label] (float32; 0, 1, or NaN where unknown).
        folds: the divisions into train, validation and test; the only one where there is a single split.
        patients_known: whether the source says who the patients are; if not, every case counts as its own.
        medmnist_flag: the name of the MedMNIST file without its ending, size included ("breastmnist_224"), if it is
            one of the published sets.
        notes: cautions about the data, one sentence each, for the report.
    """

    name: str
    source_kind: str
    task: ImagingTask
    cases: tuple[Case, ...]
    images: Shaped[Tensor, "case channel *space"]
    target: Shaped[Tensor, "case *label"]
    folds: tuple[Fold, ...] = ()
    patients_known: bool = False
    medmnist_flag: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.cases) == len(self.images) == len(self.target):
            raise DataError(
                f"Data set {self.name!r} needs one image and one target per case; got {len(self.cases)} cases, "
                f"{len(self.images)} images and {len(self.target)} targets. Make the three equally long."
            )
        if len(self._rows) != len(self.cases):
            raise DataError(
                f"Case ids of data set {self.name!r} must be unique; got {len(self._rows)} different ids for "
                f"{len(self.cases)} cases. Rename the repeated ones."
            )

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {case.id: row for row, case in enumerate(self.cases)}

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Positions of these cases in `cases`, `images` and `target`; DataError names an unknown id."""
        unknown = [name for name in ids if name not in self._rows]
        if unknown:
            raise DataError(
                f"Case {unknown[0]!r} does not occur in data set {self.name!r} ({len(unknown)} of {len(ids)} do not). "
                "Was the split written for other data?"
            )
        return [self._rows[name] for name in ids]

    def subset(self, ids: Sequence[str]) -> Subset:
        """The cases of these ids, in that order; images and targets are copied once."""
        rows = torch.tensor(self.rows(ids), dtype=torch.int64)
        return Subset(tuple(ids), self.images[rows].contiguous(), self.target[rows].contiguous())

    @property
    def has_lesion_area(self) -> bool:
        """Whether the size of the lesion is known for at least one case."""
        return any(case.lesion_area is not None for case in self.cases)
