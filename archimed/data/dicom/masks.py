"""What to segment, from DICOM: the contours of an RTSTRUCT or a segment of a SEG, on the grid of a given volume."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

from archimed.data.dicom.contours import filled
from archimed.data.dicom.header import (
    REPAIR,
    REPLACE,
    RefusedError,
    dicom_errors,
    functional_group,
    missing,
    number,
    numbers,
    quiet,
    read_header,
    text,
    told_of,
    whole,
)
from archimed.data.dicom.pixels import read_frames
from archimed.data.dicom.reader import dicom_files
from archimed.data.dicom.series import (
    GAP_TOLERANCE_SHARE,
    LPS_TO_RAS,
    SAME_POSITION_MM,
    affine_of,
    check_alike,
    object_name,
    plane_of,
)
from archimed.data.preparation.resampling import MAX_VOXELS, check_affine, resample
from archimed.data.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

MASKS = ("RTSTRUCT", "SEG")
NAMES_SHOWN = 20
NAME_LENGTH = 64
CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
LABEL_MAPS = "1.2.840.10008.5.1.4.1.1.66.7"


def read_dicom_mask(path: Path, origin: str, reference: Volume, roi: str | None) -> UInt8[np.ndarray, "*space"]:
    """One structure of an RTSTRUCT or SEG as 1 on the reference's grid, 0 elsewhere.

    Args:
        path: the file, or a folder that holds one such file.
        origin: where a message points to, for example "line 12 of cases.csv".
        reference: the volume on whose grid the mask lies.
        roi: name of the structure; None takes the only one.

    Raises:
        DataError: in one line, naming the structures where `roi` is none of them or is needed.
    """
    with quiet(), told_of(origin, path):
        if reference.affine is None or reference.pixels.ndim != 4:
            raise RefusedError("A mask from DICOM needs an image that is a volume with a place", "has none", REPLACE)
        path = _only_mask(path) if path.is_dir() else path
        with told_of(origin, path):
            header = read_header(path, pixels=True)
            name = object_name(header)
            if name == "RTSTRUCT":
                mask = filled(_contours(header, roi), reference.affine, reference.pixels.shape[1:])
            elif name == "SEG":
                segment = _segment(header, roi)
                shape = reference.pixels.shape[1:]
                mask = resample(segment, shape, reference.affine, nearest=True).pixels[0]
            else:
                raise RefusedError("A mask from DICOM must be an RTSTRUCT or SEG", "is none", "Name such a file.")
            if not mask.any():
                raise RefusedError(
                    "A structure must lie in its image",
                    "has no voxel there (another patient or frame of reference?)",
                    "Pair it with its own series.",
                )
            return mask.astype(np.uint8)


def _only_mask(folder: Path) -> Path:
    found = [path for path in dicom_files(folder) if object_name(read_header(path, pixels=False)) in MASKS]
    if len(found) != 1:
        raise RefusedError("A mask folder must hold one RTSTRUCT or SEG", f"holds {len(found)}", "Name the file.")
    return found[0]


def _chosen(names: Sequence[tuple[int, str]], roi: str | None) -> int:
    """Number of the structure that is asked for."""
    if roi is None and len(names) == 1:
        return names[0][0]
    found = [number_ for number_, name in names if name == roi]
    found = found or [number_ for number_, name in names if roi is not None and name.casefold() == roi.casefold()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join("".join(filter(str.isprintable, name))[:NAME_LENGTH] for _, name in names[:NAMES_SHOWN])
    listed += f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    if not names:
        raise RefusedError("A mask from DICOM must hold a structure", "holds none that is drawn", REPLACE)
    what = "several" if roi is None else f"{len(found)} named {roi}" if found else f"no {roi}"
    raise RefusedError(
        "A mask is one structure", f"holds {what} (it has {listed})", "Set data.roi to the name of one of them."
    )


def _contours(header: "Dataset", roi: str | None) -> list[Float[np.ndarray, "point 3"]]:
    """The closed contours of one structure, in millimetres in RAS+."""
    drawn = {}
    for item in header.get("ROIContourSequence") or ():
        closed = [c for c in item.get("ContourSequence") or () if text(c, "ContourGeometricType") in CLOSED]
        if closed:
            drawn[whole(item, "ReferencedROINumber")] = closed
    rois = [(whole(item, "ROINumber"), text(item, "ROIName")) for item in header.get("StructureSetROISequence") or ()]
    chosen = drawn[_chosen([item for item in rois if item[0] in drawn], roi)]
    return [_points(contour) for contour in chosen]


def _points(contour: "Dataset") -> Float[np.ndarray, "point 3"]:
    try:
        points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
    except dicom_errors():
        points = np.empty((0, 3))
    if len(points) < 3 or not np.isfinite(points).all() or np.abs(points).max() > 1e6:
        raise RefusedError("ContourData must be three or more points in millimetres", "holds others", REPAIR)
    return points @ LPS_TO_RAS[:3, :3]


def _segment(header: "Dataset", roi: str | None) -> Volume:
    """One segment as a volume of 0 and 1 on the grid of the SEG, from its first slice to its last."""
    if text(header, "SOPClassUID") == LABEL_MAPS or text(header, "SegmentationType") not in ("BINARY", "FRACTIONAL"):
        raise RefusedError("A SEG must be BINARY or FRACTIONAL", "is neither", "Export it as BINARY.")
    segments = header.get("SegmentSequence") or ()
    chosen = _chosen([(whole(item, "SegmentNumber"), text(item, "SegmentLabel")) for item in segments], roi)
    frames = read_frames(header)[:, 0]
    planes = [plane_of(header, frame) for frame in range(len(frames))]
    check_alike(planes)
    heights = np.array([plane.position for plane in planes]) @ planes[0].normal
    rows, step = _rows(heights, header)
    used = [frame for frame in range(len(frames)) if _segment_of(header, frame) == chosen]
    if not used or len({int(rows[frame]) for frame in used}) < len(used):
        raise RefusedError("Each slice of a segment must have a position of its own", "has several or none", REPLACE)
    if (int(rows.max()) + 1) * frames[0].size > MAX_VOXELS:
        raise RefusedError(f"A volume has at most {MAX_VOXELS:,} voxels", "has more", REPLACE)
    pixels = np.zeros((1, int(rows.max()) + 1, *frames.shape[1:]), np.uint8)
    for frame in used:
        pixels[0, rows[frame]] = _inside(header, frames[frame])
    affine = affine_of(planes[int(np.argmin(heights))], planes[0].normal * step)
    check_affine(affine)
    return Volume(pixels, affine)


def _rows(heights: Float[np.ndarray, " frame"], header: "Dataset") -> tuple[np.ndarray, float]:
    """Slice number of each frame, and millimetres between slices; empty slices are often left out of a SEG."""
    places = np.sort(heights)
    steps = np.diff(places)[np.diff(places) > SAME_POSITION_MM]
    step = float(steps.min()) if len(steps) else _thickness(header)
    rows = (heights - places[0]) / step
    if np.abs(rows - np.rint(rows)).max() > GAP_TOLERANCE_SHARE:
        raise RefusedError("Slices of a SEG must be whole steps apart", "has others", REPLACE)
    return np.rint(rows).astype(np.int64), step


def _thickness(header: "Dataset") -> float:
    measures = functional_group(header, 0, "PixelMeasuresSequence") or header
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        found = numbers(measures, keyword, 1)
        if found is not None and found[0] > 0:
            return found[0]
    raise missing("SliceThickness", "A SEG of one slice")


def _segment_of(header: "Dataset", frame: int) -> int:
    group = functional_group(header, frame, "SegmentIdentificationSequence")
    if group is None:
        raise missing("SegmentIdentificationSequence", "A SEG")
    return whole(group, "ReferencedSegmentNumber")


def _inside(header: "Dataset", frame: np.ndarray) -> Bool[np.ndarray, "height width"]:
    if text(header, "SegmentationType") == "BINARY":
        return frame > 0
    return frame >= number(header, "MaximumFractionalValue") / 2
