"""What the report says about a search by weight sharing: figures of its paths, and the front that was trained."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from archimed.report.figures.canvas import Figure
from archimed.report.figures.evolution import Individual, PathLog, evolution_figures
from archimed.report.reading import Record, Run, mapping, number
from archimed.report.results import leading_metric
from archimed.report.searching import lines_of
from archimed.report.tables import Table
from archimed.report.words import decimal, metric_name, network_name

MOST_SHOWN = 3  # searches drawn in the page; all are in the table
NEEDED = ("accuracy", "potential", "size")
PLAIN = ("search", "fold", "seed", "epoch", "generation", "learning_rate", "batch_size", "weight_loss")
ACCURACIES = ("accuracy_low", "accuracy_median", "accuracy_high", "accuracy_best")


class Evolved(NamedTuple):
    """What the page shows of one search: its place, its figures, and the paths that were trained on their own."""

    title: str
    figures: Sequence[Figure]
    front: Table


def evolves(run: Run) -> bool:
    """Whether the run's search let paths evolve on shared weights."""
    return any("survivors" in line for line in run.search_epochs)


def evolved(run: Run) -> list[Evolved]:
    """The first searches of the run's method, by fold and seed; nothing for a run of another kind."""
    logs = path_logs(run)
    shown = []
    for position, (log, finalists) in enumerate(logs[:MOST_SHOWN]):
        suffix = f"_{position + 1}" if position else ""
        front = front_table(run, log, finalists, suffix)
        shown.append(Evolved(log.place if len(logs) > 1 else "", evolution_figures(log, suffix), front))
    return shown


def path_logs(run: Run) -> list[tuple[PathLog, list[Record]]]:
    """Every search of the run's method, with the records of its finalists."""
    if not evolves(run):
        return []
    method = str(run.summary.get("method") or run.chosen)
    found = []
    for fold, seed in dict.fromkeys((line.get("fold", 0), line.get("seed", 0)) for line in run.search_epochs):
        selection = next((one for one in run.selected if place_of(one, "network") == (method, fold, seed)), {})
        epochs = [line for line in run.search_epochs if place_of(line, "search") == (method, fold, seed)]
        finalists = [line for line in epochs if "finalist" in line]
        individuals = individuals_of(lines_of(run, method, fold, seed))
        if individuals:
            log = PathLog(
                name=method,
                place=f"fold {fold}, seed {seed}",
                individuals=individuals,
                finalists=tuple(path_name(mapping(line, "genotype")) for line in finalists),
                chosen=path_name(mapping(selection, "genotype")),
                rivals=individuals_of(lines_of(run, "random-search", fold, seed)),
            )
            found.append((log, finalists))
    return found


def place_of(line: Record, name: str) -> tuple[object, object, object]:
    """Search or network, fold and seed of a line."""
    return line.get(name), line.get("fold", 0), line.get("seed", 0)


def path_name(genotype: Record) -> str:
    """A genotype as one word, to compare."""
    return json.dumps(genotype, sort_keys=True)


def individuals_of(lines: Sequence[Record]) -> tuple[Individual, ...]:
    """The measured paths of a log; dropped and damaged lines are passed over."""
    found = []
    for line in lines:
        values = [number(mapping(line, "measurements").get(name)) for name in NEEDED]
        told = [value for value in values if value is not None]
        if len(told) == len(NEEDED) and not line.get("dropped"):
            generation = int(number(line.get("generation")) or 0)
            found.append(Individual(path_name(mapping(line, "genotype")), generation, *told))
    return tuple(found)


def front_table(run: Run, log: PathLog, finalists: Sequence[Record], suffix: str) -> Table:
    """The survivors that were trained on their own: what the search knew of them, and what the training told."""
    metric = leading_metric(run)
    head = ["Path", "Size (MB)", "Accuracy, shared weights", "Potential per epoch"]
    head += [f"{metric_name(metric)}, short training", "Best epoch", ""]
    rows = []
    for position, line in enumerate(finalists, start=1):
        shared, validation = mapping(line, "shared"), mapping(line, "validation")
        rows.append(
            [
                str(position),
                decimal(shared.get("size"), 2),
                decimal(shared.get("accuracy")),
                decimal(shared.get("potential"), 4),
                decimal(validation.get(metric)),
                str(line.get("best_epoch", "")),
                "chosen" if path_name(mapping(line, "genotype")) == log.chosen else "",
            ]
        )
    return Table(f"finalists{suffix}", f"The finalists, {log.place}", head, rows)


def path_counts(run: Run) -> Table:
    """How many paths each search measured, how often, and in how much time."""
    keys = dict.fromkeys((line.get("search"), line.get("fold", 0), line.get("seed", 0)) for line in run.candidates)
    rows = []
    for name, fold, seed in keys:
        lines = lines_of(run, name, fold, seed)
        epochs = [line for line in run.search_epochs if place_of(line, "search") == (name, fold, seed)]
        paths = {path_name(mapping(line, "genotype")) for line in lines}
        seconds = sum(number(line.get("seconds")) or 0.0 for line in (*lines, *epochs))
        dropped = sum(bool(line.get("dropped")) for line in lines)
        passes = sum("epoch" in line for line in epochs)
        counts = (passes, len(paths), len(lines), dropped)
        rows.append([network_name(str(name)), str(fold), str(seed), *map(str, counts), f"{seconds:.0f}"])
    head = ["Search", "Fold", "Seed", "Epochs", "Different paths", "Measurements", "Dropped", "Seconds"]
    return Table("searches", "The searches of this run", head, rows)


def evolution_table(run: Run) -> Table:
    """Every epoch of every search, for a file."""
    rows: list[Sequence[object]] = [[*PLAIN, *ACCURACIES, "seconds"]]
    rows += [
        [*(line.get(key) for key in (*PLAIN, *ACCURACIES)), line.get("seconds")]
        for line in run.search_epochs
        if "finalist" not in line
    ]
    return Table("search_epochs", "Every epoch of the search", [], [], (), rows)
