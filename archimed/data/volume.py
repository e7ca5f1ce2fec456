"""One decoded image: its pixels and, where the file tells, where in the patient they lie."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped

ChannelKind = Literal["ct", "pet", "mr", "other", "mask"]  # mask: a region of interest, 0 and 1


@dataclass(frozen=True)
class Volume:
    """A 2D image or a 3D volume as a reader hands it over.

    The axes of a volume with an affine are in canonical orientation: depth towards the head (superior), height towards
    the back (posterior), width towards the patient's left, so that an axial slice looks as radiologists show it.

    Attributes:
        pixels: [channel, *space], space being (height, width) or (depth, height, width); uint8, uint16, int16 or
            float32. CT is in Hounsfield units, PET in SUV where the file can tell.
        affine: 4x4, from voxel indices (depth, height, width, 1) to millimetres in the patient (right-to-left
            x, posterior-to-anterior y, inferior-to-superior z: the RAS+ convention of NIfTI); None where the file
            does not tell, and for 2D images.
        spacing: millimetres between pixels along each axis of space; None where the file does not tell.
        kind: what the pixel values are, where the file tells; else `other`.
        patient: who it is, as the file says; kept in memory only.
        remarks: what was changed on reading, for example "the alpha channel was dropped".
    """

    pixels: Shaped[np.ndarray, "channel *space"]
    affine: Float[np.ndarray, "4 4"] | None = None
    spacing: tuple[float, ...] | None = None
    kind: ChannelKind = "other"
    patient: str | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
