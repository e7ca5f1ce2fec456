"""Pictured cases in the page: each picture with what it shows in words, embedded so that the page stays one file."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from archimed.report.reading import Record, Run, mapping, number, record
from archimed.report.words import decimal, network_name

MOST_BYTES = 3_000_000  # of all pictures embedded; evaluation writes far less
SIGNATURE = b"\x89PNG\r\n\x1a\n"
AREAS = {  # colours of found, missed, marked in excess and given another class, as the pictures have them
    "in both": "#ffffff",
    "missed": "#56b4e9",
    "marked, but not there": "#e69f00",
    "given another class": "#cc79a7",
}


@dataclass(frozen=True)
class Picture:
    """One picture: its PNG as base64, its size in pixels, and its caption."""

    png: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class PicturedCase:
    """A test case: which it is, in words, and its pictures."""

    title: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class CaseGroup:
    """The pictured cases of one data set.

    Attributes:
        title: its name in a run of several, else empty.
        reading: how to read the pictures.
        marks: what the lines or areas are: (kind, colour, words), kind being `band`, `line` or `area`.
        cases: best first.
    """

    title: str
    reading: str
    marks: tuple[tuple[str, str, str], ...]
    cases: tuple[PicturedCase, ...]


def case_groups(run: Run) -> list[CaseGroup]:
    """The pictured cases of a run by data set; [] where evaluation wrote none."""
    folder = run.folder / "figures" / "cases"
    told = record(folder / "cases.json")
    sets, found = mapping(told, "datasets"), told.get("cases")
    cases = [case for case in found if isinstance(case, dict)] if isinstance(found, list) else []
    groups, left = [], MOST_BYTES
    for name, members in groupby(cases, key=lambda case: str(case.get("dataset"))):
        pictured = []
        for case in members:
            pictures = tuple(pictures_of(folder, case, left))
            left -= sum(len(picture.png) for picture in pictures)
            pictured += [PicturedCase(title_of(case), pictures)] if pictures else []
        style = mapping(sets, name)
        if pictured:
            title = name if len(run.datasets) > 1 else ""
            groups.append(CaseGroup(title, reading_of(style), tuple(marks_of(style)), tuple(pictured)))
    return groups


def pictures_of(folder: Path, case: Record, most: int) -> Iterable[Picture]:
    """The pictures of a case that are there and are PNG files of the folder, as long as they are not too large."""
    panels = case.get("panels")
    for panel in panels if isinstance(panels, list) else []:
        if isinstance(panel, dict) and (picture := embedded(folder, panel, caption_of(case, panel), most)):
            most -= len(picture.png)
            yield picture


def embedded(folder: Path, panel: Record, caption: str, most: int) -> Picture | None:
    """The picture of a panel; None unless its file is a PNG of the folder with fewer bytes than `most`."""
    path = folder / Path(str(panel.get("file"))).name
    content = path.read_bytes() if path.is_file() and path.stat().st_size < most else b""
    width, height = (round(number(panel.get(side)) or 0) for side in ("width", "height"))
    if not content.startswith(SIGNATURE) or min(width, height) <= 0:
        return None
    return Picture(b64encode(content).decode("ascii"), width, height, caption)


def title_of(case: Record) -> str:
    """Which case it is: "Worst of 14 test cases: case-00012"."""
    rank, cases = str(case.get("rank")), round(number(case.get("cases")) or 0)
    which = "The only test case" if rank == "only" else f"{rank.capitalize()} of {cases} test cases"
    return f"{which}: {case.get('case')}"


def caption_of(case: Record, panel: Record) -> str:
    """What a picture shows, in a few words."""
    shows = panel.get("shows")
    if shows == "truth":
        return "Truth, by class"
    if shows == "image":
        at, slices = number(case.get("slice")), number(case.get("slices"))
        several = (number(case.get("channels")) or 1) > 1
        where = f", slice {at:.0f} of {slices:.0f}" if at and slices else ""
        return f"Image{', first channel' if several else ''}{where}"
    place, exits = round(number(panel.get("exit")) or 1), round(number(panel.get("exits")) or 1)
    output = f", output {place} of {exits}" if place < exits else ", answer" if exits > 1 else ""
    return f"{network_name(str(panel.get('network')))}{output}: Dice {decimal(panel.get('dice'), 2)}"


def reading_of(style: Record) -> str:
    """How to read the pictures of a data set."""
    if style.get("style") == "areas":
        return "The image is dimmed, and areas are filled instead of outlined, as outlines would hide thin structures."
    return "Where the answer is right, its narrow line lies in the middle of the white band."


def marks_of(style: Record) -> Iterable[tuple[str, str, str]]:
    """What the lines or areas are."""
    classes, colours = (list(map(str, style.get(key) or ())) for key in ("classes", "colours"))
    if style.get("style") == "areas":
        several = len(classes) > 1
        yield from (("area", colour, words) for words, colour in AREAS.items() if several or "class" not in words)
        return
    yield "band", "#ffffff", "truth"
    for name, colour in zip(classes, colours, strict=False):
        if len(colour) == 7 and colour.startswith("#") and colour[1:].isalnum():
            yield "line", colour, f"answer: {name}" if len(classes) > 1 else "answer"


def why_no_cases(run: Run) -> str:
    """Why a report of a segmentation shows no cases; empty where it has some, or for other tasks."""
    setting = mapping(run.experiment, "evaluation").get("pictures")
    if run.task.kind != "segmentation" or (run.folder / "figures" / "cases" / "cases.json").is_file():
        return ""
    if setting == "never":
        return "No cases are pictured, as evaluation.pictures=never asks."
    return (
        "No cases are pictured: images read from DICOM may show who the patient is. "
        "To see them, write pictures: always into experiment.yaml, and run: archimed evaluate RUN"
    )
