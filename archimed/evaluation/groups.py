"""Results by group of patients or images: sex, age, scanner. A mean over all can hide who is served badly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from archimed.evaluation.bootstrap import RepeatPredictions, Tested
from archimed.evaluation.intervals import IntervalRow, metric_intervals
from archimed.evaluation.masks import RepeatMasks
from archimed.task import ImagingTask

FEWEST = 5  # cases, of a binary task of either class, below which a group's figures say nothing
AGES = (18, 40, 60, 80)  # years at which the next group begins


@dataclass(frozen=True)
class GroupResult:
    """What a network achieves on the test cases of one group.

    Attributes:
        by: what the cases are grouped by: sex, age or scanner.
        group: which of them.
        cases: test cases in it, each once however often tested.
        too_few: whether they are too few for the figures to say much.
        metrics: metric name -> value and interval.
    """

    by: str
    group: str
    cases: int
    too_few: bool
    metrics: dict[str, IntervalRow]


def age_group(years: float) -> str:
    """The group of an age, as in 40-59."""
    edges = [0, *AGES]
    place = sum(years >= edge for edge in edges[1:])
    return f"{edges[place]}-{edges[place + 1] - 1}" if place + 1 < len(edges) else f"{edges[place]}+"


def groups_of(told: Mapping[str, str]) -> dict[str, str]:
    """The groups of a case by what is known of it: ages in bands, all else as it is."""
    found = dict(told)
    age = found.get("age", "")
    if age.replace(".", "", 1).isdecimal():
        found["age"] = age_group(float(age))
    return found


def by_group(
    task: ImagingTask,
    repeats: Sequence[Tested],
    groups: Mapping[str, Mapping[str, str]],
    seed: int,
    network: str,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> list[GroupResult]:
    """Measure a network on each group by itself; nothing where all cases are of one group.

    Args:
        task: what was asked.
        repeats: test answers of every (fold, seed).
        groups: case id -> {sex, age or scanner: its group}.
        seed: of the resampling.
        network: its name.
        resamples: of patients and seeds.
        confidence: share of the resamples inside an interval.
    """
    found = []
    for by in dict.fromkeys(name for told in groups.values() for name in told):
        group_of = {case: told[by] for case, told in groups.items() if by in told}
        tested = {case for repeat in repeats for case in repeat.cases}
        names = sorted({group for case, group in group_of.items() if case in tested})
        for name in names if len(names) > 1 else ():
            kept = [part for repeat in repeats if (part := _part(repeat, group_of, name)).cases]
            measured = metric_intervals(task, kept, seed, resamples, confidence=confidence, network=network)
            cases = {case for repeat in kept for case in repeat.cases}
            found.append(GroupResult(by, name, len(cases), _fewest(task, kept, len(cases)) < FEWEST, measured))
    return found


def _part(repeat: Tested, group_of: Mapping[str, str], name: str) -> Tested:
    """The answers to the cases of one group."""
    rows = [row for row, case in enumerate(repeat.cases) if group_of.get(case) == name]
    cases, patients = tuple(repeat.cases[row] for row in rows), tuple(repeat.patients[row] for row in rows)
    if isinstance(repeat, RepeatMasks):
        return replace(repeat, cases=cases, patients=patients, scores=tuple(repeat.scores[row] for row in rows))
    if not isinstance(repeat, RepeatPredictions):
        raise TypeError(f"Groups are of classes, labels or masks; got {type(repeat).__name__}.")
    return replace(
        repeat,
        cases=cases,
        patients=patients,
        target=repeat.target[rows],
        probabilities=repeat.probabilities[rows],
    )


def _fewest(task: ImagingTask, repeats: Sequence[Tested], cases: int) -> int:
    """Cases of the group; of a binary task of its rarer class."""
    if task.kind != "binary":
        return cases
    positives = {
        case
        for repeat in repeats
        if isinstance(repeat, RepeatPredictions)
        for case, target in zip(repeat.cases, repeat.target, strict=True)
        if target == 1
    }
    return min(len(positives), cases - len(positives))
