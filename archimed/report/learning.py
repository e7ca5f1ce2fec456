"""What the report says about a search that learns the architecture: its log by fold and seed, and the mixtures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, NamedTuple

from archimed.errors import SettingsError
from archimed.report.figures.canvas import Figure
from archimed.report.figures.mixture import mixture_figures
from archimed.report.figures.mixture_log import MixtureLog
from archimed.report.figures.shapley import shapley_figures
from archimed.report.pruning import pruned_table
from archimed.report.reading import Record, Run, mapping
from archimed.report.reading import number as number_of
from archimed.report.summing_cells import cell_inputs, node_edges, part_choices, summing_cells
from archimed.report.tables import Table
from archimed.report.woven import is_woven, is_woven_genotype, woven_options

Key = tuple[str, str, str, str]  # the network searched for, the data set where there are several, fold and seed

MOST_SHOWN = 3  # searches drawn in the page; all are in the tables
KIND_FIGURES = ("mixture_type", "mixture_epochs_type")  # of the kinds of cell of a weave
UNDECIDED = 0.98  # entropy above which little is decided; where one of ten options weighs twice the others it is 0.987
PLAIN = (
    "search",
    "dataset",
    "fold",
    "seed",
    "stage",
    "epoch",
    "learning_rate",
    "batch_size",
    "weight_loss",
    "architecture_loss",
)
SHARES = ("validation_loss", "skip_share", "zero_share", "entropy", "skips", "complete", "seconds")


def mixture_logs(run: Run) -> list[MixtureLog]:
    """The searches of the run that learnt a mixture, one for each data set, fold, seed and stage."""
    return [
        log
        for key in dict.fromkeys(key_of(line) for line in run.search_epochs)
        for log in stage_logs(run, key, [line for line in run.search_epochs if key_of(line) == key])
    ]


def stage_logs(run: Run, key: Key, lines: Sequence[Record]) -> list[MixtureLog]:
    """The stages of one search; a network was derived of the last, operations were pruned by those before it."""
    selection = next((chosen for chosen in run.selected if key_of(chosen) == key), {})
    stages = [stage for stage in map(learnt, stages_of(lines)) if stage[1]]
    logs = []
    for number, (epochs, weights) in enumerate(stages, start=1):
        last = number == len(stages)
        space = searched_space(mapping(selection, "space")) if last else first_space(run)
        picked = mapping(selection, "measurements").get("epoch" if last else "first_stage_epoch")
        options = space_options(space)
        genotype = {str(k): str(v) for k, v in mapping(selection, "genotype").items()}
        logs.append(
            MixtureLog(
                name=key[0],
                place=place_words(key),
                epochs=epochs,
                picked=number_of(picked),
                weights=weights,
                options={choice: named_options(options, choice, len(rows[0])) for choice, rows in weights.items()},
                chosen=chosen_options(genotype) if last else {},
                inputs={cell: found.boxes for cell, found in cell_inputs(space, run.task.channel_names).items()},
                spatial_dims=run.task.spatial_dims,
                stage=number if len(stages) > 1 else 0,
                key=key,
            )
        )
    return logs


def searched_space(space: Record) -> Record:
    """The space of a selection as the supernet had it: with all its outputs."""
    return {**space, "exit": None} if is_woven(space) else space


def first_space(run: Run) -> Record:
    """The space of the first of two stages: the run's, at the size that its search begins with."""
    search = mapping(run.experiment, "search")
    sizes = {name: search[f"first_{name}"] for name in ("depth", "layers") if f"first_{name}" in search}
    return searched_space({**mapping(run.experiment, "space"), **sizes})


def key_of(line: Record) -> Key:
    """Which search a line of the log, or a selection, belongs to."""
    network, dataset = line.get("search", line.get("network")), line.get("dataset")
    return str(network), str(dataset or ""), str(line.get("fold", 0)), str(line.get("seed", 0))


def place_words(key: Key) -> str:
    """The data set, where there are several, fold and seed of a search."""
    return f"{key[1]}{', ' if key[1] else ''}fold {key[2]}, seed {key[3]}"


def stages_of(lines: Sequence[Record]) -> list[list[Record]]:
    """The epochs that tell alpha by stage: those in a row that mix the same choices."""
    told = [line for line in lines if mapping(line, "alpha")]
    forms = groupby(told, key=lambda line: (line.get("stage"), [*map(form_of, mapping(line, "alpha").items())]))
    return [list(stage) for _, stage in forms]


def form_of(item: tuple[str, Any]) -> tuple[str, int]:
    """A choice and how many options it mixes."""
    return item[0], len(item[1]) if isinstance(item[1], list) else 0


