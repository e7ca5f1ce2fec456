"""What the report says about the search: its log by fold and seed, its objectives, what was dropped and chosen."""

from collections import Counter
from collections.abc import Sequence

from archimed.candidate import Candidate
from archimed.errors import SettingsError
from archimed.objectives import SignedSums, eq5
from archimed.report.figures.canvas import Figure
from archimed.report.figures.search import SearchLog, front_figures, indicator_figures, seconds_figure
from archimed.report.reading import Record, Run, mapping, number
from archimed.report.tables import Table
from archimed.report.words import network_name
from archimed.userfile import part_name

MOST_SHOWN = 3  # searches drawn in the page; all are in the table


def objectives_of(run: Run) -> SignedSums | None:
    """The objectives of the run's search: written out, or Eq. 5 of its two indicators; None if it has none."""
    search = mapping(run.experiment, "search")
    written, indicators = search.get("objectives"), search.get("indicators")
    try:
        if isinstance(written, list) and written:
            return SignedSums(tuple(str(expression) for expression in written))
        if isinstance(indicators, list) and len(indicators) == 2:
            return eq5(*(part_name(str(indicator)) for indicator in indicators))
    except SettingsError:
        pass
    return None


def search_logs(run: Run, needed: Sequence[str]) -> list[SearchLog]:
    """The searches of the run's method, one for each fold and seed, with random search beside each."""
    method = str(run.summary.get("method") or run.chosen)
    keys = dict.fromkeys((line.get("search"), line.get("fold", 0), line.get("seed", 0)) for line in run.candidates)
    others = [name for name, *_ in keys if name != method]
    logs = []
    for name, fold, seed in keys:
        if name != method:
            continue
        lines = lines_of(run, method, fold, seed)
        measured = [line for line in lines if is_measured(line, needed)]
        rivals = lines_of(run, others[0], fold, seed) if others else []
        dropped = Counter(str(line.get("dropped")) for line in lines if line.get("dropped"))
        logs.append(
            SearchLog(
                name=method,
                place=f"fold {fold}, seed {seed}",
                candidates=tuple(candidate(line) for line in measured),
                dropped=tuple(dropped.most_common()),
                selected=chosen_position(run, measured, fold, seed),
                rivals=tuple(candidate(line) for line in rivals if is_measured(line, needed)),
                rivals_name=str(others[0]) if others else "",
            )
        )
    return logs


def lines_of(run: Run, search: object, fold: object, seed: object) -> list[Record]:
    """The log of one search in one fold and for one seed."""
    key = (search, fold, seed)
    return [c for c in run.candidates if (c.get("search"), c.get("fold", 0), c.get("seed", 0)) == key]


def is_measured(line: Record, needed: Sequence[str]) -> bool:
    """Whether a logged candidate took part in the search and has what is to be drawn."""
    measurements = mapping(line, "measurements")
    return not line.get("dropped") and all(number(measurements.get(name)) is not None for name in needed)


def candidate(line: Record) -> Candidate:
    """A logged candidate without its genotype."""
    measurements = {
        name: found for name, value in mapping(line, "measurements").items() if (found := number(value)) is not None
    }
    return Candidate((), int(number(line.get("generation")) or 0), measurements, number(line.get("seconds")) or 0.0)


def chosen_position(run: Run, lines: Sequence[Record], fold: object, seed: object) -> int | None:
    """Where the chosen genotype stands among the candidates of its search."""
    for choice in run.selected:
        if (choice.get("network"), choice.get("fold", 0), choice.get("seed", 0)) == (run.chosen, fold, seed):
            return next((k for k, line in enumerate(lines) if line.get("genotype") == choice.get("genotype")), None)
    return None


def search_figures(run: Run) -> list[tuple[SearchLog, list[Figure]]]:
    """For the first searches of the run: fronts, indicators against cost, seconds."""
    objectives = objectives_of(run)
    needed = objectives.names if objectives else ()
    shown = []
    for position, log in enumerate(search_logs(run, needed)[:MOST_SHOWN]):
        suffix = f"_{position + 1}" if position else ""
        figures = front_figures(log, objectives, suffix) if objectives else []
        indicators = list(dict.fromkeys(name for c in log.candidates for name in c.measurements))
        drawn = [name for name in needed if name != "macs"] or [
            n for n in indicators if n not in {"macs", "parameters"}
        ]
        figures += indicator_figures(log, drawn[:4], suffix)
        seconds = seconds_figure(log, suffix)
        shown.append((log, [*figures, *([seconds] if seconds else [])]))
    return shown


def candidate_table(run: Run) -> Table:
    """Every candidate of every search, for a file."""
    measurements = list(dict.fromkeys(name for line in run.candidates for name in mapping(line, "measurements")))
    choices = list(dict.fromkeys(name for line in run.candidates for name in mapping(line, "genotype")))
    plain = ("search", "fold", "seed", "number", "generation", "seconds", "dropped")
    raw: list[Sequence[object]] = [[*plain, *measurements, *choices]]
    for line in run.candidates:
        values = [*(mapping(line, "measurements").get(name) for name in measurements)]
        raw.append([*(line.get(key) for key in plain), *values, *(mapping(line, "genotype").get(c) for c in choices)])
    return Table("candidates", "Every candidate", [], [], (), raw)


def search_counts(run: Run) -> Table:
    """How many candidates each search scored and dropped, and in how much time."""
    keys = dict.fromkeys((line.get("search"), line.get("fold", 0), line.get("seed", 0)) for line in run.candidates)
    rows = []
    for name, fold, seed in keys:
        lines = lines_of(run, name, fold, seed)
        dropped = sum(bool(line.get("dropped")) for line in lines)
        seconds = sum(number(line.get("seconds")) or 0.0 for line in lines)
        generations = 1 + max((int(number(line.get("generation")) or 0) for line in lines), default=0)
        per = f"{seconds / len(lines):.3g}"
        rows.append(
            [
                network_name(str(name)),
                str(fold),
                str(seed),
                str(generations),
                str(len(lines)),
                str(dropped),
                f"{seconds:.1f}",
                per,
            ]
        )
    head = ["Search", "Fold", "Seed", "Generations", "Unique candidates", "Dropped", "Seconds", "Seconds each"]
    return Table("searches", "The searches of this run", head, rows)
