"""One grid for volumes of several sizes: a spacing and a window, by where images and regions lie, never by labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from archimed.data.settings import DataSettings

MOST_VOXELS = 2**15  # of a window that is chosen here: 32 cubed
STEP_MM = 0.1  # spacings that are chosen are whole multiples of it
EVEN = 4  # sides are whole multiples of it, which strided layers halve without a rest
LEAST = 8  # voxels of a side


@dataclass(frozen=True)
class Extent:
    """What of a volume matters for the grid.

    Attributes:
        shape: voxels along each axis.
        spacing: millimetres between them.
        region_mm: lengths of the bounding box of its region and the margin around it; None without a region.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    region_mm: tuple[float, ...] | None = None

    @property
    def wanted_mm(self) -> tuple[float, ...]:
        """Lengths of what a window should hold: the region, else the whole field of view."""
        return self.region_mm or tuple(n * mm for n, mm in zip(self.shape, self.spacing, strict=True))


@dataclass(frozen=True)
class CommonGrid:
    """The grid to which all volumes of a data set were brought.

    Attributes:
        spacing_mm: millimetres between voxels along each axis.
        image_size: voxels along each axis.
        about: what lies in its middle: the region of each case, or the middle of its field of view.
    """

    spacing_mm: tuple[float, ...]
    image_size: tuple[int, ...]
    about: Literal["region", "field"]

    def asked_by(self, settings: DataSettings) -> DataSettings:
        """The settings that ask for this grid."""
        return replace(settings, spacing_mm=self.spacing_mm, image_size=self.image_size, fit="crop-or-pad")  # type: ignore[arg-type]  # pydantic checks the lengths

    @property
    def words(self) -> str:
        """One line for people."""
        same = len(set(self.spacing_mm)) == 1
        steps = f"{self.spacing_mm[0]:g}" if same else " x ".join(f"{mm:g}" for mm in self.spacing_mm)
        middle = "the region" if self.about == "region" else "the middle"
        return (
            f"one grid for volumes of several sizes: {' x '.join(map(str, self.image_size))} voxels of {steps} mm "
            f"about {middle} of each (data.image_size, data.spacing_mm)"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CommonGrid":
        """What `to_json` wrote."""
        return cls(tuple(values["spacing_mm"]), tuple(values["image_size"]), values["about"])


def common_grid(extents: Sequence[Extent], settings: DataSettings) -> CommonGrid | None:
    """The grid that `data.image_size=auto` means; None if the volumes are of one size and have no regions.

    The window holds the largest region (field of view) along each axis, the two axes of a slice alike, so that slices
    can be turned. The spacing is `data.spacing_mm`, else that of the median voxel as a cube, but no finer than 2^15
    voxels allow.
    """
    regions = any(extent.region_mm for extent in extents)
    if not regions and len({extent.shape for extent in extents}) == 1:
        return None
    lengths = np.array([extent.wanted_mm for extent in extents]).max(0)
    lengths[-2:] = lengths[-2:].max()
    if settings.spacing_mm is not None:
        spacing = np.broadcast_to(np.asarray(settings.spacing_mm, np.float64), lengths.shape)
    else:
        own = float(np.median([math.prod(extent.spacing) ** (1 / len(extent.spacing)) for extent in extents]))
        spacing = np.full(len(lengths), _coarse_enough(lengths, own))
    return CommonGrid(
        tuple(map(float, spacing)), tuple(map(int, _sides(lengths, spacing))), "region" if regions else "field"
    )


def _sides(lengths: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    even = np.ceil(lengths / spacing / EVEN - 1e-6) * EVEN
    return np.asarray(np.maximum(even, LEAST).astype(int))


def _coarse_enough(lengths: np.ndarray, own: float) -> float:
    """The least multiple of a tenth of a millimetre, not below `own`, with which the window has few enough voxels."""
    tenths = max(1, math.ceil(own / STEP_MM - 1e-6))
    while math.prod(_sides(lengths, np.full(len(lengths), tenths * STEP_MM)).tolist()) > MOST_VOXELS:
        tenths += 1
    return round(tenths * STEP_MM, 1)