def learnt(epochs: Sequence[Record]) -> tuple[tuple[Record, ...], dict[str, list[list[float]]]]:
    """The epochs of a stage, and of each choice the mixture by epoch; choices that are damaged are left out."""
    weights: dict[str, list[list[float]]] = {}
    for choice in mapping(epochs[0], "alpha"):
        rows = [softmax(mapping(line, "alpha").get(choice)) for line in epochs]
        if all(rows):
            weights[str(choice)] = rows
    return tuple(epochs), weights


def softmax(numbers: object) -> list[float]:
    """The weights that alpha stands for; nothing if it is no list of finite numbers."""
    values = [number_of(value) for value in numbers] if isinstance(numbers, list) else []
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
    """The option that a derived network has on each mixed choice; of kinds of cell those kept, joined by +."""
    if is_woven_genotype(genotype):
        return woven_options(genotype)
    found = dict(genotype)
    for cell in summing_cells(genotype):
        for node, edges in node_edges(part_choices(genotype, cell)).items():
            found |= {f"{cell}.{node}.{source}": operation for operation, source in edges}
    return found


class Learnt(NamedTuple):
    """What the page shows of one stage of a search: its place, how decided it was, and its figures.

    Attributes:
        title: of the stage; empty where the run has one search of one stage.
        words: how decided it was.
        pruned: what was left out before the next stage.
        figures: shown.
        folded: shown on request.
    """

    title: str
    words: str
    pruned: Table | None
    figures: Sequence[Figure]
    folded: Sequence[Figure]


def learning_figures(run: Run) -> list[Learnt]:
    """Of the first searches the losses and how decided they are; of the very first also the mixture of every edge."""
    every = mixture_logs(run)
    keys = list(dict.fromkeys(log.key for log in every))
    found = []
    for log in every:
        place = keys.index(log.key)
        if place < MOST_SHOWN:
            shown = log if len(keys) > 1 else replace(log, place="")
            suffix = (f"_stage{log.stage}" if log.stage else "") + (f"_{place + 1}" if place else "")
            after = next((other for other in every if other.key == log.key and other.stage == log.stage + 1), None)
            found.append(learnt_figures(shown, suffix, after if log.stage else None, edges=place == 0))
    return found


def learnt_figures(log: MixtureLog, suffix: str, after: MixtureLog | None, *, edges: bool) -> Learnt:
    """What the page shows of one stage; alpha is folded where there are several stages, as it fills many figures."""
    figures = [*mixture_figures(log, suffix, edges=edges), *(shapley_figures(log, suffix) if edges else ())]
    folded = [f for f in figures if f.name.startswith("mixture_") and not f.name.startswith(KIND_FIGURES)]
    folded = folded if log.stage else []
    title = f"{f'Stage {log.stage}' if log.stage else ''}{', ' if log.stage and log.place else ''}{log.place}"
    pruned = pruned_table(log, after) if after and edges else None
    return Learnt(title, decision_words(log), pruned, [f for f in figures if f not in folded], folded)


def decision_words(log: MixtureLog) -> str:
    """How decided the mixture was at the epoch picked, in a sentence; empty where the log does not tell."""
    entropy = number_of(log.epochs[log.shown].get("entropy"))
    if entropy is None:
        return ""
    when = "the last epoch" if log.picked is None else "the epoch picked"
    told = f"At {when} the entropy of the mixture was {entropy:.3f} (1: all options weigh the same)."
    if entropy > UNDECIDED:
        told += (
            " The search has hardly decided: what it derived rests on small differences, so look whether it beats the "
            "architecture drawn at random. More search.epochs or a larger search.alpha_learning_rate let it decide."
        )
    return told


def kind_weights(run: Run, selection: Record) -> dict[str, Sequence[float]]:
    """What the kinds of cell weighed at each place of a weave when a selection was derived; {} where nothing tells."""
    logs = [log for log in mixture_logs(run) if log.key == key_of(selection)]
    if not logs:
        return {}
    return {choice: rows[logs[-1].shown] for choice, rows in logs[-1].weights.items() if choice.startswith("type.")}


def epoch_table(run: Run) -> Table:
    """Every epoch of every search that learnt, without alpha, for a file."""
    rows: list[Sequence[object]] = [[*PLAIN, *SHARES, "validation_auc", "validation_dice"]]
    for line in run.search_epochs:
        measured = [number_of(mapping(line, "validation").get(metric)) for metric in ("auc", "dice")]
        rows.append([*(line.get(key) for key in (*PLAIN, *SHARES)), *measured])
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
