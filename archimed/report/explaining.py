"""Explanations in pages: heat maps with what they show in words, and whether the deletion test believes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archimed.report.cases import Picture, embedded
from archimed.report.figures.canvas import Figure
from archimed.report.figures.slices import slice_figure
from archimed.report.reading import Record, Run, mapping, number, record
from archimed.report.words import decimal, listing, network_name

FOLDER = "explained"  # of a run, with a folder for each network
IN_REPORT, IN_PAGE = 1_500_000, 12_000_000  # bytes of pictures embedded
KINDS: Mapping[str, str] = {
    "cam": "Class activation maps: this network averages its last maps over the image and adds them by weight, so what "
    "each place gives to the answer is known exactly.",
    "grad-cam": "Grad-CAM: the last maps of the network, each weighed by how much the answer changes with it. It tells "
    "where the evidence lies, not exactly how much of it.",
}
VERDICTS: Mapping[str, str] = {
    "faithful": "The maps are faithful: blurring what they mark costs the answer more than blurring as much elsewhere.",
    "misleading": "The maps mislead: blurring what they mark costs the answer less than blurring as much elsewhere.",
    "undecided": "Whether the maps are faithful is undecided: blurring what they mark costs the answer as much as "
    "blurring anywhere, as far as these cases tell.",
}


@dataclass(frozen=True)
class ShownMap:
    """The map of one class of a case: a heading, its pictures, and for volumes the shares of the slices."""

    title: str
    pictures: tuple[Picture, ...]
    slices: Figure | None
    file: str


@dataclass(frozen=True)
class ShownCase:
    """A case in words, and its maps."""

    title: str
    words: str
    maps: tuple[ShownMap, ...]


@dataclass(frozen=True)
class Explanation:
    """What one network's maps show.

    Attributes:
        network: its name for people.
        data: the name of the data set.
        kind: what the maps are.
        cells: how fine they are.
        verdict: of the deletion test, in a sentence.
        test: its figures, in a sentence.
        rule: which cases these are.
        cases: with pictures, as far as there is room.
        hidden: why some cases have no pictures; empty where all do.
        place: the folder, from that of the page.
    """

    network: str
    data: str
    kind: str
    cells: str
    verdict: str
    test: str
    rule: str
    cases: tuple[ShownCase, ...]
    hidden: str
    place: str


def explanations(run: Run) -> list[Explanation]:
    """Of every network of a run that was explained, that of the run first, with a picture for each map."""
    folders = sorted((run.folder / FOLDER).glob("*/maps.json"), key=lambda path: path.parent.name != run.chosen)
    return [
        explanation(path.parent, IN_REPORT // len(folders), f"{FOLDER}/{path.parent.name}", every=False)
        for path in folders
    ]


def explanation(folder: Path, most: int, place: str = "", *, every: bool = True) -> Explanation:
    """What maps.json of a folder tells, with at most so many bytes of pictures.

    Args:
        folder: that of the explanation.
        most: bytes.
        place: the folder, from that of the page.
        every: whether all slices are shown, and the images beside them.
    """
    told = record(folder / "maps.json")
    cases = [case for case in told.get("cases") or () if isinstance(case, dict)]
    maps = [one for case in cases for one in case.get("maps") or ()]
    finest: list[int] = max((part["cells"] for one in maps for part in one["maps"]), key=len, default=[])
    return Explanation(
        network=network_name(str(told.get("network"))),
        data=str(told.get("data")),
        kind=KINDS.get(str(maps[0].get("kind")) if maps else "", ""),
        cells=" x ".join(map(str, finest)),
        verdict=VERDICTS.get(str(mapping(told, "deletion").get("verdict")), ""),
        test=test_words(mapping(told, "deletion")),
        rule=str(told.get("rule") or ""),
        cases=tuple(shown_cases(folder, cases, most, every)),
        hidden=hidden_words(told, cases),
        place=place,
    )


def test_words(test: Record) -> str:
    """The figures of the deletion test."""
    low, high = number(test.get("low")), number(test.get("high"))
    within = f" (95 % interval {low:+.3f} to {high:+.3f})" if low is not None and high is not None else ""
    return (
        f"Over {test.get('cases')} test cases of {test.get('patients')} patients the mean probability of the answer, "
        f"while the image is blurred block by block, is {decimal(test.get('most'))} where the most important blocks go "
        f"first, {decimal(test.get('random'))} in random order and {decimal(test.get('least'))} where the least "
        f"important go first. The map costs {decimal(test.get('gap'))} more than chance{within}: above 0 it finds what "
        "matters."
    )


def hidden_words(told: Record, cases: Sequence[Record]) -> str:
    """Why cases have no pictures."""
    if all(case.get("pictured") for case in cases):
        return ""
    if told.get("pictures") == "never":
        return "Nothing is pictured, as evaluation.pictures=never asks; the heat maps are in the folder."
    return (
        "Images read from DICOM are not pictured, for they may show who the patient is; their heat maps are in the "
        "folder. To see them, write pictures: always into experiment.yaml, and run archimed explain again."
    )


def shown_cases(folder: Path, cases: Sequence[Record], most: int, every: bool) -> Iterator[ShownCase]:
    """The cases, with pictures as long as there is room."""
    for position, case in enumerate(cases):
        maps = []
        for one in case.get("maps") or ():
            pictures = tuple(pictures_of(folder, case, one, most, every))
            most -= sum(len(picture.png) for picture in pictures)
            maps.append(
                ShownMap(map_title(one), pictures, slices_of(case, one, position) if every else None, one["heat_map"])
            )
        title = ": ".join(str(part) for part in (case.get("case"), case.get("why")) if part)
        yield ShownCase(title, case_words(case), tuple(maps))


def pictures_of(folder: Path, case: Record, one: Record, most: int, every: bool) -> Iterator[Picture]:
    """The pictures of one map; if not every one, the image and the heat of the slice that mattered most."""
    panels = [panel for panel in one.get("panels") or () if isinstance(panel, dict)]
    if not every:
        panels = [panel for panel in panels if panel.get("slice") == panels[0].get("slice")]
        panels = [panel for panel in panels if panel["shows"] == "heat" or panel["channel"] == panels[-1]["channel"]]
    for panel in panels:
        if picture := embedded(folder, panel, caption(case, one, panel), most):
            most -= len(picture.png)
            yield picture


def caption(case: Record, one: Record, panel: Record) -> str:
    """What a picture shows, in a few words."""
    names, at, shares = case.get("channels") or (), panel.get("slice"), one.get("slices") or ()
    channel = int(panel.get("channel") or 0)
    what = names[channel] if channel < len(names) else "Image"
    if panel.get("shows") == "heat":
        if float(one["highest"]) <= 0:
            return f"Nothing speaks for {one['class']}"
        what = f"What speaks for {one['class']}"
        if at and sum(shares):
            return f"{what}, slice {at} of {len(shares)}: {100 * shares[at - 1]:.1f} % of it"
    return f"{what}, slice {at} of {len(shares)}" if at else what


def map_title(one: Record) -> str:
    """Which class a map is of."""
    return f"{one['class']}: logit {decimal(one.get('logit'), 2)}"


def slices_of(case: Record, one: Record, position: int) -> Figure | None:
    """The shares of the slices of a volume; None of an image, or where nothing speaks for the class."""
    shares = one.get("slices") or ()
    if not sum(shares):
        return None
    shown = {panel.get("slice") for panel in one.get("panels") or ()}
    name = f"slices_case{position + 1}_{one['class']}"
    return slice_figure(name, shares, shown, f"Slices of {case.get('case')} that speak for {one['class']}")


def case_words(case: Record) -> str:
    """What the case is, and what was answered."""
    answer = mapping(case, "probabilities")
    ranked = sorted(answer, key=lambda name: -float(answer[name]))[:3]
    told = listing(f"{name} {decimal(answer[name], 2)}" for name in ranked)
    return f"Truth: {listing(case.get('truth') or ()) or 'none'}. Answered: {told}. Of the {case.get('split')} cases."
