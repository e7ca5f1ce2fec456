"""summary.json: every network's metrics with intervals, comparisons named beforehand, and cautions in plain words."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from archimed.data.dataset import SPLIT_NAMES
from archimed.evaluation.bootstrap import Bootstrap, bootstrap_metrics
from archimed.evaluation.cautions import Findings, cautions
from archimed.evaluation.intervals import intervals_of
from archimed.evaluation.significance import compare_with
from archimed.experiment.budget import TrainingPlan
from archimed.experiment.class_summary import class_results, no_class_results
from archimed.experiment.mask_summary import mask_cautions_of, own_mask_results
from archimed.experiment.repeats import repeats_of
from archimed.experiment.search_stage import wanted_networks
from archimed.experiment.train_stage import Job, jobs
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import read_json, read_lines, write_json
from archimed.task import ImagingTask

COMPARED: Mapping[str, tuple[str, ...]] = {
    "multi-label": ("auc", "macro_f1", "exact_match"),
    "ordinal": ("auc", "accuracy", "quadratic_kappa"),
    "segmentation": ("dice", "surface_dice"),
}
COMPARED_CLASSES = ("auc", "accuracy")


def summarise(bench: Workbench, evaluate_seconds: float) -> None:
    """Write summary.json from the files of the evaluated networks."""
    by_network: dict[str, list[Job]] = {}
    for job in jobs(bench):
        if job.folder.metrics.exists():
            by_network.setdefault(job.selection.network, []).append(job)
    chosen = bench.experiment.method.name
    tests = {name: resampled(bench, members, "test") for name, members in by_network.items()}
    networks = {name: network_summary(bench, members, tests[name]) for name, members in by_network.items()}
    task = bench.training_data.task
    metrics = COMPARED.get(task.kind, COMPARED_CLASSES)
    comparisons = compare_with(chosen, tests, metrics, bench.experiment.evaluation.confidence)
    write_json(
        bench.run.summary,
        {
            "method": chosen,
            "data": bench.training_data.name,
            "task": asdict(task),
            "seed": bench.experiment.seed,
            "chosen": chosen,
            "cautions": all_cautions(bench, by_network, networks, comparisons),
            "seconds": {
                "search": sum(
                    line["seconds"]
                    for log in (bench.run.candidates, bench.run.search_epochs)
                    for line in read_lines(log)
                ),
                "train": sum(network["seconds"] for network in networks.values()),
                "evaluate": evaluate_seconds,
            },
            "networks": networks,
            "comparisons": comparisons,
            **(no_class_results() if task.kind == "segmentation" else class_results(bench, by_network)),
        },
    )


def resampled(bench: Workbench, members: list[Job], split: str) -> Bootstrap:
    """The metrics of one network and their resamples, paired between networks by the run's seed."""
    return bootstrap_metrics(
        bench.training_data.task,
        repeats_of(bench, members, split),
        bench.experiment.seed,
        members[0].selection.network,
        bench.experiment.evaluation.resamples,
    )


def network_summary(bench: Workbench, members: list[Job], test: Bootstrap) -> dict[str, Any]:
    """One network: its size, the mean over folds and seeds with intervals, and every repeat."""
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
        "repeats": [
            {"fold": job.repeat.fold, "seed": job.repeat.seed, "parameters": size["parameters"], "macs": size["macs"]}
            | one
            for job, size, one in zip(members, sizes, measured, strict=True)
        ],
    }


def all_cautions(
    bench: Workbench,
    by_network: Mapping[str, list[Job]],
    networks: Mapping[str, Any],
    comparisons: list[dict[str, Any]],
) -> list[str]:
    """What a reader must know, the gravest first: of the figures, of the time budget, of trainings, of the data."""
    chosen = bench.experiment.method.name
    found = cautions(findings(bench, networks[chosen], comparisons))
    found += mask_cautions_of(networks[chosen], chosen, bench.experiment.evaluation)
    if bench.run.training_plan.exists():
        found += TrainingPlan.read(bench.run.training_plan).cautions
    found += dict.fromkeys(text for repeat in bench.repeats() for text in search_cautions(bench, repeat))
    for name, members in by_network.items():
        texts = [text for job in members for text in read_json(job.folder.training).get("cautions", [])]
        found += [f"{name}: {text}" for text in dict.fromkeys(texts)]
    missing = sorted(wanted_networks(bench) - set(networks))
    if missing:
        found.append(f"No result for {', '.join(missing)}: the training failed.")
    return [*found, *bench.training_data.notes]


def search_cautions(bench: Workbench, repeat: Repeat) -> list[str]:
    """What a search that learns told of itself in one fold and for one seed."""
    finished = bench.run.search_state(repeat.fold, repeat.seed) / "finished.json"
    return [f"Search: {text}" for text in read_json(finished)["cautions"]] if finished.exists() else []


def findings(bench: Workbench, chosen: Mapping[str, Any], comparisons: list[dict[str, Any]]) -> Findings:
    """The facts that cautions are drawn from: all test cases, and the first fold's for training and validation."""
    dataset = bench.training_data
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
        comparisons=comparisons,
        known={} if known.all() else dict(zip(dataset.task.class_names, known.sum(0).tolist(), strict=True)),
        complete=int(known.all(1).sum()),
    )


def class_counts(task: ImagingTask, target: Tensor) -> dict[str, int]:
    """Cases of each class, known positives of each label, or masks that hold each class."""
    counts = (target == 1).sum(0) if target.ndim == 2 else target.bincount(minlength=task.num_outputs)
    return dict(zip(task.class_names, counts.tolist(), strict=True))
