"""summary.json: every network's metrics with intervals, comparisons named beforehand, and cautions in plain words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.evaluation.bootstrap import Bootstrap, bootstrap_metrics, mean_over_data_sets
from archimed.evaluation.cautions import Findings, cautions, cautions_of_means
from archimed.evaluation.intervals import intervals_of
from archimed.evaluation.significance import compare_with
from archimed.evaluation.thresholds import undecided_labels
from archimed.experiment.budget import TrainingPlan
from archimed.experiment.class_summary import class_results, no_class_results
from archimed.experiment.group_summary import group_results
from archimed.experiment.latency import seconds_per_case
from archimed.experiment.mask_summary import in_one_unit, mask_cautions_of, own_mask_results
from archimed.experiment.networks import load_network
from archimed.experiment.repeats import repeats_of
from archimed.experiment.search_stage import search_scope, wanted_networks
from archimed.experiment.train_stage import Job, jobs
from archimed.experiment.tuned import dataset_of
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import read_json, read_lines, write_json
from archimed.task import ImagingTask

COMPARED: Mapping[str, tuple[str, ...]] = {
    "multi-label": ("auc", "macro_f1", "exact_match"),
    "ordinal": ("auc", "accuracy", "quadratic_kappa"),
    "segmentation": ("dice", "surface_dice"),
}
COMPARED_CLASSES = ("auc", "accuracy")


@dataclass(frozen=True)
class OfDataset:
    """The evaluated networks of one data set, and what came of them.

    Attributes:
        number: place of the data set in the run.
        by_network: the trainings of each network.
        tests: their resampled test metrics.
        networks: their part of summary.json.
        comparisons: the chosen network with each other one.
    """

    number: int
    by_network: Mapping[str, list[Job]]
    tests: Mapping[str, Bootstrap]
    networks: Mapping[str, Mapping[str, Any]]
    comparisons: list[dict[str, Any]]


def summarise(bench: Workbench, evaluate_seconds: float) -> None:
    """Write summary.json from the files of the evaluated networks."""
    parts = [of_dataset(bench, number) for number in range(len(bench.training_sets))]
    results = over_data_sets(bench, parts) if bench.has_several else of_one(bench, parts[0])
    logs = (bench.run.candidates, bench.run.search_epochs)
    write_json(
        bench.run.summary,
        {
            "method": bench.experiment.method.name,
            "data": ", ".join(dataset.name for dataset in bench.training_sets),
            "task": asdict(bench.training_data.task),
            "seed": bench.experiment.seed,
            "chosen": bench.experiment.method.name,
            "cautions": all_cautions(bench, parts, results),
            "seconds": {
                "search": sum(line["seconds"] for log in logs for line in read_lines(log)),
                "train": sum(network["seconds"] for part in parts for network in part.networks.values()),
                "evaluate": evaluate_seconds,
                "case": {name: latency(bench, members[0]) for name, members in parts[0].by_network.items()},
            },
            **results,
        },
    )


def of_dataset(bench: Workbench, number: int) -> OfDataset:
    """The evaluated networks of one data set."""
    by_network: dict[str, list[Job]] = {}
    for job in jobs(bench):
        if job.repeat.dataset == number and job.folder.metrics.exists():
            by_network.setdefault(job.selection.network, []).append(job)
    tests = {name: resampled(bench, members, "test") for name, members in by_network.items()}
    networks = {name: network_summary(bench, members, tests[name]) for name, members in by_network.items()}
    return OfDataset(number, by_network, tests, networks, compared(bench, tests))


def latency(bench: Workbench, job: Job) -> float:
    """Seconds that a trained network takes for one case, on this machine: the first validation case of its fold."""
    stored = load_network(job.folder, job.selection.space)
    dataset = dataset_of(bench, job.selection.network, job.repeat)
    (row,) = dataset.rows(dataset.folds[job.repeat.fold].validation[:1])
    return seconds_per_case(stored, dataset.images[row], bench.machine)


def of_one(bench: Workbench, part: OfDataset) -> dict[str, Any]:
    """The results of a run of one data set."""
    is_segmentation = bench.training_sets[part.number].masks is not None
    return {
        "networks": part.networks,
        "comparisons": part.comparisons,
        **(no_class_results() if is_segmentation else class_results(bench, part.by_network)),
        "groups": group_results(
            bench.training_sets[part.number],
            {name: repeats_of(bench, members, "test") for name, members in part.by_network.items()},
            bench.experiment.seed,
            bench.experiment.evaluation,
        ),
    }


def over_data_sets(bench: Workbench, parts: list[OfDataset]) -> dict[str, Any]:
    """The results of a run of several data sets: means over them, and each by itself.

    Networks that lack a data set have no mean that could be compared, and are left out.
    """
    names = [name for name in parts[0].tests if all(name in part.tests for part in parts)]
    tests = {name: mean_over_data_sets([part.tests[name] for part in parts]) for name in names}
    datasets = {bench.training_sets[part.number].name: part for part in parts}
    return {
        "networks": {name: mean_summary(bench, datasets, name, tests[name]) for name in names},
        "comparisons": compared(bench, tests),
        **no_class_results(),
        "datasets": {
            dataset: {"task": asdict(bench.training_sets[part.number].task)}
            | {key: value for key, value in of_one(bench, part).items() if key != "networks"}
            for dataset, part in datasets.items()
        },
    }


def mean_summary(bench: Workbench, datasets: Mapping[str, OfDataset], name: str, test: Bootstrap) -> dict[str, Any]:
    """One network: its mean over the data sets with intervals, its results on each, and every repeat."""
    confidence = bench.experiment.evaluation.confidence
    found = {dataset: dict(part.networks[name]) for dataset, part in datasets.items()}
    validation = [resampled(bench, part.by_network[name], "validation") for part in datasets.values()]
    repeats = [{"dataset": dataset} | repeat for dataset, one in found.items() for repeat in one.pop("repeats")]
    return {
        "parameters": round(sum(one["parameters"] for one in found.values()) / len(found)),
        "macs": round(sum(one["macs"] for one in found.values()) / len(found)),
        "seconds": sum(one["seconds"] for one in found.values()),
        **in_one_unit(
            found.values(),
            validation=intervals_of(mean_over_data_sets(validation), confidence),
            test=intervals_of(test, confidence),
        ),
        "datasets": found,
        "repeats": repeats,
    }


def compared(bench: Workbench, tests: Mapping[str, Bootstrap]) -> list[dict[str, Any]]:
    """The chosen network compared with every other, in the metrics named beforehand for the task."""
    chosen = bench.experiment.method.name
    if chosen not in tests:
        return []
    metrics = COMPARED.get(bench.training_data.task.kind, COMPARED_CLASSES)
    known = [metric for metric in metrics if metric in tests[chosen].values]
    return compare_with(chosen, tests, known, bench.experiment.evaluation.confidence)


def resampled(bench: Workbench, members: list[Job], split: str, checkpoint: str | None = None) -> Bootstrap:
    """The metrics of one network on one data set and their resamples, paired between networks by the run's seed.

    `checkpoint` names another metric by which weights were kept.
    """
    return bootstrap_metrics(
        bench.data_of(members[0].repeat).task,
        repeats_of(bench, members, split, checkpoint),
        bench.experiment.seed,
        members[0].selection.network,
        bench.experiment.evaluation.resamples,
        bench.scope(members[0].repeat.dataset) or "",
    )


def network_summary(bench: Workbench, members: list[Job], test: Bootstrap) -> dict[str, Any]:
    """One network on one data set: its size, the mean over folds and seeds with intervals, and every repeat."""
    confidence = bench.experiment.evaluation.confidence
    sizes = [read_json(job.folder.architecture) for job in members]
    measured = [read_json(job.folder.metrics) for job in members]
    return {
        "parameters": round(sum(size["parameters"] for size in sizes) / len(sizes)),
        "macs": round(sum(size["macs"] for size in sizes) / len(sizes)),
        "seconds": sum(one["seconds"] for one in measured),
        "validation": intervals_of(resampled(bench, members, "validation"), confidence),
        "test": intervals_of(test, confidence),
        **own_mask_results(bench, members),
        **by_checkpoint(bench, members, measured, test),
        "repeats": [
            {"fold": job.repeat.fold, "seed": job.repeat.seed, "parameters": size["parameters"], "macs": size["macs"]}
            | one
            for job, size, one in zip(members, sizes, measured, strict=True)
        ],
    }


def by_checkpoint(
    bench: Workbench, members: list[Job], measured: list[dict[str, Any]], test: Bootstrap
) -> dict[str, Any]:
    """Test results by each metric by which weights were kept, where there are several; the first are the network's."""
    kept = [*measured[0].get("checkpoints", {})]
    found = {}
    for number, metric in enumerate(kept):
        drawn = test if number == 0 else resampled(bench, members, "test", metric)
        found[metric] = {"test": intervals_of(drawn, bench.experiment.evaluation.confidence)}
    return {"checkpoints": found} if found else {}


