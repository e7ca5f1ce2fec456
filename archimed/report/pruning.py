"""What a search in two stages left out between them: the options of each table, and how much they weighed."""

from collections.abc import Mapping, Sequence

from archimed.report.figures.mixture import percent
from archimed.report.figures.mixture_log import MixtureLog
from archimed.report.operation_words import operation_words
from archimed.report.tables import Table

TABLES: Mapping[str, str] = {  # MixSearch, Table I: what an operation does to the size
    "down": "halve the size",
    "normal": "keep the size",
    "up": "double the size",
}


def pruned_table(log: MixtureLog, after: MixtureLog) -> Table | None:
    """The options of each table by their mean weight at the epoch picked, and which of them the next stage had."""
    rows = []
    raw: list[Sequence[object]] = [["table", "option", "mean weight", "kept"]]
    for name, words in TABLES.items():
        weights = mean_weights(log, name)
        kept = mean_weights(after, name)
        if not kept or not kept.keys() <= weights.keys():
            continue
        order = sorted(weights, key=lambda option: -weights[option])
        raw += [[name, option, f"{weights[option]:.6f}", option in kept] for option in order]
        shown = {option: f"{operation_words(option)} {percent(weights[option])}" for option in order}
        stay = ", ".join(shown[option] for option in order if option in kept)
        rows.append([f"Operations that {words}", stay, ", ".join(shown[o] for o in order if o not in kept)])
    caption = f"What the next stage kept, with the mean weight in per cent at the epoch picked of stage {log.stage}"
    return Table("pruned", caption, ["Table", "Kept", "Left out"], rows, (), raw) if rows else None


def mean_weights(log: MixtureLog, table: str) -> dict[str, float]:
    """Mean weight of each option of a table over the edges it serves, at the epoch picked of a stage."""
    found: dict[str, list[float]] = {}
    for choice, rows in log.weights.items():
        if table_of(choice) == table:
            for option, weight in zip(log.options[choice], rows[log.shown], strict=True):
                found.setdefault(option, []).append(weight)
    return {option: sum(weights) / len(weights) for option, weights in found.items()}


def table_of(choice: str) -> str:
    """The table of the operations on an edge; empty for what is no edge."""
    cell, _, rest = choice.partition(".")
    if cell not in TABLES or not rest.startswith("node"):
        return ""
    return cell if rest.endswith(".input2") else "normal"
