"""What the report says besides results: what was asked, the data, costs, settings and how to repeat the run."""

import shlex
from collections.abc import Mapping, Sequence

from archimed.report.reading import Record, Run, mapping, number
from archimed.report.tables import Table
from archimed.report.words import amount, count, duration, flat, listing, network_name

TASKS: Mapping[str, str] = {
    "binary": "tell two classes apart",
    "multi-class": "tell several classes apart",
    "ordinal": "grade images on a scale",
    "multi-label": "say which of several labels an image has",
    "segmentation": "mark regions in an image",
}
SPLITS: Mapping[str, str] = {"train": "Training", "validation": "Validation", "test": "Test"}
STAGES: Mapping[str, str] = {"search": "Search", "train": "Training", "evaluate": "Evaluation", "report": "Report"}


def sources(run: Run) -> list[str]:
    """The data as the user typed them."""
    found = run.experiment.get("sources") or run.summary.get("data") or []
    return [str(source) for source in found] if isinstance(found, list) else [str(found)]


def data_name(run: Run) -> str:
    """A short name of the data."""
    several = len(run.datasets) > 1
    told = listing(run.datasets) if several else run.data.get("name") or run.summary.get("data")
    return str(told or listing(sources(run)))


def date(run: Run) -> str:
    """The day the run was made, if it says so."""
    return str(run.environment.get("started") or "")[:10]


def facts(run: Run) -> list[tuple[str, str]]:
    """What was asked, as short pairs of words."""
    repeats = run.experiment.get("repeats")
    folds = len({network.fold for network in run.trained})
    pairs = [
        ("Method", network_name(str(run.summary.get("method") or run.chosen))),
        ("Data", data_name(run)),
        ("Task", TASKS.get(run.task.kind, run.task.kind)),
        ("Seed", str(run.summary.get("seed", run.experiment.get("seed", "")))),
        ("Repeats", str(repeats or "")),
        ("Folds", str(folds) if folds > 1 else ""),
        ("Date", date(run)),
    ]
    return [(name, words) for name, words in pairs if words]


def asked(run: Run) -> str:
    """One sentence that tells what was asked."""
    test = number_of_cases(run, "test")
    kept = f" The results are measured on {count(test)} test cases kept away until the end." if test else ""
    if transferred_from(run):
        compare = "Compare it with baselines trained by the same recipe."
        return f"Train a network that can {goal(run)}; without a search, it has {run.rule}. {compare}{kept}"
    compare = "Train it, and compare it with baselines trained by the same recipe."
    return f"Find a network that can {goal(run)}. {compare}{kept}"


