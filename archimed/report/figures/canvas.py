"""SVG by hand: elements, scales, ticks and axes, and a figure that can stand in a page or in a file.

Shapes carry classes, never colours. A page gives the classes its light or dark colours; a file of its own carries the
light ones. Every number is written with one decimal, so that the same run gives the same bytes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as escape_markup
from importlib.resources import files
from math import ceil, floor, isfinite, log10

from archimed.report.words import printable

Point = tuple[float, float]  # (x, y), in pixels from the top left

# name: (on light paper, on dark paper). Series and generations keep their order of lightness for colour-blind readers.
COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#14181d"),
    "panel": ("#f5f7f9", "#1b2128"),
    "ink": ("#1c2126", "#e6e9ec"),
    "muted": ("#59636e", "#a5afba"),
    "axis": ("#98a2ad", "#66717d"),
    "grid": ("#e4e8ec", "#2b323a"),
    "accent": ("#0b62a8", "#6cb6ff"),
    "warning": ("#fdf3e1", "#33291a"),
    "warning-line": ("#c2570c", "#f0975a"),
    "s1": ("#0b62a8", "#6cb6ff"),
    "s2": ("#c2570c", "#f0975a"),
    "s3": ("#0a7d62", "#4cc9a4"),
    "s4": ("#8a4f9e", "#cf9be3"),
    "s5": ("#917000", "#dcb94f"),
    "s6": ("#59636e", "#a5afba"),
    "g0": ("#9ad2ac", "#4a68b4"),
    "g1": ("#5dbdc4", "#417fc0"),
    "g2": ("#379bc1", "#3c97be"),
    "g3": ("#2f74b5", "#62bfbd"),
    "g4": ("#27509b", "#a3dbab"),
    "g5": ("#1b2a6b", "#f0f6b4"),
}


def escape(words: object) -> str:
    """Text as it may stand in SVG and HTML."""
    return escape_markup(printable(words))


@dataclass(frozen=True)
class Figure:
    """One drawing, its title and how to read it; `body` is SVG of width by height pixels.

    One that scrolls keeps its size on narrow screens, and moves sideways there.
    """

    name: str
    title: str
    reading: str
    body: str
    width: float
    height: float
    wide: bool = False
    scrolls: bool = False

    def inline(self) -> str:
        """The drawing for a page, which gives it its colours."""
        limit = f"max-width:{1.12 * self.width:.0f}px"
        if self.scrolls:
            limit += f";--least:{0.95 * self.width:.0f}px"
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}" '
            f'style="{limit}" role="img" aria-label="{escape(self.title)}">{self.body}</svg>'
        )

    def standalone(self) -> str:
        """The drawing as a file of its own, on white, with its title and with its colours written out."""
        rules = re.sub(r"var\(--([\w-]+)\)", lambda found: COLOURS[found[1]][0], chart_rules())
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -28 {self.width:g} {self.height + 28:g}" '
            f'width="{self.width:g}" height="{self.height + 28:g}" role="img" class="chart">'
            f"<title>{escape(self.title)}</title><desc>{escape(self.reading)}</desc><style>{rules}</style>"
            f'<rect y="-28" width="100%" height="100%" class="paper"/>'
            f"{text(8, -10, self.title, 'name')}{self.body}</svg>\n"
        )


def chart_rules() -> str:
    """The style rules of all figures, with colours as variables."""
    return files("archimed.report").joinpath("chart.css").read_text(encoding="utf-8")


def text(x: float, y: float, words: object, classes: str = "", turn: int = 0) -> str:
    """Words that start at, or by class `middle` or `end` are centred on or end at, a point."""
    turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{classes}"{turned}>{escape(words)}</text>'


def line(start: Point, stop: Point, classes: str) -> str:
    """A straight line."""
    return f'<path d="M{start[0]:.1f} {start[1]:.1f}L{stop[0]:.1f} {stop[1]:.1f}" class="{classes}"/>'


def polyline(points: Sequence[Point], classes: str) -> str:
    """A line through points in their order; nothing for none."""
    if not points:
        return ""
    return f'<path d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}" class="curve {classes}"/>'


def dots(points: Sequence[Point], classes: str) -> str:
    """Many dots as one path of round caps, some twelve bytes each."""
    if not points:
        return ""
    return f'<path d="{"".join(f"M{x:.1f} {y:.1f}h0" for x, y in points)}" class="dots {classes}"/>'


def circle(point: Point, radius: float, classes: str, hint: str = "") -> str:
    """A disc; a hint shows under the mouse."""
    inside = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="{radius:g}" class="{classes}">{inside}</circle>'


def rectangle(
    x: float, y: float, width: float, height: float, classes: str, *, radius: float = 0, style: str = ""
) -> str:
    """A box from its top left."""
    styled = f' style="{style}"' if style else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" '
        f'class="{classes}"{styled}/>'
    )


def star(point: Point, radius: float, classes: str, hint: str = "") -> str:
    """A five-pointed star."""
    outline = (0, -1), (0.23, -0.32), (0.95, -0.31), (0.38, 0.12), (0.59, 0.81), (0, 0.4)
    corners = [*outline, *((-x, y) for x, y in outline[-2:0:-1])]
    path = "L".join(f"{point[0] + radius * x:.1f} {point[1] + radius * y:.1f}" for x, y in corners)
    inside = f"<title>{escape(hint)}</title>" if hint else ""
    return f'<path d="M{path}Z" class="{classes}">{inside}</path>'


@dataclass(frozen=True)
class Scale:
    """Maps values from low to high to pixels from start to stop, evenly or by powers of ten; `whole`: whole ticks."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False
    whole: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the scale, about `count` of them."""
        if not self.log:
            ticks = even_ticks(self.low, self.high, count)
            return [tick for tick in ticks if tick == round(tick)] if self.whole else ticks
        decades = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 3 else (1,)
        every = max(1, len(decades) // (count + 1))
        values = [step * 10.0**power for power in decades[::every] for step in steps]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def even_ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten within [low, high], at most about `count`; none for 0."""
    if count == 0:
        return []
    rough = (high - low) / count
    magnitude = 10.0 ** floor(log10(rough))
    step = next(s * magnitude for s in (1, 2, 2.5, 5, 10) if s * magnitude >= rough * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def span(values: Sequence[float], margin: float = 0.05, log: bool = False) -> tuple[float, float]:
    """The range of the finite values, widened by a share of it; never empty."""
    finite = [v for v in values if isfinite(v) and (v > 0 or not log)]
    if not finite:
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = min(finite), max(finite)
    if log:
        room = max((high / low) ** margin, 1.05)
        return low / room, high * room
    room = (high - low) * margin or max(abs(high) * 0.05, 1e-6)
    return low - room, high + room


def short(value: float) -> str:
    """A tick label: 0.25, 40, 2.5k, 14M, 1e+20."""
    size = abs(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if limit <= size < limit * 1e5:
            unit = 1e3 if letter == "k" else limit
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


@dataclass(frozen=True)
class Axes:
    """A plot area with two scales."""

    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> Point:
        """The pixel of a pair of values."""
        return self.x(x), self.y(y)

    def frame(self, x_label: str, y_label: str, x_ticks: int = 5, y_ticks: int = 5) -> str:
        """Grid, tick labels and axis labels; write the unit in the label."""
        left, right, bottom, top = self.x.start, self.x.stop, self.y.start, self.y.stop
        parts = []
        for value in self.y.ticks(y_ticks):
            y = self.y(value)
            parts += [line((left, y), (right, y), "grid"), text(left - 6, y + 4, short(value), "tick end")]
        for value in self.x.ticks(x_ticks):
            x = self.x(value)
            parts += [line((x, bottom), (x, bottom + 4), "axis"), text(x, bottom + 18, short(value), "tick middle")]
        parts.append(line((left, bottom), (right, bottom), "axis"))
        if x_label:
            parts.append(text((left + right) / 2, bottom + 36, x_label, "label middle"))
        if y_label:
            parts.append(text(13, (top + bottom) / 2, y_label, "label middle", turn=-90))
        return "".join(parts)


def legend(entries: Sequence[tuple[str, str]], left: float, top: float, width: float) -> tuple[str, float]:
    """Rows of (words, classes of its line), wrapped to a width; the SVG and the height it takes."""
    x, y, parts = left, top, []
    for words, classes in entries:
        room = 42 + 6.6 * len(words)
        if x > left and x + room > left + width:
            x, y = left, y + 18
        parts += [line((x, y - 4), (x + 20, y - 4), f"curve {classes}"), text(x + 25, y, words, "tick")]
        x += room
    return "".join(parts), y - top + 18
