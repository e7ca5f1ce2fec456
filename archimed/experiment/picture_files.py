"""The files of pictured cases: figures/cases/*.png, and cases.json, which tells what each picture shows."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, Shaped

from archimed.experiment.case_drawing import (
    ANSWERS,
    Style,
    View,
    drawn_case,
    fullest_slice,
    is_colour,
    mean_width,
    palette_for,
    picture_of,
    png_bytes,
    style_of,
    view_of,
)
from archimed.files import write_json, write_through

MOST_BYTES = 1_100_000  # of all pictures of a run; in the report they take a third more
SIDES = (384, 320, 256, 208, 160, 128, 96)  # drawn pixels of the longer side: the first at which all fit


@dataclass(frozen=True)
class Answer:
    """What one output of a network says of a case.

    Attributes:
        network: its name.
        exit: the number of the output, counted from 1; the last is the network's answer.
        exits: how many outputs the network has.
        mask: class numbers [*space].
        dice: mean over the foreground classes that the case has; None where none is defined.
    """

    network: str
    exit: int
    exits: int
    mask: Integer[np.ndarray, "*space"]
    dice: float | None


@dataclass(frozen=True)
class PicturedCase:
    """One test case with what networks say of it.

    Attributes:
        dataset: its name.
        rank: `best`, `median` or `worst` by the Dice of the chosen network; `only` where there is one case.
        case: its id.
        cases: how many test cases it stands for.
        image: [channel, *space] as stored.
        truth: class numbers [*space].
        spacing_mm: between pixels along each axis; None where unknown.
        answers: of the chosen network, earliest exit first, then of a baseline.
    """

    dataset: str
    rank: str
    case: str
    cases: int
    image: Shaped[np.ndarray, "channel *space"]
    truth: Integer[np.ndarray, "*space"]
    spacing_mm: tuple[float, ...] | None
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Panel:
    """One picture: its file, what it shows (`image`, `truth` or `answer`), and of an answer whose and how good."""

    file: str
    shows: str
    width: int
    height: int
    network: str | None = None
    exit: int | None = None
    exits: int | None = None
    dice: float | None = None


def write_pictures(folder: Path, cases: Sequence[PicturedCase], class_names: Mapping[str, Sequence[str]]) -> None:
    """Write the pictures of some cases and `cases.json`, in place of what is there.

    Args:
        folder: `figures/cases` of a run.
        cases: best first; of several data sets one after the other.
        class_names: of each data set, the background first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not cases:
        return
    styles = {name: style_of_cases([case for case in cases if case.dataset == name]) for name in class_names}
    drawn = drawn_to_fit(cases, styles)
    for panels in drawn:
        for panel, picture in panels:
            write_through(folder / panel.file, partial(Path.write_bytes, data=picture))
    told = [facts_of(case, [panel for panel, _ in panels]) for case, panels in zip(cases, drawn, strict=True)]
    sets = {
        name: {"style": styles[name], "classes": list(names[1:]), "colours": colours(len(names) - 1)}
        for name, names in class_names.items()
    }
    write_json(folder / "cases.json", {"datasets": sets, "cases": told})


def style_of_cases(cases: Sequence[PicturedCase]) -> Style:
    """One style for all cases of a data set."""
    return style_of([mean_width(case.truth, view_of_case(case, SIDES[1])) for case in cases])


def view_of_case(case: PicturedCase, side: int) -> View:
    """How a case is cut and scaled."""
    return view_of(case.truth.shape, case.spacing_mm, fullest_slice(case.truth, case.answers[0].mask), side)


def drawn_to_fit(cases: Sequence[PicturedCase], styles: Mapping[str, Style]) -> list[list[tuple[Panel, bytes]]]:
    """The pictures of every case at the largest size at which all of them together are small enough."""
    drawn: list[list[tuple[Panel, bytes]]] = []
    for side in SIDES:
        drawn = [list(panels_of(case, number, side, styles[case.dataset])) for number, case in enumerate(cases, 1)]
        if sum(len(picture) for panels in drawn for _, picture in panels) <= MOST_BYTES:
            break
    return drawn


def panels_of(case: PicturedCase, number: int, side: int, style: Style) -> Iterator[tuple[Panel, bytes]]:
    """The image, the truth where there are several classes, and each answer with the truth."""
    view = view_of_case(case, side)
    picture = picture_of(case.image, view)
    palette = palette_for(picture)
    name = f"case{number}-{case.rank}"
    yield Panel(f"{name}-image.png", "image", *view.size), png_bytes(picture)
    if case.truth.max(initial=0) > 1 and style == "outlines":
        alone = drawn_case(picture, case.truth, None, view, style)
        yield Panel(f"{name}-truth.png", "truth", *view.size), png_bytes(alone, palette)
    for place, answer in enumerate(case.answers, start=1):
        panel = Panel(f"{name}-answer{place}.png", "answer", *view.size)
        told = replace(panel, network=answer.network, exit=answer.exit, exits=answer.exits, dice=answer.dice)
        yield told, png_bytes(drawn_case(picture, case.truth, answer.mask, view, style), palette)


def facts_of(case: PicturedCase, panels: Sequence[Panel]) -> dict[str, Any]:
    """What cases.json tells of a case."""
    at = view_of_case(case, SIDES[0]).slice
    return {
        "dataset": case.dataset,
        "rank": case.rank,
        "case": case.case,
        "cases": case.cases,
        "slice": None if at is None else at + 1,
        "slices": None if at is None else len(case.truth),
        "channels": 1 if is_colour(case.image) else len(case.image),
        "panels": [asdict(panel) for panel in panels],
    }


def colours(classes: int) -> list[str]:
    """The colours of the answered classes, as a page writes them."""
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in (ANSWERS * classes)[:classes]]
