"""One case as a person looks at it: grey as its kind is usually shown, true proportions, contours of its mask.

Of a volume, three slices are shown: from below with the patient's left on the right (axial), from the front with the
head up (coronal) and from the patient's left side with the head up (sagittal); through the middle, or where each meets
most of the mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from archimed.data.volume import ChannelKind

CT_SHOWN = (-160.0, 240.0)  # HU: soft tissue (width 400, level 40)
PET_SHOWN = (10.0, 0.0)  # SUV, inverted: uptake is dark
SEAM = 2  # pixels between views
DARK = 64  # images of 8 bits that stay below are stretched
COLOURS = ((0, 230, 120), (255, 80, 80), (80, 160, 255), (255, 210, 0), (255, 80, 255), (0, 230, 230), (255, 150, 50))

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Style:
    """How the images of a data set are shown.

    Attributes:
        limits: of each channel, the values shown black and white; None for those of each image's own percentiles.
        colour: whether the three channels are red, green and blue.
        side: pixels of the longest side of a view.
    """

    limits: tuple[tuple[float, float] | None, ...]
    colour: bool
    side: int


def shown_limits(kind: ChannelKind, whole: bool, quantiles: Sequence[float]) -> tuple[float, float] | None:
    """The values of a channel shown black and white; `whole`: of 8 bits; `quantiles` as in `Survey`."""
    lowest, low, _, high, highest = quantiles
    if kind == "ct":
        return CT_SHOWN
    if kind == "pet":
        return PET_SHOWN
    if kind == "mr":
        return None
    if whole and highest >= DARK:
        return 0.0, 255.0
    return (lowest, highest) if whole or low == high else (low, high)


def picture(
    image: Shaped[np.ndarray, "channel *space"],
    mask: Shaped[np.ndarray, "*space"] | None,
    spacing: Sequence[float] | None,
    style: Style,
) -> Picture:
    """The views of one case: channels, and below or beside them the first one with the contours of the mask."""
    steps = tuple(spacing) if spacing is not None else (1.0,) * (image.ndim - 1)
    planes = list(_planes(image.shape[1:], mask, steps, upright=spacing is not None))
    scale = style.side / max(max(plane.height_mm, plane.width_mm) for plane in planes)
    parts = _channels(image, style)
    lines = [_row([_scaled(plane.of(part), plane, scale) for plane in planes]) for part in parts]
    if mask is not None:
        marked = [_marked(_scaled(plane.of(parts[0]), plane, scale), plane.of(mask)) for plane in planes]
        lines.append(_row(marked))
    return _row(lines) if image.ndim == 3 else _column(lines)


@dataclass(frozen=True)
class _Plane:
    """A slice of a volume, or a whole image: where it is taken, how it is turned and how large it is."""

    index: tuple[int | slice, ...]
    height_mm: float
    width_mm: float

    def of(self, values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "height width ..."]:
        return values[self.index]


def _planes(
    space: tuple[int, ...], mask: Shaped[np.ndarray, "*space"] | None, steps: Sequence[float], *, upright: bool
) -> Iterator[_Plane]:
    extent = [count * step for count, step in zip(space, steps, strict=True)]
    if len(space) == 2:
        yield _Plane((slice(None), slice(None)), extent[0], extent[1])
        return
    depth, height, width = (_best(space[axis], mask, axis) for axis in range(3))
    rows = slice(None, None, -1) if upright else slice(None)  # the head is where the depth is largest
    yield _Plane((depth, slice(None), slice(None)), extent[1], extent[2])
    yield _Plane((rows, height, slice(None)), extent[0], extent[2])
    yield _Plane((rows, slice(None), width), extent[0], extent[1])


def _best(count: int, mask: Shaped[np.ndarray, "*space"] | None, axis: int) -> int:
    """The slice with most of the mask, or the middle one."""
    if mask is None or not mask.any():
        return count // 2
    areas: Int[np.ndarray, " slice"] = np.count_nonzero(mask, axis=tuple(other for other in range(3) if other != axis))
    return int(areas.argmax())


def _channels(image: Shaped[np.ndarray, "channel *space"], style: Style) -> list[UInt8[np.ndarray, "*space 3"]]:
    """Each channel in grey, or the three of a colour image as one."""
    greys = [_grey(channel, limits) for channel, limits in zip(image, style.limits, strict=True)]
    if style.colour:
        return [np.stack(greys, axis=-1)]
    return [np.repeat(grey[..., None], 3, axis=-1) for grey in greys]


def _grey(values: Shaped[np.ndarray, "*space"], limits: tuple[float, float] | None) -> UInt8[np.ndarray, "*space"]:
    numbers: Float[np.ndarray, "*space"] = np.nan_to_num(values.astype(np.float32))
    black, white = limits or (float(edge) for edge in np.percentile(numbers, (1, 99)))
    if black == white:
        return np.full(values.shape, 128, dtype=np.uint8)
    shown: UInt8[np.ndarray, "*space"] = (((numbers - black) / (white - black)).clip(0, 1) * 255).astype(np.uint8)
    return shown


def _scaled(pixels: UInt8[np.ndarray, "height width 3"], plane: _Plane, scale: float) -> Picture:
    from PIL import Image

    size = (max(1, round(plane.width_mm * scale)), max(1, round(plane.height_mm * scale)))
    resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BICUBIC)
    return np.array(resized)


def _marked(view: Picture, mask: Shaped[np.ndarray, "height width"]) -> Picture:
    """The view with the contour of each class in its colour."""
    rows = (np.arange(view.shape[0]) + 0.5) * mask.shape[0] / view.shape[0]
    columns = (np.arange(view.shape[1]) + 0.5) * mask.shape[1] / view.shape[1]
    classes = mask[rows.astype(int)][:, columns.astype(int)]
    marked = view.copy()
    for number in np.unique(classes):
        if number:
            marked[_edge(classes == number)] = colour_of(int(number))
    return marked


def _edge(inside: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels of a region that have a neighbour outside it."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: Bool[np.ndarray, "height width"] = inside & ~core
    return edge


def colour_of(number: int) -> tuple[int, int, int]:
    """The colour of a class of masks, from 1 on."""
    return COLOURS[(number - 1) % len(COLOURS)]


def largest_picture(channels: int, space: int, masked: bool, style: Style) -> tuple[int, int]:
    """Height and width that no picture of a data set exceeds."""
    views = (1 if style.colour else channels) + masked
    across, down = (views, 1) if space == 2 else (3, views)
    return down * (style.side + SEAM), across * (style.side + SEAM)


def _row(views: Sequence[Picture]) -> Picture:
    """Views side by side, on their common middle."""
    height = max(len(view) for view in views)
    padded = []
    for view in views:
        above = (height - len(view)) // 2
        padded += [np.pad(view, ((above, height - len(view) - above), (0, 0), (0, 0))), _gap(height, SEAM)]
    return np.concatenate(padded[:-1], axis=1)


def _column(views: Sequence[Picture]) -> Picture:
    width = max(view.shape[1] for view in views)
    padded = []
    for view in views:
        padded += [np.pad(view, ((0, 0), (0, width - view.shape[1]), (0, 0))), _gap(SEAM, width)]
    return np.concatenate(padded[:-1], axis=0)


def _gap(height: int, width: int) -> Picture:
    return np.zeros((height, width, 3), dtype=np.uint8)
