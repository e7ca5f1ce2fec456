"""The search stage: run the method's search and what its baselines need; log and select."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from archimed.candidate import Candidate
from archimed.data.dataset import Dataset
from archimed.experiment.budget import Budget
from archimed.experiment.networks import read_space
from archimed.experiment.pace import Pace
from archimed.experiment.progress import Observer
from archimed.experiment.settings import Experiment
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import append_line, read_lines, sync, write_json, write_lines
from archimed.genotype import Choice, describe, parse
from archimed.methods.baselines import baseline_names, fixed_baseline, fixed_networks, typical_spacing
from archimed.methods.protocol import Journal, Method, SearchOutcome, SearchProblem, Selection, named_baselines_of
from archimed.runs import RunDirectory
from archimed.spaces import SearchSpace, space_settings
from archimed.task import ImagingTask

Wanted = set[tuple[str, str | None]]  # names of networks, each with the data set it is for; None: for all


def search(bench: Workbench, budget: Budget) -> None:
    """Search in every fold and for every seed, going on where an earlier attempt stopped."""
    repeats = bench.searches()
    budget.searches = len(repeats) * searches_per_repeat(bench)
    for repeat in repeats:
        if missing := missing_of(bench, repeat):
            search_once(bench, repeat, missing, budget)


def missing_of(bench: Workbench, repeat: Repeat) -> Wanted:
    """What a search and the baselines beside it have not given yet."""
    return wanted_of(bench, repeat) - {
        (line["network"], line.get("dataset"))
        for line in bench.run.selections()
        if (line["fold"], line["seed"]) == (repeat.fold, repeat.seed)
    }


def search_once(bench: Workbench, repeat: Repeat, missing: Wanted, budget: Budget) -> None:
    """One search of the method, then that of its pool if a baseline needs it."""
    method, scope = bench.experiment.method, search_scope(bench, repeat)
    budget.begin_search()
    outcome = run_one(bench, method, repeat, budget.seconds_left_for_search)
    found = [selection for selection in outcome.selections if (selection.network, scope) in missing]
    left = {*method.searched_baselines} & {name for name, _ in missing} - {selection.network for selection in found}
    if left and (beside := method.pool(outcome.unique_candidates)) is not None:
        pool = run_one(bench, beside, repeat)
        found += [selection for selection in pool.selections if selection.network in left]
    selections = [(selection, scope) for selection in found]
    for number, dataset in enumerate(bench.training_sets):
        fixed = [(name, bench.scope(number)) for name in fixed_networks(dataset.task)]
        selections += [
            (fixed_baseline(name, dataset.task, typical_spacing(dataset)), of)
            for name, of in fixed
            if (name, of) in missing
        ]
    write_selections(bench, repeat, selections)


def search_scope(bench: Workbench, repeat: Repeat) -> str | None:
    """The name of the data set that a search is for; None if it is for all of the run."""
    return None if bench.one_for_all else bench.scope(repeat.dataset)


def searches_per_repeat(bench: Workbench) -> int:
    """2 if a baseline needs a search that the method's own does not give, else 1; 0 without any search."""
    method = bench.experiment.method
    if bench.experiment.architecture:
        return 0
    own_pool = method.pool(method.search.planned_candidates) is None
    return 2 if not own_pool and wanted_networks(bench) & {*method.searched_baselines} else 1


def wanted_networks(bench: Workbench, dataset: int | None = None) -> set[str]:
    """The method's own network and the baselines, of one data set or of all."""
    sets = bench.training_sets if dataset is None else bench.training_sets[dataset : dataset + 1]
    return {bench.experiment.method.name}.union(*(baselines_of(bench.experiment, one.task) for one in sets))


def baselines_of(experiment: Experiment, task: ImagingTask) -> tuple[str, ...]:
    """The baselines of one task; of a transfer those that need a search only if they are asked for by name."""
    requested, searched = experiment.evaluation.baselines, experiment.method.searched_baselines
    names = baseline_names(requested, searched, task, named_baselines_of(experiment.method))
    by_name = requested not in {"default", "all"}
    return tuple(name for name in names if by_name or not experiment.architecture or name not in searched)


def wanted_of(bench: Workbench, repeat: Repeat) -> Wanted:
    """What a search and the baselines beside it are to give."""
    searched = {bench.experiment.method.name, *bench.experiment.method.searched_baselines}
    numbers = range(len(bench.training_sets)) if bench.one_for_all else [repeat.dataset]
    return {
        (name, search_scope(bench, repeat) if name in searched else bench.scope(number))
        for number in numbers
        for name in wanted_networks(bench, number)
    }


def run_one(
    bench: Workbench, method: Method, repeat: Repeat, seconds_left: Callable[[], float] = lambda: math.inf
) -> SearchOutcome:
    """Run one method's search on the training and validation part of a fold."""
    problem = search_problem(bench, method, repeat)
    bench.observer.stage(f"search: {method.name}{where(bench, repeat, search_scope(bench, repeat))}")
    with bench.machine.session():
        return method.run_search(problem, journal(bench, method, repeat, seconds_left))


def search_problem(bench: Workbench, method: Method, repeat: Repeat) -> SearchProblem:
    """The training and validation part of a fold, at the image size of the search; of all data sets if together."""
    datasets = bench.datasets(method.search.image_size, bench.searches_together)
    if not bench.searches_together:
        return problem_of(bench, datasets[repeat.dataset], repeat)
    first, *others = (problem_of(bench, dataset, repeat) for dataset in datasets)
    return replace(first, beside=tuple(others))


