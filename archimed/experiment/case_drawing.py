"""Draws one case: its image, the true and the answered mask as outlines or, where structures are thin, as areas.

Outlines differ by width and not by hue alone: the truth is a broad white band, the answer a narrow line over it, both
with a dark edge, so that they are seen on light and on dark images and by colour-blind readers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Integer, Shaped, UInt8

if TYPE_CHECKING:
    from PIL import Image

Style = Literal["outlines", "areas"]

# Okabe and Ito's colours, told apart by colour-blind readers; the first answer is orange.
ANSWERS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (204, 121, 167), (240, 228, 66), (213, 94, 0), (0, 114, 178))
TRUTH, MISSED, EXTRA, WRONG = (255, 255, 255), (86, 180, 233), (230, 159, 0), (204, 121, 167)
LEAST_SIDE = 240  # drawn pixels below which lines stay as wide, as pages enlarge small pictures
WINDOW = (0.5, 99.5)  # percentiles of a channel that become black and white
THIN = 6.0  # mean width in drawn pixels below which two outlines would hide a structure
BAND, LINE, EDGE = 4.2, 2.2, 1.0  # drawn pixels at a side of 320: truth, answer, and the dark edge of each
OWN_COLOURS = 200  # of 256, for the image below lines and areas
DIM = 0.4  # of the brightness of the image below areas


@dataclass(frozen=True)
class View:
    """How a case is cut and scaled to be drawn.

    Attributes:
        slice: along the first axis of a volume; None for an image.
        size: (width, height) in drawn pixels.
    """

    slice: int | None
    size: tuple[int, int]

    def cut(self, array: Shaped[np.ndarray, "*space"]) -> Shaped[np.ndarray, "height width"]:
        """The part that is drawn of a mask or channel."""
        return array if self.slice is None else array[self.slice]


def view_of(shape: Sequence[int], spacing_mm: Sequence[float] | None, at: int | None, side: int) -> View:
    """The view of a case of this shape [*space] whose longer side is drawn with `side` pixels, in true proportions."""
    steps = tuple(spacing_mm)[-2:] if spacing_mm else (1.0, 1.0)
    height, width = (pixels * step for pixels, step in zip(shape[-2:], steps, strict=True))
    longest = max(height, width)
    return View(at, (max(1, round(side * width / longest)), max(1, round(side * height / longest))))


def fullest_slice(truth: Integer[np.ndarray, "*space"], answer: Integer[np.ndarray, "*space"]) -> int | None:
    """The slice of a volume with the largest true area, else the largest answered one; None for an image."""
    if truth.ndim == 2:
        return None
    for mask in (truth, answer):
        areas = (mask > 0).reshape(len(mask), -1).sum(1)
        if areas.any():
            return int(areas.argmax())
    return len(truth) // 2


def picture_of(image: Shaped[np.ndarray, "channel *space"], view: View) -> UInt8[np.ndarray, "height width 3"]:
    """The image alone: colours as they are stored, else the first channel in greys between two percentiles."""
    if is_colour(image):
        return scaled(np.moveaxis(image, 0, -1), view)
    channel = image[0].astype(np.float32)
    low, high = (float(value) for value in np.percentile(channel[np.isfinite(channel)], WINDOW))
    grey = np.nan_to_num((view.cut(channel) - low) / max(high - low, 1e-6), nan=0.0).clip(0, 1)
    return np.repeat(scaled((255 * grey).round().astype(np.uint8), view)[..., None], 3, axis=-1)


def is_colour(image: Shaped[np.ndarray, "channel *space"]) -> bool:
    """Whether the three channels of a picture are red, green and blue."""
    return image.ndim == 3 and len(image) == 3 and image.dtype == np.uint8


def scaled(
    picture: UInt8[np.ndarray, "rows columns *channel"], view: View
) -> UInt8[np.ndarray, "height width *channel"]:
    """A picture at the size of a view."""
    from PIL import Image

    smooth = Image.Resampling.LANCZOS if picture.shape[1] > view.size[0] else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(view.size, smooth))


def covered(mask: Integer[np.ndarray, "*space"], number: int | None, view: View) -> Float[np.ndarray, "height width"]:
    """The share of each drawn pixel that a class covers, or any class but the background for None."""
    from PIL import Image

    inside = view.cut(mask) == number if number is not None else view.cut(mask) > 0
    shrinks = inside.shape[1] > view.size[0]
    smooth = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    shares: Float[np.ndarray, "height width"] = np.asarray(
        Image.fromarray(inside.astype(np.float32)).resize(view.size, smooth)
    )
    return shares


def mean_width(mask: Integer[np.ndarray, "*space"], view: View) -> float | None:
    """Mean width of what is marked, in drawn pixels: twice its area over its outline; None where nothing is."""
    inside = covered(mask, None, view) > 0.5
    framed = np.pad(inside, 1)
    outline = sum(int((framed != np.roll(framed, 1, axis)).sum()) for axis in (0, 1))
    return 2.0 * float(inside.sum()) / outline if outline else None


def style_of(widths: Sequence[float | None]) -> Style:
    """Areas where the structures of most cases are too thin for two outlines."""
    known = sorted(width for width in widths if width is not None)
    return "areas" if known and known[len(known) // 2] < THIN else "outlines"


def drawn_case(
    picture: UInt8[np.ndarray, "height width 3"],
    truth: Integer[np.ndarray, "*space"],
    answer: Integer[np.ndarray, "*space"] | None,
    view: View,
    style: Style,
) -> UInt8[np.ndarray, "height width 3"]:
    """A picture with the true mask and an answer; without an answer the truth alone, in the colours of the classes."""
    if style == "areas":
        return with_areas(picture, truth, truth if answer is None else answer, view)
    scale = max(*view.size, LEAST_SIDE) / 320
    drawn = picture.astype(np.float32)
    if answer is not None and (borders := class_borders(truth, view)):
        drawn = with_line(drawn, np.minimum.reduce(list(borders.values())), TRUTH, BAND * scale, EDGE * scale)
    for number, away in class_borders(truth if answer is None else answer, view).items():
        colour = ANSWERS[(number - 1) % len(ANSWERS)]
        drawn = with_line(drawn, away, colour, LINE * scale, 0.7 * EDGE * scale)
    return drawn.round().astype(np.uint8)


def class_borders(mask: Integer[np.ndarray, "*space"], view: View) -> dict[int, Float[np.ndarray, "height width"]]:
    """For each class of a mask that has a border in the view, how far every drawn pixel is from it."""
    from scipy.ndimage import distance_transform_edt

    found = {}
    for number in range(1, int(mask.max(initial=0)) + 1):
        inside = covered(mask, number, view) >= 0.5
        if inside.any() and not inside.all():
            found[number] = np.maximum(distance_transform_edt(inside), distance_transform_edt(~inside)) - 0.5
    return found


def with_line(
    drawn: Float[np.ndarray, "height width 3"],
    away: Float[np.ndarray, "height width"],
    colour: tuple[int, int, int],
    width: float,
    edge: float,
) -> Float[np.ndarray, "height width 3"]:
    """A picture with a smooth line of a dark edge along all pixels that are near enough."""
    for reach, tint in ((width / 2 + edge, (0, 0, 0)), (width / 2, colour)):
        strength = np.clip(reach + 0.5 - away, 0, 1)[..., None]
        drawn = drawn * (1 - strength) + np.array(tint) * strength
    return drawn


def with_areas(
    picture: UInt8[np.ndarray, "height width 3"],
    truth: Integer[np.ndarray, "*space"],
    answer: Integer[np.ndarray, "*space"],
    view: View,
) -> UInt8[np.ndarray, "height width 3"]:
    """A dimmed picture with what is found, missed, marked in excess, and given another class."""
    parts = (
        (TRUTH, (truth == answer) & (truth > 0)),
        (MISSED, (truth > 0) & (answer == 0)),
        (EXTRA, (truth == 0) & (answer > 0)),
        (WRONG, (truth > 0) & (answer > 0) & (truth != answer)),
    )
    drawn = DIM * picture.astype(np.float32)
    rest = np.ones(picture.shape[:2], dtype=np.float32)
    total = np.zeros_like(drawn)
    for colour, mask in parts:
        share = covered(mask.astype(np.uint8), None, view)
        total += share[..., None] * np.array(colour, dtype=np.float32)
        rest -= share
    mixed: UInt8[np.ndarray, "height width 3"] = (
        (total + rest.clip(0, 1)[..., None] * drawn).clip(0, 255).round().astype(np.uint8)
    )
    return mixed


def palette_for(picture: UInt8[np.ndarray, "height width 3"]) -> "Image.Image":
    """The colours in which a picture and whatever is drawn on it are saved: lines and areas keep their exact ones."""
    from PIL import Image

    own = Image.fromarray(picture).quantize(OWN_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(own.getpalette() or [])[: 3 * OWN_COLOURS], *mark_colours()])
    return palette


def png_bytes(drawn: UInt8[np.ndarray, "height width 3"], palette: "Image.Image | None" = None) -> bytes:
    """A drawing as PNG of at most 256 colours, its own or those of a palette, which takes a third of the space."""
    import io

    from PIL import Image

    image = Image.fromarray(drawn)
    if palette is None:
        few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    else:
        few = image.quantize(palette=palette, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, "PNG", optimize=True)
    return file.getvalue()


def mark_colours() -> list[int]:
    """The colours of lines and areas with their shades towards their dark edge, as red, green, blue, red, ..."""
    marks = dict.fromkeys((TRUTH, MISSED, EXTRA, WRONG, *ANSWERS))
    return [round(share * part) for colour in marks for share in (1.0, 0.75, 0.5, 0.25) for part in colour]
