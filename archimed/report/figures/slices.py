"""The slices of a volume by how much of what speaks for a class lies in each."""

from collections.abc import Collection, Sequence

from archimed.report.figures.canvas import Axes, Figure, Scale, rectangle

WIDTH, HEIGHT = 420.0, 150.0


def slice_figure(name: str, shares: Sequence[float], shown: Collection[int], title: str) -> Figure:
    """Bars of the slices' shares; those that are pictured, counted from 1, stand out."""
    highest = max([*shares, 1e-9])
    axes = Axes(Scale(0.5, len(shares) + 0.5, 60, WIDTH - 8, whole=True), Scale(0, 100 * highest, HEIGHT - 44, 10))
    wide = (axes.x.stop - axes.x.start) / max(1, len(shares))
    bars = [
        rectangle(
            *(axes.x(at) - wide / 2, axes.y(100 * share)),
            *(max(0.6, wide * 0.86), axes.y(0) - axes.y(100 * share)),
            "disc s1" if at in shown else "bar s6",
        )
        for at, share in enumerate(shares, start=1)
        if share > 0
    ]
    body = axes.frame("slice, from the feet", "% of evidence", y_ticks=3) + "".join(bars)
    reading = "What speaks for the class, by slice: dark bars are the slices that are shown."
    return Figure(name, title, reading, body, WIDTH, HEIGHT)
