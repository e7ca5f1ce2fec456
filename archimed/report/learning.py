"""What the report says about a search that learns the architecture: its log by fold and seed, and the mixtures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from archimed.errors import SettingsError
from archimed.report.figures.canvas import Figure
from archimed.report.figures.mixture import MixtureLog, mixture_figures
from archimed.report.reading import Record, Run, mapping, number
from archimed.report.summing_cells import cell_inputs, node_edges, part_choices, summing_cells
from archimed.report.tables import Table

MOST_SHOWN = 3  # searches drawn in the page; all are in the tables
UNDECIDED = 0.98  # entropy above which little is decided; where one of ten options weighs twice the others it is 0.987
PLAIN = ("search", "fold", "seed", "epoch", "learning_rate", "batch_size", "weight_loss", "architecture_loss")
SHARES = ("validation_loss", "skip_share", "zero_share", "entropy", "skips", "complete", "seconds")


def mixture_logs(run: Run) -> list[MixtureLog]:
    """The searches of the run that learnt a mixture, one for each fold and seed."""
    options: dict[str, tuple[str, ...]] = {}
    logs = []
    for key in dict.fromkeys(key_of(line) for line in run.search_epochs):
        name, fold, seed = key
        selection = next((s for s in run.selected if (s.get("network"), s.get("fold", 0), s.get("seed", 0)) == key), {})
        epochs, weights = learnt([line for line in run.search_epochs if key_of(line) == key])
        if not weights:
            continue
        space = mapping(selection, "space")
        options = options or space_options(space)
        logs.append(
            MixtureLog(
                name=str(name),
                place=f"fold {fold}, seed {seed}",
                epochs=epochs,
                picked=number(mapping(selection, "measurements").get("epoch")),
                weights=weights,
                options={choice: named_options(options, choice, len(rows[0])) for choice, rows in weights.items()},
                chosen=chosen_options({str(k): str(v) for k, v in mapping(selection, "genotype").items()}),
                inputs={cell: found.boxes for cell, found in cell_inputs(space, run.task.channel_names).items()},
                spatial_dims=run.task.spatial_dims,
            )
        )
    return logs


def key_of(line: Record) -> tuple[Any, Any, Any]:
    """Which search a line of the log belongs to."""
    return line.get("search"), line.get("fold", 0), line.get("seed", 0)


def learnt(lines: Sequence[Record]) -> tuple[tuple[Record, ...], dict[str, list[list[float]]]]:
    """The epochs that tell alpha, and of each choice the mixture by epoch; choices that differ are left out."""
    epochs = tuple(line for line in lines if mapping(line, "alpha"))
    weights: dict[str, list[list[float]]] = {}
    for choice in mapping(epochs[0], "alpha") if epochs else ():
        rows = [softmax(mapping(line, "alpha").get(choice)) for line in epochs]
        if rows[0] and all(len(row) == len(rows[0]) for row in rows):
            weights[str(choice)] = rows
    return epochs, weights


def softmax(numbers: object) -> list[float]:
    """The weights that alpha stands for; nothing if it is no list of finite numbers."""
    values = [number(value) for value in numbers] if isinstance(numbers, list) else []
    told = [value for value in values if value is not None]
    if not told or len(told) < len(values):
        return []
    highest = max(told)
    powers = [math.exp(value - highest) for value in told]
    return [power / sum(powers) for power in powers]


def space_options(space: Record) -> dict[str, tuple[str, ...]]:
    """The options of each mixed choice of a space; nothing for a space that is not ours."""
    from archimed.spaces import space_from_settings

    fields = dict(space)
    try:
        found = space_from_settings(str(fields.pop("name", "")), fields)
    except SettingsError:
        return {}
    return {choice.name: choice.options for choice in getattr(found, "mixed_choices", ())}


def named_options(options: Mapping[str, tuple[str, ...]], choice: str, count: int) -> tuple[str, ...]:
    """The options of a choice; numbered where nothing tells them."""
    found = options.get(choice, ())
    return found if len(found) == count else tuple(f"option {k}" for k in range(1, count + 1))


def chosen_options(genotype: Mapping[str, str]) -> dict[str, str]:
    """The option that a derived network has on each mixed choice."""
    found = dict(genotype)
    for cell in summing_cells(genotype):
        for node, edges in node_edges(part_choices(genotype, cell)).items():
            found |= {f"{cell}.{node}.{source}": operation for operation, source in edges}
    return found


def learning_figures(run: Run) -> list[tuple[MixtureLog, str, list[Figure]]]:
    """Of the first searches the losses and how decided they are; of the very first also the mixture of every edge."""
    logs = mixture_logs(run)
    shown = logs[:MOST_SHOWN] if len(logs) > 1 else [replace(log, place="") for log in logs]
    return [
        (log, decision_words(log), mixture_figures(log, f"_{place + 1}" if place else "", edges=place == 0))
        for place, log in enumerate(shown)
    ]


def decision_words(log: MixtureLog) -> str:
    """How decided the mixture was at the epoch picked, in a sentence; empty where the log does not tell."""
    entropy = number(log.epochs[log.shown].get("entropy"))
    if entropy is None:
        return ""
    told = f"At the epoch picked the entropy of the mixture was {entropy:.3f} (1: all options weigh the same)."
    if entropy > UNDECIDED:
        told += (
            " The search has hardly decided: what it derived rests on small differences, so look whether it beats the "
            "architecture drawn at random. More search.epochs or a larger search.alpha_learning_rate let it decide."
        )
    return told


def epoch_table(run: Run) -> Table:
    """Every epoch of every search that learnt, without alpha, for a file."""
    rows: list[Sequence[object]] = [[*PLAIN, *SHARES, "validation_auc"]]
    for line in run.search_epochs:
        auc = number(mapping(line, "validation").get("auc"))
        rows.append([*(line.get(key) for key in (*PLAIN, *SHARES)), auc])
    return Table("search_epochs", "Every epoch of the search", [], [], (), rows)


def mixture_table(run: Run) -> Table:
    """The mixture at the epoch picked of every search that learnt, for a file."""
    rows: list[Sequence[object]] = [["search", "place", "epoch", "choice", "option", "weight", "in the network"]]
    for log in mixture_logs(run):
        epoch = log.epochs[log.shown].get("epoch")
        for choice, by_epoch in log.weights.items():
            for option, weight in zip(log.options[choice], by_epoch[log.shown], strict=True):
                inside = log.chosen.get(choice) == option
                rows.append([log.name, log.place, epoch, choice, option, f"{weight:.6f}", inside])
    return Table("mixture", "The mixture at the epoch picked", [], [], (), rows)
