"""The networks of several runs, repeats of one network put together: by name, unless settings that matter differ."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archimed.files import read_json
from archimed.report.words import listing
from archimed.runs import NetworkFolder, read_place
from archimed.studies.run_files import ONE, RunFiles

# What may differ between the repeats of one network: where data were found, how they are kept, and what is measured.
NEVER_MATTER = ("data.cache", "data.columns")
OF_EVERY_NETWORK = ("data", "training")
OF_SEARCHED = ("data", "training", "space", "search")
MOST_TOLD = 3  # differing settings named in a sentence


@dataclass(frozen=True)
class Member:
    """One training of a network: where it lies and what it is of."""

    run: str
    dataset: str
    fold: int
    seed: int
    folder: NetworkFolder


@dataclass(frozen=True)
class Gathered:
    """One network with all its repeats.

    Attributes:
        name: what the comparison calls it.
        network: what the runs call it.
        is_own: whether it is the own network of a run's method, and no baseline.
        is_fixed: whether there was nothing to search.
        settings: those that matter, dotted.
        members: its trainings, each data set, fold and seed once.
    """

    name: str
    network: str
    is_own: bool
    is_fixed: bool
    settings: Mapping[str, Any]
    members: tuple[Member, ...]

    @property
    def runs(self) -> list[str]:
        """The runs that its trainings are from."""
        return list(dict.fromkeys(member.run for member in self.members))

    @property
    def seeds(self) -> list[int]:
        """The seeds of its trainings."""
        return sorted({member.seed for member in self.members})


def gather(runs: Sequence[RunFiles]) -> tuple[list[Gathered], list[str]]:
    """The networks of all runs, and what a reader must know of how they were put together."""
    groups: list[Gathered] = []
    notes: list[str] = []
    for run in runs:
        for name in networks_of(run):
            found = one_network(run, name)
            same = [group for group in groups if group.network == name and not differing(group, found)]
            if same:
                merged, said = merge(same[0], found)
                groups[groups.index(same[0])] = merged
                notes += said
            else:
                groups.append(found)
    named = with_names(groups)
    return named, [*split_notes(named), *dict.fromkeys(notes)]


def networks_of(run: RunFiles) -> list[str]:
    """The evaluated networks of a run, its own first."""
    names = [str(name) for name in run.summary["networks"]]
    return sorted(names, key=lambda name: name != run.method)


def one_network(run: RunFiles, name: str) -> Gathered:
    """One network of one run, with its settings."""
    members = []
    for path in sorted((run.directory.path / "networks" / name).glob("*/predictions.csv")):
        place = read_place(path.parent.name)
        if place is not None:
            fold, seed, dataset = place
            members.append(Member(run.label, dataset or ONE, fold, seed, NetworkFolder(path.parent)))
    is_own = name == run.method
    is_fixed = not is_own and all(not line["genotype"] for line in selections(run, name))
    settings: dict[str, Any] = {}
    if not is_fixed:
        settings = {key: run.experiment.get(key) for key in ("method", "architecture")}
    elif members:
        space = read_json(members[0].folder.architecture)["space"]
        settings = {f"network.{key}": value for key, value in space.items()}
    settings |= flat_settings(run.experiment, OF_EVERY_NETWORK if is_fixed else OF_SEARCHED)
    settings["budget_seconds"] = run.experiment.get("budget_seconds")
    return Gathered(name, name, is_own, is_fixed, settings, tuple(members))


def selections(run: RunFiles, name: str) -> list[dict[str, Any]]:
    """What was selected under a network's name."""
    return [line for line in run.directory.selections() if line["network"] == name]


def flat_settings(experiment: Mapping[str, Any], sections: Iterable[str]) -> dict[str, Any]:
    """The settings of some sections, dotted, without those that never matter."""
    flat = {f"{part}.{key}": value for part in sections for key, value in experiment.get(part, {}).items()}
    return {key: value for key, value in flat.items() if key not in NEVER_MATTER}