def all_cautions(bench: Workbench, parts: list[OfDataset], results: Mapping[str, Any]) -> list[str]:
    """What a reader must know, the gravest first: of the figures, of the time budget, of trainings, of the data.

    Of several data sets, networks are compared by their means, not on each.
    """
    chosen = bench.experiment.method.name
    found = cautions_of_means(chosen, results["comparisons"], None) if bench.has_several else []
    found += said_of(bench, {part.number: result_cautions(bench, part) for part in parts})
    if bench.run.training_plan.exists():
        found += TrainingPlan.read(bench.run.training_plan).cautions
    found += dict.fromkeys(text for repeat in bench.searches() for text in search_cautions(bench, repeat))
    found += said_of(bench, {part.number: training_cautions(part) for part in parts})
    for part in parts:
        if missing := sorted(wanted_networks(bench, part.number) - set(part.networks)):
            where = f" on {bench.scope(part.number)}" if bench.has_several else ""
            found.append(f"No result for {', '.join(missing)}{where}: the training failed.")
    if without_mean := sorted({name for part in parts for name in part.networks} - set(results["networks"])):
        found.append(f"No mean over the data sets for {', '.join(without_mean)}, which lack one of them.")
    notes = {number: list(dataset.notes) for number, dataset in enumerate(bench.training_sets)}
    return [*found, *said_of(bench, notes)]


