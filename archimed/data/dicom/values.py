"""Stored grey values of DICOM as Hounsfield units, activity, or greys in which bright is much."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Shaped

from archimed.data.dicom.header import (
    REPAIR,
    REPLACE,
    RefusedError,
    dicom_errors,
    functional_group,
    number,
    text,
    whole,
)
from archimed.data.dicom.pixels import bits_allocated
from archimed.data.volume import ChannelKind

if TYPE_CHECKING:
    from pydicom import Dataset


def upright_greys(
    header: "Dataset", frames: Shaped[np.ndarray, "frame channel height width"], kind: ChannelKind
) -> tuple[Shaped[np.ndarray, "frame channel height width"], tuple[str, ...]]:
    """Bright is much: MONOCHROME1 turned round, single bits as 0 and 255, a modality look-up table applied.

    CT and PET values have a physical meaning whatever their display, so they are left.
    """
    if frames.shape[1] != 1 or kind in ("ct", "pet"):
        return frames, ()
    remarks: tuple[str, ...] = ()
    top = 2 ** min(bits_allocated(header), whole(header, "BitsStored", 32)) - 1
    if header.get("ModalityLUTSequence"):
        frames, top = _through_table(header, frames)
        remarks = ("the modality look-up table was applied",)
    elif bits_allocated(header) == 1:
        frames, top = frames.astype(np.uint8) * np.uint8(255), 255
    if text(header, "PhotometricInterpretation") != "MONOCHROME1":
        return frames, remarks
    if frames.dtype.kind == "u":
        inverted = (frames.dtype.type(top) - frames).astype(frames.dtype)
    else:
        inverted = -frames if frames.dtype.kind == "f" else np.bitwise_not(frames)
    return inverted, (*remarks, "MONOCHROME1 was inverted")


def _through_table(header: "Dataset", frames: np.ndarray) -> tuple[np.ndarray, int]:
    """Greys looked up, and the largest that the table could give."""
    from pydicom.pixels import apply_modality_lut

    try:
        greys = np.asarray(apply_modality_lut(frames, header))
        return greys, 2 ** int(header.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    except dicom_errors() as error:
        raise RefusedError("A modality look-up table must be whole", "has a damaged one", REPLACE) from error


def rescale_of(header: "Dataset", frame: int, kind: ChannelKind) -> tuple[float, float]:
    """Slope and intercept of one frame; (1, 0) where the file tells none, unless CT or PET need them."""
    source = functional_group(header, frame, "PixelValueTransformationSequence") or header
    if kind in ("ct", "pet") or source.get("RescaleSlope") is not None:
        slope, intercept = (
            number(source, "RescaleSlope"),
            number(source, "RescaleIntercept", None if kind == "ct" else 0),
        )
        if slope == 0:
            raise RefusedError("RescaleSlope must not be 0", "has 0", REPAIR)
        return slope, intercept
    return 1.0, number(source, "RescaleIntercept", 0)


def rescaled(
    stored: Shaped[np.ndarray, "frame channel height width"],
    scales: Sequence[tuple[float, float]],
    kind: ChannelKind,
) -> Shaped[np.ndarray, "frame channel height width"]:
    """Slope x stored + intercept, frame by frame.

    Whole Hounsfield units become int16; values without a scale keep their type where it is uint8, int16 or uint16;
    all else is float32.
    """
    if (
        kind == "ct"
        and stored.dtype.kind in "iu"
        and all(slope % 1 == intercept % 1 == 0 for slope, intercept in scales)
    ):
        return _whole_units(stored, scales)
    if kind != "pet" and all(scale == (1, 0) for scale in scales):
        return _plain(stored)
    return _as_float(stored, scales)


def _whole_units(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> np.ndarray:
    values = np.empty(stored.shape, np.int16)
    for index, (slope, intercept) in enumerate(scales):
        frame = stored[index].astype(np.int64) * int(slope) + int(intercept)
        if frame.min() < -(2**15) or frame.max() >= 2**15:
            return _as_float(stored, scales)
        values[index] = frame
    return values


def _as_float(stored: np.ndarray, scales: Sequence[tuple[float, float]]) -> Float32[np.ndarray, "*shape"]:
    values = np.empty(stored.shape, np.float32)
    for index, (slope, intercept) in enumerate(scales):
        values[index] = stored[index].astype(np.float64) * slope + intercept
    return values


def _plain(stored: np.ndarray) -> np.ndarray:
    if stored.dtype in (np.uint8, np.int16, np.uint16):
        return stored
    return stored.astype(np.int16 if stored.dtype == np.int8 else np.float32)
