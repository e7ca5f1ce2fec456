"""The model card of an exported network, Markdown, from the files of its run alone; it names no person or file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archimed.data.dataset import SPLIT_NAMES
from archimed.report.words import METRIC_NAMES, NETWORK_NAMES
from archimed.task import LOWER_IS_BETTER, ImagingTask

Record = Mapping[str, Any]
CARD = "MODEL_CARD.md"
OF_GROUPS = ("auc", "accuracy", "sensitivity", "specificity", "dice", "surface_dice")  # columns, those that there are
NOT_TESTED = (
    "Images of other scanners, protocols, hospitals or patients than those of the data above; `archimed evaluate RUN "
    "--data OTHER --out DIR` measures them.",
    "Images of another kind: the network answers to anything, also to what it was never meant for.",
    "How the answers change what people decide, and whether that helps patients.",
)


def model_card(
    summary: Record,
    data: Record,
    experiment: Record,
    network: str,
    task: ImagingTask,
    preprocessing: Record,
    place: str,
) -> str:
    """The card.

    Args:
        summary: summary.json.
        data: data.json, or what it says of the network's data set.
        experiment: experiment.yaml.
        network: its name in the run.
        task: of the network.
        preprocessing: what preprocess.json says.
        place: fold, seed and data set of the training, in words.
    """
    sections = {
        f"{NETWORK_NAMES.get(network, network)} for {data['name']}": [*what_it_is(summary, network, task, place)],
        "Intended use": [*intended_use(task)],
        "Limits and cautions": [*(f"- {one}" for one in cautions(summary, data))],
        "Data": [*data_table(data, task)],
        "Results": [*results(summary, network, data)],
        "Size": [*size(summary, network, data)],
        "Preprocessing": [f"{number}. {one}" for number, one in enumerate(preprocessing["steps"], start=1)],
        "Training": [*training(experiment)],
        "What was not tested": [f"- {one}" for one in NOT_TESTED],
    }
    title, *others = sections.items()
    parts = [f"# {title[0]}", *title[1]]
    for heading, lines in others:
        parts += [f"\n## {heading}\n", *lines]
    return "\n".join(parts) + "\n"


def what_it_is(summary: Record, network: str, task: ImagingTask, place: str) -> Iterator[str]:
    """What the network answers, and where it comes from."""
    size, names = " x ".join(map(str, task.image_size)), "; ".join(task.class_names)
    answers = {
        "segmentation": f"gives each pixel one of the classes: {names}",
        "multi-label": f"says how likely an image has each of the labels: {names}",
    }.get(task.kind, f"gives an image probabilities of the classes: {names}")
    channels = "1 channel" if task.channels == 1 else f"{task.channels} channels"
    larger = "; larger ones by windows" if task.kind == "segmentation" else ""
    yield f"\nThis network {answers}. It takes images of {size} pixels and {channels}{larger}."
    chosen = "is what the method chose" if network == summary["chosen"] else f"stands beside {summary['chosen']}"
    yield f"It is of an archimed run of {summary['method']} and {chosen}; exported is {place}."


def intended_use(task: ImagingTask) -> Iterator[str]:
    """What it is for."""
    what = {"segmentation": "the segmentation", "multi-label": "findings"}.get(task.kind, "the classification")
    yield f"Research on {what} of images like those below, by people who can judge its answers."
    yield "It is no medical device: no diagnosis and no treatment may rest on it."


def cautions(summary: Record, data: Record) -> list[str]:
    """What the run says against itself."""
    found = list(dict.fromkeys([*summary["cautions"], *data.get("notes", [])]))
    return found or ["The run raises none of its own; that does not make the network safe."]


def data_table(data: Record, task: ImagingTask) -> Iterator[str]:
    """Cases, patients and classes by split."""
    known = f"{data['patients']} patients" if data.get("patients") else "patients unknown: each case counts as its own"
    first = "" if data["folds"] == 1 else f" of the first of {data['folds']} folds"
    yield f"{data['name']}: {data['cases']} cases, {known}. Cases by split{first}, and in which a class occurs:\n"
    rows = []
    for split in SPLIT_NAMES:
        part, counts = data["splits"][split], data["counts"][split]
        patients = "unknown" if part["patients"] is None else part["patients"]
        rows.append([split, part["cases"], patients, *(counts.get(name, 0) for name in task.class_names)])
    yield from table(["split", "cases", "patients", *task.class_names], rows)
    if data.get("spacing_mm"):
        median = data["spacing_mm"].get("median")
        yield f"\nMedian spacing: {' x '.join(f'{one:g}' for one in median)} mm." if median else ""


def results(summary: Record, network: str, data: Record) -> Iterator[str]:
    """Test metrics with their intervals, and by group where the run knows groups."""
    found = own_results(summary, network, data)
    repeats = len(found.get("repeats", ())) or 1
    mean = "of one training" if repeats == 1 else f"the mean of {repeats} trainings"
    yield f"On the test part, by which nothing was chosen; {mean}, with 95 % intervals:\n"
    cells = {name: cell for name, cell in found["test"].items() if isinstance(cell, Mapping)}
    yield from table(["metric", "value", "interval"], [metric_row(name, cell) for name, cell in cells.items()])
    figures = own_figures(summary, data)
    sizes = figures.get("lesion_size") or {}
    for group in sizes.get("groups", ()):
        measured = sizes["networks"].get(network, {}).get(group["name"], {})
        if measured:
            yield f"\nOf lesions of the group {group['name']} ({group['cases']} cases):\n"
            yield from table(["metric", "value", "interval"], [metric_row(*one) for one in measured.items()])
    yield from by_group(figures.get("groups") or (), network)
    for name, measured in found.get("classes", {}).get("test", {}).items():
        yield f"\nOf the class {name}:\n"
        yield from table(["metric", "value", "interval"], [metric_row(*one) for one in measured.items()])
    calibration = (figures.get("calibration") or {}).get(network)
    if calibration:
        error = number(calibration["expected_calibration_error"])
        yield f"\nExpected calibration error: {error}. Probabilities are the network's own, not calibrated."
    labels = (figures.get("labels") or {}).get("networks", {}).get(network, ())
    if labels:
        yield "\nBy label:\n"
        rows = [[one["label"], one["cases"], one["positives"], shown(one["metrics"].get("auc"))] for one in labels]
        yield from table(["label", "cases", "positive", METRIC_NAMES["auc"]], rows)
    others = [name for name in summary["networks"] if name != network]
    if others:
        told = ", ".join(NETWORK_NAMES.get(name, name) for name in others)
        yield f"\nMeasured beside it: {told}; see the run's report."


def by_group(groups: Sequence[Record], network: str) -> Iterator[str]:
    """A table of the groups of test cases: sex, age, scanner."""
    measured = [(group, group["networks"].get(network, {})) for group in groups]
    names = [name for name in OF_GROUPS if any(name in cells for _, cells in measured)]
    if not names:
        return
    yield "\nBy group, each measured by itself:\n"
    rows = []
    for group, cells in measured:
        cases = f"{group['cases']}{', too few to say much' if group['too_few'] else ''}"
        rows.append([f"{group['by']}: {group['group']}", cases, *(shown(cells.get(name)) for name in names)])
    yield from table(["group", "test cases", *(METRIC_NAMES[name] for name in names)], rows)


def own_figures(summary: Record, data: Record) -> Record:
    """What the summary tells of the network's data set by itself, beside the networks' results."""
    own: Record = summary.get("datasets", {}).get(data["name"], summary)
    return own


def own_results(summary: Record, network: str, data: Record) -> Record:
    """The results of a network on its data set."""
    found: Record = summary["networks"][network]
    own: Record = found.get("datasets", {}).get(data["name"], found)
    return own


def metric_row(name: str, cell: Record) -> list[str]:
    """A metric with its interval."""
    better = " (lower is better)" if name in LOWER_IS_BETTER else ""
    return [f"{METRIC_NAMES.get(name, name)}{better}", number(cell["value"]), interval(cell)]


def shown(cell: Record | None) -> str:
    """A value and its interval in one."""
    return "undefined" if not cell or cell["value"] is None else f"{number(cell['value'])} ({interval(cell)})"


def number(value: float | None) -> str:
    """Three digits after the point."""
    return "undefined" if value is None else f"{value:.3f}"


def interval(cell: Record) -> str:
    """From where to where."""
    low, high = cell.get("low"), cell.get("high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def size(summary: Record, network: str, data: Record) -> Iterator[str]:
    """Parameters and operations."""
    found = own_results(summary, network, data)
    yield f"{found['parameters']:,} parameters ({found['parameters'] * 4 / 2**20:.2f} MB as float32)."
    yield f"{found['macs']:,} multiply-accumulate operations for one image."


def training(experiment: Record) -> Iterator[str]:
    """How it was trained."""
    told = experiment.get("training") or {}
    names = ("epochs", "batch_size", "optimiser", "learning_rate", "weight_decay", "augmentation", "members")
    known = [f"{name.replace('_', ' ')} {told[name]}" for name in names if told.get(name) is not None]
    yield f"archimed {experiment.get('archimed', '')}, method {experiment['method']}: {', '.join(known)}."
    yield "The weights are those of the epoch that was best on validation."


def table(heads: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """A Markdown table."""
    for cells in (heads, ["---"] * len(heads), *rows):
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
