"""Draws the heat maps of a case: over an image, or over the slices of a volume that mattered."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped, UInt8

from archimed.data.volume import ChannelKind
from archimed.experiment.case_drawing import View, is_colour, picture_of, png_bytes, view_of
from archimed.files import write_through

SIDE = 256  # drawn pixels of the longer side
MOST_SLICES = 3
MOST_CHANNELS = 3
OPAQUE = 0.7  # of the hottest place
RAMP = ((70, 8, 40), (160, 25, 50), (225, 75, 30), (250, 155, 25), (255, 235, 130))  # dark red to light yellow


def slice_shares(heat: Float[np.ndarray, "depth height width"]) -> Float[np.ndarray, " depth"]:
    """The share of each slice in all that speaks for the class; zeros where nothing does."""
    own = heat.clip(min=0).sum((1, 2), dtype=np.float64)
    total = own.sum()
    return np.asarray(own / total if total > 0 else own)


def slices_that_matter(shares: Float[np.ndarray, " depth"], cells: int) -> list[int]:
    """The slices with the largest shares, the first first, no two within one cell of the map along depth."""
    apart = max(1, round(len(shares) / cells))
    found: list[int] = []
    for at in np.argsort(-shares, kind="stable").tolist():
        if len(found) < MOST_SLICES and shares[at] > 0 and all(abs(at - other) >= apart for other in found):
            found.append(at)
    return found or [len(shares) // 2]


def heated(
    picture: UInt8[np.ndarray, "height width 3"], heat: Float[np.ndarray, "rows columns"], view: View, hottest: float
) -> UInt8[np.ndarray, "height width 3"]:
    """A picture with what speaks for the class over it: the more, the brighter and the less transparent.

    Args:
        picture: at the size of the view.
        heat: of the slice, as the network saw it.
        view: the size.
        hottest: the largest value of the whole map, which is drawn brightest.
    """
    from PIL import Image

    share = heat.clip(min=0) / hottest if hottest > 0 else np.zeros_like(heat)
    drawn = Image.fromarray(np.ascontiguousarray(share, np.float32)).resize(view.size, Image.Resampling.BILINEAR)
    level = np.asarray(drawn).clip(0, 1)
    places = np.linspace(0, 1, len(RAMP))
    colour = np.stack([np.interp(level, places, [stop[part] for stop in RAMP]) for part in range(3)], axis=-1)
    strength = OPAQUE * np.sqrt(level)[..., None]
    mixed: UInt8[np.ndarray, "height width 3"] = (
        (picture * (1 - strength) + colour * strength).round().clip(0, 255).astype(np.uint8)
    )
    return mixed


def write_panels(
    folder: Path,
    stem: str,
    image: Shaped[np.ndarray, "channel *space"],
    kinds: Sequence[ChannelKind],
    spacing_mm: Sequence[float] | None,
    maps: Sequence[tuple[str, Float[np.ndarray, "*space"], int]],
) -> list[list[dict[str, Any]]]:
    """Write the pictures of one case: for each map and slice the channels, then the first one with the heat.

    Args:
        folder: where the PNG files go.
        stem: how their names begin.
        image: as stored.
        kinds: of the channels; a region is not drawn. May be empty.
        spacing_mm: between pixels along each axis; None where unknown.
        maps: for each class its name in file names, the map and its cells along depth.

    Returns:
        For each map what its pictures are: file, `shows` (image or heat), `channel`, `slice` from 1, width, height.
    """
    found = []
    plain: dict[tuple[int | None, int], str] = {}
    for name, heat, cells in maps:
        panels: list[dict[str, Any]] = []
        places = slices_that_matter(slice_shares(heat), cells) if heat.ndim == 3 else [None]
        for at in places:
            view = view_of(heat.shape, spacing_mm, at, SIDE)
            where = {"slice": None if at is None else at + 1, "width": view.size[0], "height": view.size[1]}
            end = "" if at is None else f"-slice{at + 1}"
            pictures = dict(drawn_channels(image, kinds, view))
            for channel, picture in pictures.items():
                file = plain.setdefault((at, channel), f"{stem}{end}-image{channel + 1}.png")
                write_png(folder / file, picture)
                panels.append({"file": file, "shows": "image", "channel": channel, **where})
            first = next(iter(pictures))
            file = f"{stem}{end}-{name}.png"
            write_png(folder / file, heated(pictures[first], view.cut(heat), view, float(heat.max())))
            panels.append({"file": file, "shows": "heat", "channel": first, **where})
        found.append(panels)
    return found


def drawn_channels(
    image: Shaped[np.ndarray, "channel *space"], kinds: Sequence[ChannelKind], view: View
) -> Iterator[tuple[int, UInt8[np.ndarray, "height width 3"]]]:
    """The channels that are pictures, in grey, or all together where they are colours."""
    if is_colour(image):
        yield 0, picture_of(image, view)
        return
    shown = [channel for channel in range(len(image)) if not kinds or kinds[channel] != "mask"]
    for channel in shown[:MOST_CHANNELS]:
        yield channel, picture_of(image[channel : channel + 1], view)


def write_png(path: Path, picture: UInt8[np.ndarray, "height width 3"]) -> None:
    """Write a drawing; it is there as a whole or not at all."""
    write_through(path, partial(Path.write_bytes, data=png_bytes(picture)))
