"""Contact sheets: many cases of a data set in one picture, by class, with contours of masks, or pairs alike."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.inspection.duplicates import Duplicates, crossing_fold, split_numbers
from archimed.data.inspection.survey import Survey, survey
from archimed.data.inspection.views import (
    CT_SHOWN,
    PET_SHOWN,
    Picture,
    Style,
    colour_of,
    largest_picture,
    picture,
    shown_limits,
)
from archimed.data.volume import ChannelKind, Volume

if TYPE_CHECKING:
    from PIL import Image

MOST_CASES = 36  # on one sheet
MOST_PAIRS = 18
WIDTH, HEIGHT = 1360, 2000  # pixels of a sheet at most
SIDES = {2: 112, 3: 96}  # pixels of the longest side of a view, by dimensions
MASK_SIDES = {2: 224, 3: 144}
LARGE = 400  # of a single image
GAP, CAPTION, TITLE, LEGEND = 8, 14, 20, 18  # pixels
CAPTION_FONT, TITLE_FONT = 10, 14
BACKGROUND, INK = (24, 24, 24), (230, 230, 230)


@dataclass(frozen=True)
class Tile:
    """A picture with a line below it."""

    picture: Picture
    caption: str


def contact_sheets(dataset: Dataset, seen: Survey, folder: Path) -> list[Path]:
    """One PNG per class or label, of a segmentation one with contours; cases spread evenly over all there are."""
    style = style_of(dataset, seen)
    groups = _groups(dataset)
    written = []
    for number, (name, rows) in enumerate(groups):
        tiles = _spread(dataset, rows, style)
        if not tiles:
            continue
        legend = _legend(dataset)
        sheet = _sheet(f"{name}: {len(rows)} cases", legend, tiles)
        path = folder / f"{number:02d}-{re.sub('[^A-Za-z0-9]+', '-', name).strip('-') or 'class'}.png"
        sheet.save(path)
        written.append(path)
    return written


def sheet_of_pairs(dataset: Dataset, seen: Survey, found: Duplicates, folder: Path) -> list[Path]:
    """`look-alikes.png`: pairs that look alike, those across splits first; nothing if there are none."""
    if not found.alike:
        return []
    style, splits = style_of(dataset, seen), split_numbers(dataset)
    pairs = zip(found.alike, found.likeness, strict=True)
    ordered = sorted(pairs, key=lambda pair: crossing_fold(pair[0], splits) is None)
    crossing = sum(crossing_fold(pair, splits) is not None for pair in found.alike)
    tiles = []
    for pair, likeness in ordered[:MOST_PAIRS]:
        first, second = (_picture(dataset, row, style, with_mask=False) for row in pair)
        height = max(len(first), len(second))
        both = [np.pad(one, ((0, height - len(one)), (0, 0), (0, 0))) for one in (first, second)]
        names = " = ".join(dataset.cases[row].id for row in pair)
        tiles.append(Tile(np.concatenate(both, axis=1), f"{names} ({likeness:.3f})"))
    path = folder / "look-alikes.png"
    _sheet(f"{len(found.alike)} pairs that look alike, {crossing} of them across splits", [], tiles).save(path)
    return [path]


def sheet_of_image(volume: Volume, folder: Path) -> Path:
    """`image.png`: a single image."""
    pixels = np.ascontiguousarray(volume.pixels)
    seen = survey(Arrays.of([torch.from_numpy(pixels)]))
    whole, flat = pixels.dtype == np.uint8, pixels.ndim == 3
    limits = tuple(shown_limits(volume.kind, whole, values) for values in seen.quantiles)
    style = Style(limits, len(pixels) == 3 and flat and volume.kind == "other", LARGE)
    size = " x ".join(map(str, pixels.shape[1:]))
    path = folder / "image.png"
    _sheet(f"One image, {size}", _scales([volume.kind]), [Tile(picture(pixels, None, volume.spacing, style), "")]).save(
        path
    )
    return path


def style_of(dataset: Dataset, seen: Survey) -> Style:
    """How the images of a data set are shown."""
    whole, channels = dataset.images.dtype == torch.uint8, dataset.task.channels
    kinds = [dataset.kind_of(channel) for channel in range(channels)]
    sides = SIDES if dataset.masks is None else MASK_SIDES
    return Style(
        limits=tuple(shown_limits(kind, whole, values) for kind, values in zip(kinds, seen.quantiles, strict=True)),
        colour=channels == 3 and not dataset.channel_names and dataset.task.spatial_dims == 2,
        side=sides[dataset.task.spatial_dims],
    )


def _groups(dataset: Dataset) -> list[tuple[str, list[int]]]:
    """What each sheet shows: its title and rows."""
    if dataset.masks is not None:
        return [(dataset.name, list(range(len(dataset.cases))))]
    target, names = dataset.target, dataset.task.class_names
    shown = [target == index if target.ndim == 1 else target[:, index] == 1 for index in range(len(names))]
    return [(name, torch.nonzero(rows).flatten().tolist()) for name, rows in zip(names, shown, strict=True)]


def _spread(dataset: Dataset, rows: Sequence[int], style: Style) -> list[Tile]:
    """Tiles of cases spread evenly over these rows, as many as fit."""
    if not rows:
        return []
    task = dataset.task
    height, width = largest_picture(task.channels, task.spatial_dims, dataset.masks is not None, style)
    fitting = _columns(width) * max(1, (HEIGHT - TITLE - LEGEND) // (height + CAPTION + GAP))
    count = min(MOST_CASES, fitting, len(rows))
    chosen = [rows[k] for k in np.linspace(0, len(rows) - 1, count).astype(int)]
    return [Tile(_picture(dataset, row, style), dataset.cases[row].id) for row in chosen]


def _picture(dataset: Dataset, row: int, style: Style, *, with_mask: bool = True) -> Picture:
    mask = dataset.masks[row].numpy() if dataset.masks is not None and with_mask else None
    spacing = dataset.spacing[row] if dataset.spacing else None
    return picture(dataset.images[row].numpy(), mask, spacing, style)


def _legend(dataset: Dataset) -> list[tuple[str, tuple[int, int, int]]]:
    """Words and their colours: what the contours are, and how channels are shown."""
    words: list[tuple[str, tuple[int, int, int]]] = []
    if dataset.masks is not None:
        words += [(name, colour_of(k)) for k, name in enumerate(dataset.task.class_names) if k]
    return [*words, *_scales(dataset.channel_kinds)]


def _scales(kinds: Sequence[ChannelKind]) -> list[tuple[str, tuple[int, int, int]]]:
    """What black and white are, where that is the same for all images."""
    words = {
        "ct": f"CT {CT_SHOWN[0]:g} to {CT_SHOWN[1]:g} HU",
        "pet": f"PET {PET_SHOWN[1]:g} (white) to {PET_SHOWN[0]:g} (black) SUV",
    }
    return [(words[kind], INK) for kind in dict.fromkeys(kinds) if kind in words]


def _columns(width: int) -> int:
    return max(1, (WIDTH - GAP) // (width + GAP))


def _sheet(title: str, legend: Sequence[tuple[str, tuple[int, int, int]]], tiles: Sequence[Tile]) -> "Image.Image":
    """Tiles in rows below a title and a legend."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = (max(tile.picture.shape[axis] for tile in tiles) for axis in (0, 1))
    columns = min(_columns(width), len(tiles))
    top = GAP + TITLE + (LEGEND if legend else 0)
    lines = -(-len(tiles) // columns)
    size = (max(GAP + columns * (width + GAP), 360), top + lines * (height + CAPTION + GAP))
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, ImageFont.load_default(TITLE_FONT))
    left = float(GAP)
    for word, colour in legend:
        font = ImageFont.load_default(CAPTION_FONT + 2)
        draw.text((left, GAP + TITLE), word, colour, font)
        left += draw.textlength(word, font) + 2 * GAP
    for tile, (x, y) in zip(tiles, _places(columns, width + GAP, height + CAPTION + GAP, top), strict=False):
        sheet.paste(Image.fromarray(tile.picture), (x, y))
        caption = tile.caption if len(tile.caption) * 5 < width else tile.caption[: max(4, width // 5)]
        draw.text((x, y + tile.picture.shape[0] + 1), caption, INK, ImageFont.load_default(CAPTION_FONT))
    return sheet


def _places(columns: int, step_x: int, step_y: int, top: int) -> Iterator[tuple[int, int]]:
    number = 0
    while True:
        yield GAP + number % columns * step_x, top + number // columns * step_y
        number += 1
