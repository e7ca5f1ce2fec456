"""The search stage: run the method's search and what its baselines need; log and select."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from archimed.candidate import Candidate
from archimed.experiment.budget import Budget
from archimed.experiment.networks import read_space
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import append_line, read_lines, write_json, write_lines
from archimed.genotype import Choice, describe, parse
from archimed.methods.baselines import baseline_names, fixed_baseline, fixed_networks
from archimed.methods.protocol import Journal, Method, SearchOutcome, SearchProblem, Selection
from archimed.spaces import SearchSpace, space_settings


def search(bench: Workbench, budget: Budget) -> None:
    """Search in every fold and for every seed, going on where an earlier attempt stopped."""
    repeats = list(bench.repeats())
    budget.searches = len(repeats) * searches_per_repeat(bench)
    for repeat in repeats:
        missing = wanted_networks(bench) - {
            line["network"]
            for line in bench.run.selections()
            if (line["fold"], line["seed"]) == (repeat.fold, repeat.seed)
        }
        if missing:
            search_once(bench, repeat, missing, budget)


def search_once(bench: Workbench, repeat: Repeat, missing: set[str], budget: Budget) -> None:
    """One search of the method, then that of its pool if a baseline needs it."""
    method = bench.experiment.method
    budget.begin_search()
    outcome = run_one(bench, method, repeat, budget.stop_search)
    selections = [selection for selection in outcome.selections if selection.network in missing]
    left = {*method.searched_baselines} & missing - {selection.network for selection in selections}
    if left and (beside := method.pool(outcome.unique_candidates)) is not None:
        pool = run_one(bench, beside, repeat, lambda: False)
        selections += [selection for selection in pool.selections if selection.network in left]
    task = bench.training_data.task
    selections += [fixed_baseline(name, task) for name in fixed_networks(task) if name in missing]
    write_selections(bench, repeat, selections)


def searches_per_repeat(bench: Workbench) -> int:
    """2 if a baseline needs a search that the method's own does not give, else 1."""
    method = bench.experiment.method
    own_pool = method.pool(method.search.planned_candidates) is None
    return 2 if not own_pool and wanted_networks(bench) & {*method.searched_baselines} else 1


def wanted_networks(bench: Workbench) -> set[str]:
    """The method's own network and the baselines."""
    method, requested = bench.experiment.method, bench.experiment.evaluation.baselines
    return {method.name, *baseline_names(requested, method.searched_baselines, bench.training_data.task)}


def run_one(bench: Workbench, method: Method, repeat: Repeat, stop: Callable[[], bool]) -> SearchOutcome:
    """Run one method's search on the training and validation part of a fold."""
    problem = search_problem(bench, method, repeat)
    bench.observer.stage(f"search: {method.name}{where(bench, repeat)}")
    with bench.machine.session():
        return method.run_search(problem, journal(bench, method, repeat, stop))


def search_problem(bench: Workbench, method: Method, repeat: Repeat) -> SearchProblem:
    """The training and validation part of a fold, at the image size of the search."""
    dataset = bench.dataset(method.search.image_size)
    fold = dataset.folds[repeat.fold]
    training = dataset.rows(fold.train)
    return SearchProblem(
        task=dataset.task,
        train=dataset.subset(fold.train),
        validation=dataset.subset(fold.validation),
        normalise=bench.normalisation(dataset, repeat.fold),
        seed=repeat.seed,
        machine=bench.machine,
        workers=bench.experiment.machine.workers,
        patients=tuple(dataset.cases[row].patient for row in training),
    )


def journal(bench: Workbench, method: Method, repeat: Repeat, stop: Callable[[], bool]) -> Journal:
    """What was logged of this search before, and how to log on."""
    choices = method.space.choices
    records = bench.run.candidate_records(method.name, repeat.fold, repeat.seed)
    known = [read_candidate(record, choices) for record in records]
    number = len(known)
    bench.run.candidates.parent.mkdir(parents=True, exist_ok=True)

    def record(candidate: Candidate) -> None:
        nonlocal number
        line = {"search": method.name, "fold": repeat.fold, "seed": repeat.seed, "number": number}
        append_line(bench.run.candidates, line | written_candidate(candidate, choices))
        number += 1

    key = {"search": method.name, "fold": repeat.fold, "seed": repeat.seed}
    return Journal(
        known,
        record,
        progress=bench.observer.progress,
        stop=stop,
        folder=bench.run.search_state(repeat.fold, repeat.seed),
        restore_epochs=lambda epochs: restore_epochs(bench, key, epochs),
        record_epoch=lambda epoch: append_line(bench.run.search_epochs, {**key, **epoch}),
        say=bench.observer.say,
    )


def restore_epochs(bench: Workbench, key: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> None:
    """Make the log of epochs agree with what the state of one search holds; nothing is written if it does."""
    logged = read_lines(bench.run.search_epochs)
    others = [line for line in logged if any(line[name] != value for name, value in key.items())]
    wanted = [*others, *({**key, **epoch} for epoch in epochs)]
    if wanted != logged:
        write_lines(bench.run.search_epochs, wanted)


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


def write_selections(bench: Workbench, repeat: Repeat, selections: list[Selection]) -> None:
    """Add the selections of one fold and seed to selected.json."""
    added = [
        {
            "network": selection.network,
            "fold": repeat.fold,
            "seed": repeat.seed,
            "rule": selection.rule,
            "space": space_settings(selection.space),
            "genotype": describe(selection.genotype, selection.space.choices),
            "measurements": dict(selection.measurements),
        }
        for selection in selections
    ]
    every = [*bench.run.selections(), *added]
    rule = next(line["rule"] for line in every if line["network"] == bench.experiment.method.name)
    write_json(bench.run.selected, {"rule": rule, "selected": every})


def read_selection(line: dict[str, Any], own_space: SearchSpace) -> Selection:
    """A selection from selected.json."""
    space = read_space(line["space"], own_space)
    genotype = parse(line["genotype"], space.choices)
    return Selection(line["network"], space, genotype, line["rule"], line["measurements"])


def where(bench: Workbench, repeat: Repeat) -> str:
    """Which fold and seed, where there are several."""
    fold = f", fold {repeat.fold}" if len(bench.training_data.folds) > 1 else ""
    seed = f", seed {repeat.seed}" if len(bench.experiment.seeds) > 1 else ""
    return fold + seed
