"""The `data.*` settings."""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class DataSettings:
    """How images are read, divided and normalised."""

    image_size: int | None = Field(
        default=None,
        ge=8,
        le=4096,
        description="pixels per side to which every image is resized, antialiased, aspect ratio not kept; none keeps "
        "the size of the source",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="convert all images to grey (1) or RGB (3); none keeps what the source holds"
    )
    normalisation: Literal["auto", "half", "training"] = Field(
        default="auto",
        description="half: mean and standard deviation 0.5 of the full scale (MedMNIST protocol); training: mean and "
        "standard deviation per channel of the training split; auto: half for 2D MedMNIST files, training otherwise",
    )
    folds: int | None = Field(
        default=None,
        ge=1,
        le=50,
        description="test folds of a cross-validation by patient, 1 for a single split; none takes what the source "
        "says (a `fold` column), else 1. Where the source has an official test split it stays the test split and "
        "the folds are validation folds",
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
