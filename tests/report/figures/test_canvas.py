import math
from xml.etree import ElementTree

import numpy as np
import pytest

from archimed.report.figures.canvas import Figure, Scale, dots, escape, polyline, short, span, star, text


@pytest.mark.parametrize("seed", range(20))
def test_ticks_are_round_inside_and_neither_few_nor_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = float(rng.normal(0, 10 ** rng.uniform(-3, 4)))
    scale = Scale(low, low + float(10 ** rng.uniform(-3, 5)), 0, 100)
    ticks = scale.ticks(5)
    assert 2 <= len(ticks) <= 7
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert all(scale.low - 1e-9 <= tick <= scale.high + 1e-9 for tick in ticks)
    leading = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)
    assert min(abs(leading - nice) for nice in (1, 2, 2.5, 5, 10)) < 1e-5


def test_scales_map_ends_to_ends_and_powers_evenly() -> None:
    scale = Scale(1e3, 1e7, 50, 450, log=True)
    assert [round(scale(10.0**k)) for k in range(3, 8)] == [50, 150, 250, 350, 450]
    assert scale.ticks(5) == [1e3, 1e4, 1e5, 1e6, 1e7]
    assert Scale(2, 4, 100, 0)(3) == 50


def test_a_range_is_never_empty_and_ignores_what_is_not_finite() -> None:
    for values in ([], [3.0], [0.0, 0.0], [math.nan, math.inf]):
        for log in (False, True):
            low, high = span(values, log=log)
            assert low < high
            assert math.isfinite(low)
            assert math.isfinite(high)


def test_short_tick_labels() -> None:
    assert [short(v) for v in (0.25, 40.0, 2500.0, 25_000.0, 14e6, 2e9)] == ["0.25", "40", "2500", "25k", "14M", "2G"]


def test_a_figure_stands_alone_with_colours_written_out() -> None:
    body = (
        text(1, 2, "<&\x01", "label")
        + polyline([(0, 0), (1, 1)], "s1")
        + dots([(2, 3)], "g0")
        + star((5, 5), 4, "star")
    )
    root = ElementTree.fromstring(Figure("f", 'a "title" <b>', "how & why", body, 10, 20).standalone())  # noqa: S314 (our own)
    svg = "{http://www.w3.org/2000/svg}"
    assert root.findtext(f"{svg}title") == 'a "title" <b>'
    assert "var(" not in (root.findtext(f"{svg}style") or "var(")
    assert escape("<&\x01") == "&lt;&amp;\ufffd"
