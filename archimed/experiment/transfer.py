"""Transfer: the architecture that one run chose, trained from new weights on other data, in a run of its own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archimed.errors import RunError, SettingsError
from archimed.experiment.layers import default_document, laid_over, parse_assignment, refuse_untyped
from archimed.experiment.networks import read_space, read_task
from archimed.experiment.search_stage import Wanted, baselines_of, wanted_of, write_selections
from archimed.experiment.settings import Experiment, experiment_from_document, own_search_parts
from archimed.experiment.training_task import training_task
from archimed.experiment.workbench import Workbench
from archimed.files import read_json
from archimed.genotype import parse
from archimed.methods import find_method
from archimed.methods.baselines import fixed_baseline, fixed_networks, typical_spacing
from archimed.methods.protocol import Selection
from archimed.runs import RunDirectory, read_place
from archimed.seeding import torch_seed
from archimed.spaces import SearchSpace
from archimed.task import ImagingTask
from archimed.userfile import is_user_object

INHERITED = ("search", "training", "evaluation")  # sections of the run that a transfer takes over


@dataclass(frozen=True)
class Found:
    """The architecture of one network of a run: where it lies, and what its architecture.json says."""

    run: Path
    place: str
    document: Mapping[str, Any]

    @property
    def task(self) -> ImagingTask:
        """What its network was trained for."""
        return read_task(dict(self.document["task"]))

    def selection(self, network: str, own_space: SearchSpace) -> Selection:
        """It as a selection that needed no search."""
        space = read_space(self.document["space"], own_space)
        genotype = parse(self.document["genotype"], space.choices)
        return Selection(
            network, space, genotype, f"the architecture of {network} in the run {self.run.resolve().name}"
        )


def resolve_transfer(
    architecture: str,
    config: Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    trusted_method: str | None = None,
) -> Experiment:
    """The experiment that trains a run's architecture on other data, by that run's recipe and evaluation.

    Settings of the data are the defaults, since they tell of the form of a source; file, `--set` and flags come on top.

    Args:
        architecture: a run, or the folder of its chosen network for one fold, seed and data set.
        config: a YAML file of settings.
        assignments: `key=value` texts.
        flags: dotted settings of the command line's own options; None means not given.
        trusted_method: the method, if the user typed it now: one from a file is executed.

    Raises:
        RunError: there is no such run, or it has not chosen yet.
        SettingsError: a setting is wrong, or the run's method or space is from a file that the user did not name.
    """
    run = run_of(Path(architecture))
    base = run.read_experiment()
    if missing := [name for name in ("method", "seed", "repeats", *INHERITED) if name not in base]:
        raise RunError(f"The settings of a run are damaged: {run.experiment} lacks {missing[0]!r}.")
    method_name = str(base["method"])
    if is_user_object(method_name) and method_name != trusted_method:
        raise SettingsError(
            f"A method from a file executes that file, which needs your word; got {method_name!r}. If you trust it, "
            f"add --method {method_name}"
        )
    found = chosen_architecture(Path(architecture), find_method(method_name).name)
    space = str(found.document["space"].get("name"))
    typed = dict(parse_assignment(text) for text in assignments)
    trusted = space in (typed.get("space"), typed.get("space.name"))
    if is_user_object(space) and not trusted:
        raise SettingsError(
            f"A space from a file executes that file, which needs your word; got {space!r}. If you trust it, add "
            f"--set space={space}"
        )
    refuse_untyped(own_search_parts({"search": base["search"]}), typed, str(run.experiment))
    document = default_document(method_name) | {name: dict(base[name]) for name in INHERITED}
    document["space"] = dict(found.document["space"])
    document["training"]["initial_weights"] = None
    if document["evaluation"].get("baselines") not in {"default", "all", "none"}:
        document["evaluation"]["baselines"] = "default"
    document["seed"], document["repeats"] = base["seed"], base["repeats"]
    document = laid_over(document, method_name, config, assignments, flags, architecture)
    refuse_another_space(found.document["space"], document["space"])
    return experiment_from_document({**document, "method": method_name, "architecture": architecture}, trust_files=True)


def refuse_another_space(found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise SettingsError where the settings of the space are not those that the architecture was found with."""
    for name in sorted({*found, *asked}):
        mine, theirs = json.loads(json.dumps([found.get(name), asked.get(name)]))
        if mine != theirs:
            raise SettingsError(
                f"An architecture keeps the space that it was found in, with space.{name}={mine}; got {theirs}. "
                f"Leave --set space.{name} out, or search with it."
            )


def run_of(path: Path) -> RunDirectory:
    """The run that a path names: itself, or the one around a network's folder or its architecture.json.

    Raises:
        RunError: it is none.
    """
    for folder in (path, *path.resolve().parents[:4]):
        if (folder / "experiment.yaml").is_file():
            return RunDirectory(folder)
    raise RunError(
        f"--architecture takes the folder of a run, or of its chosen network; {path} is in none. Check the path."
    )