def problem_of(bench: Workbench, dataset: Dataset, repeat: Repeat) -> SearchProblem:
    """What a search may see of one data set in a fold."""
    fold = dataset.folds[repeat.fold]
    training = dataset.rows(fold.train)
    return SearchProblem(
        task=dataset.task,
        train=dataset.subset(fold.train),
        validation=dataset.subset(fold.validation),
        normalise=bench.normalisation(dataset, repeat.fold),
        seed=repeat.seed,
        machine=bench.machine,
        crew=bench.experiment.crew,
        patients=tuple(dataset.cases[row].patient for row in training),
        name=dataset.name,
    )


def journal(bench: Workbench, method: Method, repeat: Repeat, seconds_left: Callable[[], float]) -> Journal:
    """What was logged of this search before, and how to log on."""
    choices, scope = method.space.choices, search_scope(bench, repeat)
    records = bench.run.candidate_records(method.name, repeat.fold, repeat.seed, scope)
    known = [read_candidate(record, choices) for record in records]
    number = len(known)
    bench.run.candidates.parent.mkdir(parents=True, exist_ok=True)
    key = {"search": method.name, **place(repeat, scope)}

    def record(candidate: Candidate) -> None:
        nonlocal number
        append_line(bench.run.candidates, {**key, "number": number} | written_candidate(candidate, choices))
        number += 1

    return Journal(
        known,
        record,
        progress=progress_within(bench.observer, seconds_left),
        stop=lambda: seconds_left() < 0,
        seconds_left=seconds_left,
        folder=bench.run.search_state(repeat.fold, repeat.seed, scope),
        restore_epochs=lambda epochs: restore_lines(
            bench.run.search_epochs, key, [{**key, **epoch} for epoch in epochs]
        ),
        record_epoch=lambda epoch: append_line(bench.run.search_epochs, {**key, **epoch}),
        say=bench.observer.say,
    )


def place(repeat: Repeat, scope: str | None) -> dict[str, Any]:
    """Fold, seed and, of several, the data set as a line of a log holds them."""
    return {"fold": repeat.fold, "seed": repeat.seed} | ({} if scope is None else {"dataset": scope})


def progress_within(observer: Observer, seconds_left: Callable[[], float]) -> Callable[[float, float, str], None]:
    """Tells progress towards what will be done in the time left, at the present pace, if not all that is planned."""
    pace = Pace()

    def progress(done: float, total: float, note: str) -> None:
        pace.add(done, time.monotonic())
        seconds, each = seconds_left(), pace.seconds_per_unit
        if each and math.isfinite(seconds):
            total = min(total, done + max(0.0, round(seconds / each)))
        observer.progress(done, total, note)

    return progress


def restore_lines(log: Path, key: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]]) -> None:
    """Make a log hold, of the lines with this key, exactly the wanted ones; nothing is written if it does."""
    logged = read_lines(log)
    others = [line for line in logged if any(line.get(name) != value for name, value in key.items())]
    every = [*others, *wanted]
    if every != logged:
        write_lines(log, every)


def written_candidate(candidate: Candidate, choices: tuple[Choice, ...]) -> dict[str, Any]:
    """A candidate as its line of candidates.jsonl holds it."""
    return {
        "generation": candidate.generation,
        "genotype": describe(candidate.genotype, choices),
        "measurements": {} if candidate.dropped else dict(candidate.measurements),
        "seconds": candidate.seconds,
        "dropped": candidate.dropped,
    }


def read_candidate(record: dict[str, Any], choices: tuple[Choice, ...]) -> Candidate:
    """A candidate from its line of candidates.jsonl."""
    return Candidate(
        genotype=parse(record["genotype"], choices),
        generation=record["generation"],
        measurements=record["measurements"],
        seconds=record["seconds"],
        dropped=record["dropped"],
    )


def write_selections(bench: Workbench, repeat: Repeat, selections: Sequence[tuple[Selection, str | None]]) -> None:
    """Add the selections of one fold and seed, each with the data set it is for, to selected.json."""
    added = [
        {"network": selection.network}
        | place(repeat, scope)
        | {
            "rule": selection.rule,
            "space": space_settings(selection.space),
            "genotype": describe(selection.genotype, selection.space.choices),
            "measurements": dict(selection.measurements),
        }
        for selection, scope in selections
    ]
    for log in (bench.run.candidates, bench.run.search_epochs):
        if log.exists():
            sync(log)  # a search that is over is not searched again
    add_selections(bench.run, bench.experiment.method.name, added)


def add_selections(run: RunDirectory, method: str, added: Sequence[Mapping[str, Any]]) -> None:
    """Add lines to selected.json."""
    every = [*run.selections(), *added]
    rule = next(line["rule"] for line in every if line["network"] == method)
    write_json(run.selected, {"rule": rule, "selected": every})


def read_selection(line: dict[str, Any], own_space: SearchSpace) -> Selection:
    """A selection from selected.json."""
    space = read_space(line["space"], own_space)
    genotype = parse(line["genotype"], space.choices)
    return Selection(line["network"], space, genotype, line["rule"], line["measurements"])


def where(bench: Workbench, repeat: Repeat, scope: str | None) -> str:
    """Which data set, fold and seed, where there are several."""
    dataset = f", {scope}" if scope else ""
    fold = f", fold {repeat.fold}" if len(bench.training_data.folds) > 1 else ""
    seed = f", seed {repeat.seed}" if len(bench.experiment.seeds) > 1 else ""
    return dataset + fold + seed