def goal(run: Run) -> str:
    """What the network shall do, with the names of the classes; of masks without the background."""
    task = run.task
    if len(run.datasets) > 1:
        return f"{TASKS.get(task.kind, task.kind).removesuffix(' in an image')} in the images of {data_name(run)}"
    names = list(task.class_names[1:] if task.kind == "segmentation" else task.class_names)
    classes = listing(names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"])
    if task.kind == "segmentation" and names:
        return f"mark {classes} in an image"
    return f"{TASKS.get(task.kind, task.kind)}{f': {classes}' if names else ''}"


def counts(run: Run) -> Mapping[str, Record]:
    """Cases by split and class."""
    found = mapping(run.data, "counts")
    return {split: mapping(found, split) for split in found if mapping(found, split)}


def number_of_cases(run: Run, split: str) -> int:
    """Cases of a split: as data.json counts them, else those predicted."""
    tests = [(network.dataset, network.test) for network in run.repeats(run.chosen) if network.test]
    if split == "test" and tests:
        return len({(dataset, case) for dataset, test in tests for case in test.cases})
    return round(sum(number(value) or 0 for value in counts(run).get(split, {}).values()))


def count_table(run: Run) -> Table | None:
    """Cases by class and split."""
    splits = counts(run)
    if not splits or run.task.kind == "segmentation":
        return None
    names = list(dict.fromkeys(name for cells in splits.values() for name in cells))
    rows = [[name, *(count(cells.get(name, 0)) for cells in splits.values())] for name in names]
    if run.task.kind != "multi-label":
        rows.append(["All", *(count(sum(number(v) or 0 for v in cells.values())) for cells in splits.values())])
    caption = "Images with each label, by split" if run.task.kind == "multi-label" else "Cases by class and split"
    raw = [["class", *splits], *([name, *(cells.get(name, 0) for cells in splits.values())] for name in names)]
    return Table("data", caption, ["Class", *(split.capitalize() for split in splits)], rows, (), raw)


def data_facts(run: Run) -> list[tuple[str, str]]:
    """Everything else that data.json tells, notes left out; of several data sets, one after the other."""
    known = {"counts", "notes", "name", "patient_hashes"}
    several = len(run.datasets) > 1
    found = [
        pair
        for name, record in run.datasets.items()
        for pair in flat({k: v for k, v in record.items() if k not in known}, name if several else "")
    ]
    return [(name, words) for name, words in found if words]


def notes(run: Run) -> list[str]:
    """Cautions about the data; of several data sets with the name before each."""
    several = len(run.datasets) > 1
    found = []
    for name, record in run.datasets.items():
        told = record.get("notes")
        found += [f"{name}: {note}" if several else str(note) for note in told or () if isinstance(told, list)]
    return found


def cautions(run: Run) -> list[str]:
    """What a reader must know before trusting the result."""
    found = run.summary.get("cautions")
    return [str(caution) for caution in found] if isinstance(found, list) else []


def cost_table(run: Run) -> Table:
    """Seconds by stage, with the share of the whole."""
    seconds = {stage: number(value) for stage, value in mapping(run.summary, "seconds").items()}
    known = {stage: value for stage, value in seconds.items() if value is not None}
    total = sum(known.values())
    rows = [
        [STAGES.get(stage, stage), duration(value), f"{value / total:.0%}" if total else ""]
        for stage, value in known.items()
    ]
    raw: Sequence[Sequence[object]] = [["stage", "seconds"], *known.items()]
    return Table("seconds", "Time by stage", ["Stage", "Time", "Share"], [*rows, ["All", duration(total), ""]], (), raw)


def size_table(run: Run) -> Table:
    """Size, cost and training time of every network, and how long it takes for one case on the run's machine."""
    cases = mapping(mapping(run.summary, "seconds"), "case")
    rows = []
    for name, results in run.networks.items():
        cells = [amount(results.get("parameters")), amount(results.get("macs")), duration(results.get("seconds"))]
        rows.append(
            [network_name(name), *cells, *([milliseconds(cases[name])] if name in cases else [""] * bool(cases))]
        )
    head = ["Network", "Parameters", f"MACs per {counted_on(run)}", "Training", *(["One case"] if cases else [])]
    return Table("sizes", "Size and cost of the networks", head, rows)


def milliseconds(seconds: object) -> str:
    """A short time, as in 3.2 ms."""
    found = number(seconds)
    return "" if found is None else f"{1000 * found:.3g} ms" if found < 1 else f"{found:.2g} s"


def counted_on(run: Run) -> str:
    """What multiply-accumulates are counted on: an image, or with masks the size of the patches trained on."""
    tasks = (mapping(network.architecture, "task") for network in run.repeats(run.chosen))
    sizes = {"x".join(map(str, task.get("image_size") or ())) for task in tasks}
    if run.task.kind != "segmentation" or len(sizes) != 1 or not all(sizes):
        return "image"
    return f"{sizes.pop()} pixels"


def settings_table(run: Run) -> Table:
    """Every resolved setting."""
    rows = flat(run.experiment) if run.experiment else []
    return Table("settings", "Every setting, resolved", ["Setting", "Value"], rows)


def environment_table(run: Run) -> Table:
    """Versions and machine."""
    rows = flat(run.environment) if run.environment else []
    return Table("environment", "Versions and machine", ["Name", "Value"], rows)


def transferred_from(run: Run) -> str:
    """The run whose architecture was trained here in place of a search, as the user typed it; empty if none."""
    return str(run.experiment.get("architecture") or "")


def command(run: Run) -> str:
    """The command that repeats the run with the same settings, from the folder that holds it."""
    written = run.experiment.get("command") or run.environment.get("command")
    if isinstance(written, str):
        return written
    words = ["archimed", "run", str(run.summary.get("method") or run.chosen)]
    if transferred_from(run):
        words = ["archimed", "train", "--architecture", transferred_from(run)]
    for source in sources(run):
        words += ["--data", source]
    words += ["--config", f"{run.folder.resolve().name}/experiment.yaml"]
    words += ["--seed", str(run.summary.get("seed", run.experiment.get("seed", 0)))]
    repeats = run.experiment.get("repeats")
    if isinstance(repeats, int) and repeats > 1:
        words += ["--repeats", str(repeats)]
    return shlex.join([*words, "--out", f"{run.folder.resolve().name}-again"])