def chosen_architecture(path: Path, network: str) -> Found:
    """The architecture that a path names; of a run, that of its network in the first fold and for the first seed.

    Raises:
        RunError: the run has not chosen yet, or a folder is of another network.
        SettingsError: the run chose another one for each of its data sets, so one must be named.
    """
    run = run_of(path)
    if run.path.resolve() != path.resolve():
        folder = path if path.is_dir() else path.parent
        if folder.parent.name != network or not (folder / "architecture.json").is_file():
            raise RunError(
                f"--architecture takes a run, or a folder of {network} in it that holds an architecture.json; got "
                f"{path}. Other networks of the run stand beside with --baselines NAME."
            )
        return Found(run.path, folder.name, read_json(folder / "architecture.json"))
    every = architectures(run, network)
    if not every:
        raise RunError(
            f"A run has an architecture once it began to train; {path} has none of {network}. Go on with: archimed "
            f"resume {path}"
        )
    first = [found for found in every if read_place(found.place)[:2] == read_place(every[0].place)[:2]]  # type: ignore[index]
    if len({json.dumps([one.document["space"], one.document["genotype"]], sort_keys=True) for one in first}) > 1:
        names = ", ".join(str(path / "networks" / network / found.place) for found in first)
        raise SettingsError(
            f"The run {path} chose an architecture for each of its data sets. Name one of them with --architecture: "
            f"{names}"
        )
    return first[0]


def architectures(run: RunDirectory, network: str) -> list[Found]:
    """Every architecture of a network in a run, by fold and seed."""
    places = [
        (read_place(path.parent.name), path) for path in (run.path / "networks" / network).glob("*/architecture.json")
    ]
    ordered = sorted((place[0], place[1], path) for place, path in places if place is not None)
    return [Found(run.path, path.parent.name, read_json(path)) for _, _, path in ordered]


def adopt(bench: Workbench) -> None:
    """Write to selected.json what a transfer trains, for every fold and seed that lacks it.

    Raises:
        RunError: the run it comes from is gone or lacks a network that is asked for.
    """
    for repeat in bench.searches():
        there = {
            (line["network"], line.get("dataset"))
            for line in bench.run.selections()
            if (line["fold"], line["seed"]) == (repeat.fold, repeat.seed)
        }
        if missing := wanted_of(bench, repeat) - there:
            write_selections(bench, repeat, adopted(bench, missing))


def adopted(bench: Workbench, missing: Wanted) -> list[tuple[Selection, str | None]]:
    """The run's own networks that are asked for, the chosen one first, and the fixed ones."""
    names = {name for name, _ in missing}
    selections: list[tuple[Selection, str | None]] = [
        (transferred(bench.experiment, name), None)
        for name in dict.fromkeys((bench.experiment.method.name, *bench.experiment.method.searched_baselines))
        if name in names
    ]
    for number, dataset in enumerate(bench.training_sets):
        scope = bench.scope(number)
        fixed = [name for name in fixed_networks(dataset.task) if (name, scope) in missing]
        selections += [(fixed_baseline(name, dataset.task, typical_spacing(dataset)), scope) for name in fixed]
    return selections


def transferred(experiment: Experiment, network: str) -> Selection:
    """A network of the run that a transfer comes from: the chosen one, or a baseline that was searched there.

    Raises:
        RunError: the run lacks it.
    """
    path = Path(experiment.architecture or "")
    own = experiment.method.name
    if network == own:
        return chosen_architecture(path, own).selection(own, experiment.method.space)
    every = architectures(run_of(path), network)
    if not every:
        raise RunError(
            f"A baseline that needs a search is taken over from the run; {path} has no {network}. Leave it out of "
            "--baselines."
        )
    return every[0].selection(network, experiment.method.space)


def check_transfer(bench: Workbench) -> None:
    """Check that the networks can be built for the data, and that all that is asked for is there.

    Raises:
        SettingsError: the architecture is for images of other dimensions or another kind of task.
        RunError: the run lacks a network that is asked for.
    """
    experiment = bench.experiment
    found = chosen_architecture(Path(experiment.architecture or ""), experiment.method.name)
    mine = found.task
    for dataset in bench.training_sets:
        if dataset.task.spatial_dims != mine.spatial_dims:
            raise SettingsError(
                f"An architecture is for flat images or for volumes; that of {experiment.architecture} is for "
                f"{mine.spatial_dims} dimensions, {dataset.name} has {dataset.task.spatial_dims}. Choose other --data."
            )
        if (dataset.task.kind == "segmentation") != (mine.kind == "segmentation"):
            raise SettingsError(
                f"An architecture answers masks or classes; that of {experiment.architecture} is for {mine.kind}, "
                f"{dataset.name} asks for {dataset.task.kind}. Choose other --data."
            )
        searched = {*experiment.method.searched_baselines} & {*baselines_of(experiment, dataset.task)}
        for selection in (transferred(experiment, name) for name in (experiment.method.name, *sorted(searched))):
            with torch_seed(experiment.seed, "preflight"):
                selection.space.build(selection.genotype, training_task(dataset, experiment.method.training))
