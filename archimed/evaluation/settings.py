"""The settings `evaluation.*`."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

SURFACE_TOLERANCE_MM = 1.0
ThresholdRule = Literal["best-f1", "best-balance", "half"]


@dataclass(frozen=True, config={"extra": "forbid"})
class EvaluationSettings:
    """How results are measured and what they are measured against."""

    baselines: str = Field(
        default="default",
        description="networks trained beside the method's own by the same recipe: default (random search and one fixed "
        "network), all, none, or names separated by commas",
    )
    resamples: int = Field(
        default=1000, ge=100, description="bootstrap resamples of patients and seeds behind every interval"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="share of the resamples inside an interval")
    required_sensitivity: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of positive cases to find, for which a threshold is chosen on validation (binary tasks); "
        "without it the threshold of the best F1 is reported (MSTF-NAS, Sec. IV-D)",
    )
    label_thresholds: ThresholdRule = Field(
        default="best-f1",
        description="the threshold above which a label of a multi-label task is given, for each label and training by "
        "itself: best-f1 and best-balance choose it on validation, by the label's F1 or by its (TPR + 1 - FPR) / 2; "
        "half is 0.5 for all (ours; the X-ray study does not tell)",
    )
    least_positives: int = Field(
        default=5,
        ge=1,
        description="validation cases that must be known to have a label, and as many not to have it, for its "
        "threshold to be chosen; else it stays 0.5, for a choice among fewer is mostly chance (ours)",
    )
    normal_label: str = Field(
        default="auto",
        description="the label of a multi-label task that says that nothing was found, whose rates are told by "
        "themselves (X-ray study, Sec. 3.4.2): its name; auto takes the one called normal, no finding or healthy; none",
    )
    calibration_bins: int = Field(
        default=10, ge=2, description="bins of the reliability diagram, of about equal counts"
    )
    surface_tolerance_mm: float = Field(
        default=SURFACE_TOLERANCE_MM,
        ge=0,
        description="how far apart two outlines of masks may lie that surface Dice counts as one, in millimetres (in "
        "pixels where the spacing of any image is unknown); best that by which experts differ (Nikolov et al., 2021)",
    )
    small_lesion: float = Field(
        default=0.001, gt=0, lt=1, description="lesions below this share of the image are small (MSTF-NAS, Sec. IV-D)"
    )
    large_lesion: float = Field(
        default=0.01, gt=0, lt=1, description="lesions above this share of the image are large (MSTF-NAS, Sec. IV-D)"
    )
    pictures: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="pictures of the best, median and worst test case of a segmentation in the report, and of "
        "explained cases: auto (unless read from DICOM, whose pixels may name the patient), always or never",
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "EvaluationSettings":
        if self.small_lesion > self.large_lesion:
            raise ValueError(
                f"small_lesion may not exceed large_lesion; got {self.small_lesion} and {self.large_lesion}. Swap them?"
            )
        return self