def differing(first: Gathered, second: Gathered) -> dict[str, tuple[Any, Any]]:
    """The settings in which two networks differ; one that only one run knows is of another version, and left out."""
    return {
        key: (value, second.settings[key])
        for key, value in first.settings.items()
        if key in second.settings and second.settings[key] != value
    }


def merge(group: Gathered, found: Gathered) -> tuple[Gathered, list[str]]:
    """A network with further trainings; one of a data set, fold and seed that is there already counts once."""
    there = {(member.dataset, member.fold, member.seed): member for member in group.members}
    fresh: list[Member] = []
    twins: dict[tuple[str, bool], set[int]] = {}  # (run, whether the answers are equal) -> seeds
    for member in found.members:
        twin = there.get((member.dataset, member.fold, member.seed))
        if twin is None:
            fresh.append(member)
        else:
            equal = twin.folder.predictions.read_bytes() == member.folder.predictions.read_bytes()
            twins.setdefault((twin.run, equal), set()).add(member.seed)
    notes = [twin_note(group.network, run, found.runs[0], seeds, equal) for (run, equal), seeds in twins.items()]
    members = (*group.members, *fresh)
    return replace(group, is_own=group.is_own or found.is_own, members=members), notes


def twin_note(network: str, run: str, other: str, seeds: set[int], equal: bool) -> str:
    """A sentence on trainings that two runs have."""
    which = f"seed{'s' * (len(seeds) > 1)} {listing(map(str, sorted(seeds)))}"
    if equal:
        return f"{network} of {which} is in {run} and in {other}, with the same answers: it counts once."
    return (
        f"{network} of {which} has other answers in {other} than in {run}, though their settings agree: that of {run} "
        "counts."
    )


def with_names(groups: Sequence[Gathered]) -> list[Gathered]:
    """Networks of one name, kept apart for their settings, with names that say what differs."""
    named = []
    for group in groups:
        others = [other for other in groups if other.network == group.network and other is not group]
        keys = list(dict.fromkeys(key for other in others for key in differing(group, other)))
        if not keys:
            named.append(group)
            continue
        key, value = keys[0], group.settings[keys[0]]
        words = f"{key}={shown(value)}" if key != "method" else "as a method" if group.is_own else f"beside {value}"
        if any(other.settings.get(key) == value for other in others):
            words = ", ".join(map(short_name, group.runs))
        named.append(replace(group, name=f"{group.network} ({words})"))
    return named


def short_name(label: str) -> str:
    """The last part of a run's label."""
    return Path(label).name


def split_notes(groups: Sequence[Gathered]) -> list[str]:
    """A sentence for each network that counts as several."""
    notes = []
    for network in dict.fromkeys(group.network for group in groups):
        several = [group for group in groups if group.network == network]
        if len(several) > 1:
            found = differing(several[0], several[1])
            told = told_differences(found, short_list(several[0].runs), short_list(several[1].runs))
            notes.append(f"{network} counts as {len(several)} networks, because settings differ: {told}.")
    return notes


def told_differences(found: Mapping[str, tuple[Any, Any]], first: str, second: str) -> str:
    """Differing settings in words, the first few of them."""
    told = [f"{key} is {shown(one)} in {first} and {shown(other)} in {second}" for key, (one, other) in found.items()]
    more = f" and {len(told) - MOST_TOLD} more" if len(told) > MOST_TOLD else ""
    return "; ".join(told[:MOST_TOLD]) + more


def shown(value: Any) -> str:
    """A setting's value as it is typed."""
    return "none" if value is None else ",".join(map(str, value)) if isinstance(value, list) else str(value)


def short_list(labels: Sequence[str]) -> str:
    """Labels of runs, the first few of them."""
    return ", ".join(labels) if len(labels) <= MOST_TOLD else f"{labels[0]} and {len(labels) - 1} others"
