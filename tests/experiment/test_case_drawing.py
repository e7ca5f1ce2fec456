import io

import numpy as np
import pytest
from PIL import Image

from archimed.experiment.case_drawing import (
    ANSWERS,
    EXTRA,
    MISSED,
    TRUTH,
    WRONG,
    class_borders,
    drawn_case,
    fullest_slice,
    mean_width,
    picture_of,
    png_bytes,
    style_of,
    view_of,
)

SIDE = 320


def disc(radius: float, size: int = 80, middle: tuple[float, float] = (39.5, 39.5)) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return ((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2).astype(np.uint8)


def test_a_view_keeps_the_proportions_in_millimetres() -> None:
    assert view_of((40, 80), None, None, SIDE).size == (320, 160)
    assert view_of((40, 80), (3.0, 1.5), None, SIDE).size == (320, 320)
    assert view_of((9, 40, 80), (5.0, 1.0, 1.0), 4, SIDE).size == (320, 160)


def test_the_slice_of_a_volume_is_the_one_with_most_to_see() -> None:
    truth = np.zeros((5, 4, 4), np.uint8)
    empty = truth.copy()
    truth[3, :2], truth[1, 0] = 1, 2
    assert fullest_slice(truth, empty) == 3
    assert fullest_slice(empty, truth) == 3
    assert fullest_slice(empty, empty) == 2
    assert fullest_slice(truth[3], empty[3]) is None


def test_greys_reach_from_black_to_white_whatever_the_scale() -> None:
    ramp = np.linspace(-1000, 3000, 80 * 80, dtype=np.float32).reshape(1, 80, 80)
    picture = picture_of(ramp, view_of((80, 80), None, None, 80))
    assert picture.shape == (80, 80, 3)
    assert picture.min() == 0
    assert picture.max() == 255
    assert int(picture[40, 40, 0]) == pytest.approx(127, abs=3)


def test_a_constant_or_unfinished_image_can_be_drawn() -> None:
    flat = np.full((1, 20, 20), 7, np.int16)
    holes = np.full((1, 20, 20), np.nan, np.float32)
    holes[0, :10] = 1.0
    for image in (flat, holes):
        assert picture_of(image, view_of((20, 20), None, None, 20)).dtype == np.uint8


def test_colours_stay_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 30, 40), dtype=np.uint8)
    assert (picture_of(image, view_of((30, 40), None, None, 40)) == np.moveaxis(image, 0, -1)).all()


@pytest.mark.parametrize("radius", [8.0, 20.0, 33.0])
def test_the_lines_lie_on_the_border_of_the_mask(radius: float) -> None:
    truth, answer = disc(radius), disc(radius, middle=(39.5, 42.5))
    view = view_of(truth.shape, None, None, SIDE)
    (away,) = class_borders(truth, view).values()
    rows, columns = np.mgrid[:SIDE, :SIDE]
    exact = np.abs(np.hypot(rows - (4 * 39.5 + 1.5), columns - (4 * 39.5 + 1.5)) - 4 * radius)
    assert np.abs(away - exact).max() < 4  # one pixel of the mask
    drawn = drawn_case(np.full((SIDE, SIDE, 3), 90, np.uint8), truth, answer, view, "outlines")
    (answered,) = class_borders(answer, view).values()
    assert (drawn[answered < 0.4] == ANSWERS[0]).all()
    assert (drawn[(away < 1) & (answered > 4)] == TRUTH).all()
    assert (drawn[(away > 5) & (answered > 5)] == 90).all()


def test_lines_are_seen_on_black_and_on_white() -> None:
    truth, view = disc(20), view_of((80, 80), None, None, SIDE)
    for grey in (0, 255):
        drawn = drawn_case(np.full((SIDE, SIDE, 3), grey, np.uint8), truth, truth * 0, view, "outlines")
        assert drawn.min() < 20
        assert drawn.max() > 235


def test_areas_tell_found_missed_extra_and_wrong() -> None:
    truth, answer = np.zeros((2, 8, 8), np.uint8)
    truth[:, 2:6], answer[:, 4:8] = 1, 1
    truth[7, 4:6] = 2
    view = view_of(truth.shape, None, None, 8)
    drawn = drawn_case(np.full((8, 8, 3), 100, np.uint8), truth, answer, view, "areas")
    for pixel, colour in (((0, 4), TRUTH), ((0, 2), MISSED), ((0, 7), EXTRA), ((7, 4), WRONG), ((0, 0), (40, 40, 40))):
        assert tuple(drawn[pixel]) == colour


def test_thin_structures_are_drawn_as_areas() -> None:
    bars = np.zeros((64, 64), np.uint8)
    bars[:, ::16] = 1
    view = view_of(bars.shape, None, None, 128)
    assert mean_width(bars, view) == pytest.approx(2, abs=0.4)
    assert mean_width(bars * 0, view) is None
    assert style_of([2.0, None, 3.0]) == "areas"
    assert style_of([30.0, 2.0, 25.0]) == "outlines"
    assert style_of([None]) == "outlines"


def test_a_picture_is_a_small_png_of_its_size() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    opened = Image.open(io.BytesIO(png_bytes(picture)))
    assert (opened.format, opened.mode, opened.size) == ("PNG", "P", (70, 50))
