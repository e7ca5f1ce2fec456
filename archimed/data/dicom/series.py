"""The slices of a DICOM series: one series told from several, its slices put in order, and where they lie."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from archimed.data.dicom.header import REPAIR, RefusedError, code, functional_group, missing, numbers, text

if TYPE_CHECKING:
    from pydicom import Dataset

GAP_TOLERANCE_MM = 0.1  # how far a slice may lie from where equal steps put it: positions are often rounded to 0.1 mm
GAP_TOLERANCE_SHARE = 0.2  # of the step, where slices are so thin that the tolerance above would hide a gap
SAME_POSITION_MM = 1e-3
SAME_DIRECTION = 1e-3  # direction cosines, which are often rounded to four digits
UNIT_TOLERANCE = 1e-2  # of the length of direction cosines, and of their right angle
TILT_COSINE = 0.9998  # of 1.1 degrees: slices shifted more than that along their planes are told of
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_ONE_SERIES = "Name the folder or file of one series."
# what has no pixels to train on, by modality
OBJECTS = (
    "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SEG", "SR", "PR", "KO", "REG", "FID", "AU", "ECG", "DOC", "HD", "EPS",
    "PLAN", "M3D",
)  # fmt: skip
_OBJECT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.66": "RAW",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.5": "surface SEG",
    "1.2.840.10008.5.1.4.1.1.104.1": "PDF",
    "1.2.840.10008.5.1.4.1.1.104.2": "CDA document",
    "1.2.840.10008.5.1.4.1.1.104.3": "STL model",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.481.5": "RTPLAN",
    "1.2.840.10008.1.3.10": "DICOMDIR",
}


@dataclass(frozen=True)
class Plane:
    """Where one slice lies, in millimetres of DICOM's patient (left, posterior, superior).

    Attributes:
        position: of the middle of its first pixel.
        orientation: direction of growing column index, then of growing row index.
        spacing: between rows, then between columns.
        size: rows, columns.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    size: tuple[int, int]

    @property
    def normal(self) -> Float[np.ndarray, "3"]:
        """Unit vector at right angles to the slice."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def object_name(header: "Dataset") -> str | None:
    """What a file is if it is no image: RTSTRUCT, SEG, SR, PDF and so on; None for images."""
    by_class = _OBJECT_CLASSES.get(text(header, "SOPClassUID"))
    if by_class is not None:
        return by_class
    media = getattr(header, "file_meta", None)
    if media is not None and text(media, "MediaStorageSOPClassUID") == "1.2.840.10008.1.3.10":
        return "DICOMDIR"
    modality = code(header, "Modality")
    return modality if modality in OBJECTS else None


def check_one_series(headers: Sequence["Dataset"]) -> None:
    """RefusedError unless all images are of one series and one patient."""
    modalities: dict[str, str] = {}
    for header in headers:
        modalities.setdefault(text(header, "SeriesInstanceUID"), code(header, "Modality"))
    if len(modalities) > 1:
        counts = Counter(modalities.values())
        names = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        raise RefusedError("A folder must hold one DICOM series", f"holds {len(modalities)} ({names})", _ONE_SERIES)
    if len({text(header, "PatientID") for header in headers}) > 1:
        raise RefusedError("A series must be of one patient", "is of several (PatientID)", _ONE_SERIES)
    if len({code(header, "Modality") for header in headers}) > 1:
        raise RefusedError("A series must be of one modality", "is of several", _ONE_SERIES)


def plane_of(header: "Dataset", frame: int = 0) -> Plane:
    """Where a frame lies, as its functional groups or the file tell; RefusedError naming the tag that lacks."""
    values = []
    for sequence, keyword, count in (
        ("PlanePositionSequence", "ImagePositionPatient", 3),
        ("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        ("PixelMeasuresSequence", "PixelSpacing", 2),
    ):
        group = functional_group(header, frame, sequence)
        found = numbers(header if group is None else group, keyword, count)
        if found is None:
            raise missing(keyword, "A slice of a volume")
        values.append(found)
    position, orientation, spacing = values
    _check_orientation(orientation)
    if min(spacing) <= 0:
        raise RefusedError("PixelSpacing must be above 0", "has another", REPAIR)
    rows, columns = numbers(header, "Rows", 1), numbers(header, "Columns", 1)
    if rows is None or columns is None:
        raise missing("Rows" if rows is None else "Columns")
    return Plane(position, orientation, spacing, (int(rows[0]), int(columns[0])))


def _check_orientation(orientation: tuple[float, ...]) -> None:
    along, down = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm([along, down], axis=1)
    if np.abs(lengths - 1).max() > UNIT_TOLERANCE or abs(along @ down) > UNIT_TOLERANCE:
        raise RefusedError(
            "ImageOrientationPatient must be two directions at right angles",
            "has another",
            REPAIR,
        )


def stacked(planes: Sequence[Plane]) -> tuple[list[int], Float[np.ndarray, "4 4"], tuple[str, ...]]:
    """Order the slices along their normal and find where their voxels lie.

    Args:
        planes: two or more.

    Returns:
        Which slice is first, second and so on; the affine from voxel indices (slice, row, column) to millimetres in
        RAS+; remarks.

    Raises:
        RefusedError: if slices differ in size, spacing or direction, share a position, or do not follow each other in
            equal steps to within GAP_TOLERANCE_MM.
    """
    check_alike(planes)
    positions = np.array([plane.position for plane in planes])
    heights = positions @ planes[0].normal
    order = np.argsort(heights, kind="stable")
    positions, heights = positions[order], heights[order]
    _check_steps(positions, heights)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    remarks: tuple[str, ...] = ()
    if step @ planes[0].normal < TILT_COSINE * np.linalg.norm(step):
        remarks = ("its slices are shifted along their planes (gantry tilt)",)
    return [int(index) for index in order], affine_of(planes[int(order[0])], step), remarks


def affine_of(plane: Plane, step: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """From voxel indices (slice, row, column) to millimetres in RAS+, `plane` being slice 0."""
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = np.array(plane.orientation[3:]) * plane.spacing[0]
    affine[:3, 2] = np.array(plane.orientation[:3]) * plane.spacing[1]
    affine[:3, 3] = plane.position
    return LPS_TO_RAS @ affine


def check_alike(planes: Sequence[Plane]) -> None:
    """RefusedError unless slices agree in size, spacing and direction."""
    first = planes[0]
    for plane in planes[1:]:
        if plane.size != first.size:
            what = f"has slices of {first.size[0]} x {first.size[1]} and of {plane.size[0]} x {plane.size[1]} pixels"
        elif not np.allclose(plane.spacing, first.spacing, rtol=1e-4, atol=0):
            what = "has slices of different PixelSpacing"
        elif not np.allclose(plane.orientation, first.orientation, rtol=0, atol=SAME_DIRECTION):
            what = "has slices of different ImageOrientationPatient (a localizer?)"
        else:
            continue
        raise RefusedError(
            "All slices of a series must lie in one grid", what, "Leave out the files that do not belong to it."
        )


def _check_steps(positions: Float[np.ndarray, "slice 3"], heights: Float[np.ndarray, " slice"]) -> None:
    steps = np.diff(heights)
    shared = int((steps < SAME_POSITION_MM).sum())
    if shared:
        raise RefusedError(
            "Each slice of a volume must have a position of its own",
            f"has {len(heights)} slices at {len(heights) - shared} positions (copies, or a time series)",
            "Keep one slice of each position.",
        )
    even = positions[0] + np.linspace(0, 1, len(positions))[:, None] * (positions[-1] - positions[0])
    expected = float(np.median(steps))
    tolerance = min(GAP_TOLERANCE_MM, GAP_TOLERANCE_SHARE * expected)
    if np.linalg.norm(positions - even, axis=1).max() > tolerance:
        oddest = float(steps[np.argmax(np.abs(steps - expected))])
        found = f"has a step of {oddest:.4g} mm where {expected:.4g} mm are expected (missing slices?)"
        if abs(oddest - expected) <= tolerance:
            found = "has slices that do not lie on a straight line"
        raise RefusedError(f"Slices must be in equal steps to within {tolerance:.2g} mm", found, "Add what is missing.")
