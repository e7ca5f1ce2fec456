"""The one form in which every reader hands over its data: task, cases, images, targets and folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from jaxtyping import Shaped
from torch import Tensor

from archimed.data.arrays import Arrays
from archimed.data.preparation.common_grid import CommonGrid
from archimed.data.volume import ChannelKind
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
        from_dicom: whether its image was read from DICOM; reports then show no picture of it unless asked.
        groups: what is known of the patient and the device: sex, age in years, scanner; kept in memory only.
    """

    id: str
    patient: str = field(repr=False)
    file: Path | None = None
    split: SplitName | None = None
    fold: str | None = None
    lesion_area: float | None = None
    origin: str = ""
    from_dicom: bool = False
    groups: Mapping[str, str] = field(default_factory=dict, repr=False)


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
    """Some cases of a data set, in the order of `ids`; images and masks stay where they are until they are taken.

    Attributes:
        ids: case ids.
        images: [channel, *space] of each case, as stored.
        target: class indices [case] (int64) or labels [case, label] (float32; 0, 1, or NaN where unknown).
        masks: class indices [*space] of each case (uint8), for segmentation.
    """

    ids: tuple[str, ...]
    images: Arrays
    target: Shaped[Tensor, "case *label"]
    masks: Arrays | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Dataset:
    """Cases of one task with their images, targets and folds.

    Attributes:
        name: short name for reports.
        source_kind: what it was read from: `medmnist`, `csv`, `folders`, `masks`, `nnunet`, `datalist`, `phantom` or
            `object`.
        task: what is asked of a network; where images differ in size, its `image_size` is the largest along each axis;
            it takes over `channel_names`.
        cases: in the order of `images` and `target`.
        images: [channel, *space] of each case as stored (uint8, uint16, int16 or float32); a stacked tensor will do.
        target: class indices [case] (int64) or labels [case, label] (float32; 0, 1, or NaN where unknown); for
            segmentation, which classes occur in each mask [case, class] (float32, 0 or 1).
        masks: class indices [*space] of each case (uint8), for segmentation; a stacked tensor will do.
        folds: the divisions into train, validation and test; the only one where there is a single split.
        channel_names: what each channel shows, for example "PET"; empty where the source does not say.
        channel_kinds: what the values of each channel are; empty means `other` throughout.
        spacing: millimetres between pixels along each axis for every case; empty, or None for a case, where unknown.
        patients_known: whether the source says who the patients are; if not, every case counts as its own.
        medmnist_flag: the name of the MedMNIST file without its ending, size included ("breastmnist_224"), if it is
            one of the published sets.
        notes: cautions about the data, one sentence each, for the report.
        grid: the grid that was chosen for volumes of several sizes; None if none had to be.
        regions: whether every case was cropped to, or about, a region of interest of its own.
    """

    name: str
    source_kind: str
    task: ImagingTask
    cases: tuple[Case, ...]
    images: Arrays
    target: Shaped[Tensor, "case *label"]
    masks: Arrays | None = None
    folds: tuple[Fold, ...] = ()
    channel_names: tuple[str, ...] = ()
    channel_kinds: tuple[ChannelKind, ...] = ()
    spacing: tuple[tuple[float, ...] | None, ...] = ()
    patients_known: bool = False
    medmnist_flag: str | None = None
    notes: tuple[str, ...] = ()
    grid: CommonGrid | None = None
    regions: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", Arrays.of(self.images))
        names = self.channel_names if len(self.channel_names) == self.task.channels else ()
        object.__setattr__(self, "task", replace(self.task, channel_names=names))
        if self.masks is not None:
            object.__setattr__(self, "masks", Arrays.of(self.masks))
        if not len(self.cases) == len(self.images) == len(self.target):
            raise DataError(
                f"Data set {self.name!r} needs one image and one target per case; got {len(self.cases)} cases, "
                f"{len(self.images)} images and {len(self.target)} targets. Make the three equally long."
            )
        if (self.masks is not None) != (self.task.kind == "segmentation"):
            raise DataError(
                f"A segmentation has masks, other tasks have none; data set {self.name!r} is of kind {self.task.kind} "
                f"and {'has' if self.masks is not None else 'lacks'} masks. Correct the task or the masks."
            )
        if self.masks is not None and self.masks.shapes != tuple(shape[1:] for shape in self.images.shapes):
            raise DataError(f"Every mask of data set {self.name!r} must have the size of its image. Repair the masks.")
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
        """The cases of these ids, in that order; only targets are copied."""
        rows = self.rows(ids)
        masks = None if self.masks is None else self.masks.select(rows)
        return Subset(tuple(ids), self.images.select(rows), self.target[rows].contiguous(), masks)

    def kind_of(self, channel: int) -> ChannelKind:
        """What the values of a channel are."""
        return self.channel_kinds[channel] if self.channel_kinds else "other"

    @property
    def has_lesion_area(self) -> bool:
        """Whether the size of the lesion is known for at least one case."""
        return any(case.lesion_area is not None for case in self.cases)