def said_of(bench: Workbench, by_dataset: Mapping[int, list[str]]) -> list[str]:
    """Sentences about data sets, each with the names of those that it holds for unless it holds for all."""
    holds: dict[str, list[int]] = {}
    for number, texts in by_dataset.items():
        for text in dict.fromkeys(texts):
            holds.setdefault(text, []).append(number)
    return [
        text
        if len(numbers) == len(by_dataset)
        else f"{', '.join(bench.training_sets[number].name for number in numbers)}: {text}"
        for text, numbers in holds.items()
    ]


def result_cautions(bench: Workbench, part: OfDataset) -> list[str]:
    """What a reader must know of the figures of one data set."""
    name = bench.experiment.method.name
    chosen = part.networks[name]
    found = cautions(findings(bench, part, chosen))
    return [*found, *mask_cautions_of(chosen, name, bench.experiment.evaluation)]


def training_cautions(part: OfDataset) -> list[str]:
    """What the trainings on one data set told of themselves."""
    found = []
    for name, members in part.by_network.items():
        texts = [text for job in members for text in read_json(job.folder.training).get("cautions", [])]
        found += [f"{name}: {text}" for text in dict.fromkeys(texts)]
    return found


def search_cautions(bench: Workbench, repeat: Repeat) -> list[str]:
    """What a search that learns told of itself in one fold and for one seed."""
    scope = search_scope(bench, repeat)
    stages = sorted(bench.run.search_state(repeat.fold, repeat.seed, scope).rglob("finished.json"))
    told = [text for finished in stages for text in read_json(finished)["cautions"]]
    return [f"Search{f' on {scope}' if scope else ''}: {text}" for text in told]


def findings(bench: Workbench, part: OfDataset, chosen: Mapping[str, Any]) -> Findings:
    """The facts that cautions are drawn from: all test cases, and the first fold's for training and validation."""
    dataset = bench.training_sets[part.number]
    cases = {name: dataset.folds[0].split(name) for name in SPLIT_NAMES}
    cases["test"] = tuple(dict.fromkeys(case for fold in dataset.folds for case in fold.test))
    targets = {name: dataset.target[dataset.rows(ids)] for name, ids in cases.items()}
    test = targets["test"]
    known = ~test.isnan() if dataset.task.kind == "multi-label" else test.new_ones(len(test), 0).bool()
    return Findings(
        task=dataset.task,
        chosen=bench.experiment.method.name,
        validation=chosen["validation"],
        test=chosen["test"],
        counts={name: class_counts(dataset.task, target) for name, target in targets.items()},
        cases={name: len(ids) for name, ids in cases.items()},
        patients=len({dataset.cases[row].patient for row in dataset.rows(cases["test"])})
        if dataset.patients_known
        else None,
        seeds=len(bench.experiment.seeds) * bench.experiment.data.fold_repeats,
        comparisons=[] if bench.has_several else part.comparisons,
        known={} if known.all() else dict(zip(dataset.task.class_names, known.sum(0).tolist(), strict=True)),
        undecided=undecided(bench, dataset.task, targets["validation"]),
        absent=absent_labels(dataset),
        complete=int(known.all(1).sum()),
        one_of_several=bench.has_several,
    )


def undecided(bench: Workbench, task: ImagingTask, target: Tensor) -> list[str]:
    """Labels that some of these validation cases have, but too few to choose a threshold on."""
    settings = bench.experiment.evaluation
    if task.kind != "multi-label" or settings.label_thresholds == "half":
        return []
    few = undecided_labels(target.numpy(), settings.least_positives)
    there = (target == 1).any(0).tolist()
    return [name for name, one, has in zip(task.class_names, few, there, strict=True) if one and has]


def absent_labels(dataset: Dataset) -> dict[str, dict[str, list[int]]]:
    """Of several folds, split -> label -> the folds in which no case is known to have it.

    What `findings` counts is left out: training and validation of the first fold, and the test cases of all.
    """
    if dataset.task.kind != "multi-label" or len(dataset.folds) < 2:
        return {}
    found: dict[str, dict[str, list[int]]] = {}
    for split in SPLIT_NAMES:
        there = [(dataset.target[dataset.rows(fold.split(split))] == 1).any(0).tolist() for fold in dataset.folds]
        found[split] = {}
        for k, name in enumerate(dataset.task.class_names):
            absent = [fold for fold, has in enumerate(there) if not has[k]]
            if split == "test":
                found[split][name] = absent if len(absent) < len(there) else []
            else:
                found[split][name] = [fold for fold in absent if fold > 0]
    return found


def class_counts(task: ImagingTask, target: Tensor) -> dict[str, int]:
    """Cases of each class, known positives of each label, or masks that hold each class."""
    counts = (target == 1).sum(0) if target.ndim == 2 else target.bincount(minlength=task.num_outputs)
    return dict(zip(task.class_names, counts.tolist(), strict=True))
