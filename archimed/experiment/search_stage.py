"""The search stage: run the method's search and, for the baselines, random search; log and select."""

from collections.abc import Callable
from typing import Any

from archimed.candidate import Candidate
from archimed.experiment.budget import Budget
from archimed.experiment.networks import read_space
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import append_line, write_json
from archimed.genotype import Choice, describe, parse
from archimed.methods.baselines import FIXED, FROM_RANDOM_POOL, baseline_names, fixed_baseline, random_search_beside
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
    """One search of the method, then random search with as many unique candidates if a baseline needs it."""
    method = bench.experiment.method
    budget.begin_search()
    outcome = run_one(bench, method, repeat, budget.stop_search)
    selections = [selection for selection in outcome.selections if selection.network in missing]
    pool_names = {*FROM_RANDOM_POOL} & missing - {selection.network for selection in selections}
    if pool_names:
        beside = random_search_beside(method, outcome.unique_candidates)
        pool = run_one(bench, beside, repeat, lambda: False)
        selections += [selection for selection in pool.selections if selection.network in pool_names]
    selections += [fixed_baseline(name) for name in FIXED if name in missing]
    write_selections(bench, repeat, selections)


def searches_per_repeat(bench: Workbench) -> int:
    """2 if a baseline needs a pool of random architectures that the method's own search does not give, else 1."""
    own_pool = bench.experiment.method.name in FROM_RANDOM_POOL
    return 2 if not own_pool and wanted_networks(bench) & {*FROM_RANDOM_POOL} else 1


def wanted_networks(bench: Workbench) -> set[str]:
    """The method's own network and the baselines."""
    return {bench.experiment.method.name, *baseline_names(bench.experiment.evaluation.baselines)}


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
    return SearchProblem(
        task=dataset.task,
        train=dataset.subset(fold.train),
        validation=dataset.subset(fold.validation),
        normalise=bench.normalisation(dataset, repeat.fold),
        seed=repeat.seed,
        machine=bench.machine,
        workers=bench.experiment.machine.workers,
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

    def progress(done: int, planned: int | None, generation: int) -> None:
        bench.observer.progress(
            done, planned or method.search.planned_candidates, f"candidates, generation {generation}"
        )

    return Journal(known, record, progress, stop)


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
