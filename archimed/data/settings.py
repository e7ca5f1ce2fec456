"""The `data.*` settings."""

import math
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

Side = Annotated[int, Field(ge=8, le=4096)]  # pixels
Spacing = Annotated[float, Field(gt=0, le=100)]  # millimetres


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DataSettings:
    """How images are read, divided and normalised."""

    image_size: Literal["auto"] | Side | tuple[Side, Side] | tuple[Side, Side, Side] | None = Field(
        default="auto",
        description="pixels along every axis, or along each as [height, width] or [depth, height, width], to which "
        "images are brought (see data.fit). none keeps the size of the source; auto too, but volumes to classify that "
        "are of several sizes and tell where they lie, or that have regions, come to one spacing and one window that "
        "holds the largest region (field of view), of at most 2^15 voxels where data.spacing_mm is not set (ours)",
    )
    fit: Literal["resize", "crop-or-pad"] = Field(
        default="resize",
        description="how images come to data.image_size. resize: antialiased, aspect ratio not kept; crop-or-pad: "
        "about the centre, pixels kept as they are; a volume's region lies in the middle",
    )
    spacing_mm: Spacing | tuple[Spacing, Spacing] | tuple[Spacing, Spacing, Spacing] | None = Field(
        default=None,
        description="distance of pixels in millimetres, along every axis or along each, to which images with known "
        "spacing are resampled; none keeps that of the source (of the first modality), or what data.image_size=auto "
        "chooses",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="convert all images to grey (1) or RGB (3); none keeps what the source holds"
    )
    modalities: tuple[str, ...] | None = Field(
        default=None,
        description="the modalities to use, in this order, as in [pet, ct]; none uses all. Where the source names no "
        "channels: their names",
    )
    kind: Literal["ct", "pet", "mr", "other"] | None = Field(
        default=None,
        description="what the images are where neither the source nor the files say: ct, pet, mr or other",
    )
    missing_modality: Literal["error", "drop", "zero"] = Field(
        default="error",
        description="what happens to a case that lacks a modality: error stops; drop leaves the case out; zero puts "
        "air (-1000 HU in CT, 0 elsewhere) in its place",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="where a table keeps what: by role (id, image, image_<modality>, label, label_<name>, mask, "
        "patient, split, fold, region, lesion_area, sex, age, scanner) the name of a column or a template as in "
        "images/{image}; an empty name switches a role off",
    )
    label_columns: tuple[str, ...] = Field(
        default=(), description="columns of a table that hold the labels of a multi-label task (0, 1, empty = unknown)"
    )
    labels: tuple[str, ...] = Field(
        default=(),
        description="labels of a multi-label task to use, in this order, as in Pneumonia,Edema; none uses all. Of a "
        "table they may be columns of any name. Cases of which none of them is known are left out, and counted",
    )
    image_pattern: str | None = Field(
        default=None,
        description="which files of a folder are images to segment, as in images/*.png; {patient} stands for the "
        "patient, as in Image_{patient}[LR].jpg",
    )
    mask_pattern: str | None = Field(
        default=None,
        description="the mask of each image in a folder, as in masks/{name} or {stem}_mask.png; {folder} and "
        "{patient} are known too",
    )
    mask_values: Literal["auto", "classes", "foreground"] = Field(
        default="auto",
        description="classes: every value of the masks is a class, the smallest the background; foreground: all above "
        "zero is one class (instance maps); auto: classes, if there are no more than 32 values",
    )
    heads: Literal["shared", "per-dataset"] = Field(
        default="shared",
        description="masks of several data sets in one run. shared: all above the background is one foreground "
        "everywhere, in training too (MixSearch); per-dataset: each keeps its classes, and what is searched on all has "
        "an output layer for each",
    )
    roi: str | None = Field(
        default=None, description="name of the structure in RTSTRUCT or SEG masks; none takes the only one"
    )
    region_margin_mm: float = Field(
        default=10.0,
        ge=0,
        description="margin kept around a region of interest, in millimetres (pixels where the spacing is unknown)",
    )
    region_channel: bool = Field(
        default=False,
        description="the region of interest of every case is the last channel of its image, 0 or 1, where all cases "
        "have one",
    )
    ordinal: bool = Field(default=False, description="the classes are grades in order, such as 0 to 4")
    normalisation: Literal["auto", "half", "training"] = Field(
        default="auto",
        description="half: mean and standard deviation 0.5 of the full scale (MedMNIST protocol); training: mean and "
        "standard deviation per channel of the training split; auto: half for 2D MedMNIST files, else by what the "
        "channel is: CT by window, MR by the case's own mean and deviation, PET in SUV, training for others",
    )
    ct_window: tuple[float, float] | None = Field(
        default=None,
        description="Hounsfield units between which CT is clipped; none takes the 0.5th and 99.5th percentile of the "
        "foreground of the training split (nnU-Net)",
    )
    suv_window: tuple[float, float] = Field(
        default=(0.0, 20.0),
        description="uptake values (SUV) between which PET is clipped, then standardised over the training split",
    )
    folds: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="test folds of a cross-validation by patient, 1 for a single split; none takes what the source "
        "says (a `fold` column), else 1. Where the source has an official test split it stays the test split and "
        "the folds are validation folds",
    )
    fold_repeats: int = Field(
        default=1, ge=1, le=20, description="how often the cross-validation is repeated, each time divided anew"
    )
    validation_fraction: float = Field(
        default=0.2,
        gt=0,
        le=0.5,
        description="share of all cases for validation where the source names none (realised as 1/n by patient)",
    )
    test_fraction: float = Field(
        default=0.2,
        gt=0,
        le=0.5,
        description="share of all cases for the test where the source names none (realised as 1/n by patient)",
    )
    positive_class: str | None = Field(
        default=None,
        description="class of a two-class CSV or folder tree that counts as positive; none takes the last in "
        "alphabetical or numerical order",
    )
    cache: bool = Field(
        default=True,
        description="keep decoded and resampled images of files in the user's cache, mapped into memory; off reads "
        "them anew into memory each time",
    )

    @field_validator("ct_window", "suv_window")
    @classmethod
    def _rises(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and not (all(map(math.isfinite, window)) and window[0] < window[1]):
            raise ValueError(f"a window is two finite numbers that rise, as in [-160, 240]; got {list(window)}")
        return window
