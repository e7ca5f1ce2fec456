"""How well indicators rank the trained networks of a space on given data: draw, measure, train, correlate.

Each network is a line of networks.jsonl once it is trained; a run that was cut off goes on after the last one, and
within a training after its last epoch. The validation part of the first fold judges; the test part is never read.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from archimed.data.dataset import Dataset
from archimed.errors import RunError
from archimed.evaluation.agreement import rank_agreement
from archimed.evaluators.training_free import TrainingFree
from archimed.experiment.networks import architecture_document, build_network
from archimed.experiment.pipeline import open_bench, record_start
from archimed.experiment.progress import Observer
from archimed.experiment.search_stage import problem_of
from archimed.experiment.settings import Experiment
from archimed.experiment.training_task import training_task, validation_metrics
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import append_line, read_lines, write_json
from archimed.genotype import Genotype, describe
from archimed.indicators import find_indicators
from archimed.methods.budget_settings import drawing
from archimed.methods.protocol import Selection
from archimed.methods.training_free import canonical_form, scoring_batch
from archimed.report.correlating import write_correlation
from archimed.runs import RunDirectory
from archimed.seeding import derive_seed, numpy_generator
from archimed.spaces import space_settings
from archimed.strategies.unique import draw_unique
from archimed.studies.agreements import agreement_notes, agreement_words
from archimed.studies.correlation_settings import CorrelationSettings
from archimed.task import LOWER_IS_BETTER
from archimed.training.loop import train
from archimed.training.progress import EpochRecord, TrainingError, best_of
from archimed.training.recipe import checkpoint_metric

COUNTED = ("macs", "parameters")  # what indicators are measured against: cheap, and often as good


def correlate(experiment: Experiment, out: Path, observer: Observer) -> dict[str, Any]:
    """Draw networks, measure and train each, and write correlation.json, correlate.html, figures and tables.

    Goes on where an earlier attempt in the same folder stopped.

    Returns:
        The content of correlation.json (docs/comparing.md).

    Raises:
        RunError: the folder belongs to something else, or another process works in it.
        SettingsError: the space has no network for the data.
    """
    run = RunDirectory(out)
    run.check(experiment.document())
    bench = open_bench(run, experiment, observer)
    with run.locked():
        record_start(bench)
        records = measured_networks(bench)
        document = correlation_document(bench, records)
        write_json(out / "correlation.json", document)
        write_correlation(out, document, records)
    return document


def measured_networks(bench: Workbench) -> list[dict[str, Any]]:
    """One record of every network drawn, those of an interrupted attempt included."""
    path = bench.run.path / "networks.jsonl"
    records = read_lines(path)
    genotypes = drawn(bench)
    choices = bench.experiment.method.space.choices
    for record, genotype in zip(records, genotypes, strict=False):
        if record["genotype"] != describe(genotype, choices):
            raise RunError(
                f"A correlation goes on with its own networks; number {record['number']} of {path} is another one than "
                "these settings draw. Choose another --out."
            )
    bench.observer.stage(f"measure and train {len(genotypes)} networks")
    evaluator = evaluator_of(bench)
    bench.observer.progress(len(records), len(genotypes), "networks")
    for number, genotype in list(enumerate(genotypes))[len(records) :]:
        record = one_network(bench, evaluator, number, genotype, len(genotypes))
        append_line(path, record)
        records.append(record)
        shutil.rmtree(state_folder(bench, number), ignore_errors=True)
        bench.observer.progress(len(records), len(genotypes), "networks")
    return records


def drawn(bench: Workbench) -> list[Genotype]:
    """The networks, by the seed, each once; fewer than asked for where the space has no more."""
    method, seed = bench.experiment.method, bench.experiment.seed
    rng = numpy_generator(seed, "correlated networks")
    draw = drawing(method.space, method.search, bench.search_data.task)
    return draw_unique(
        lambda count: [draw(rng) for _ in range(count)], settings_of(bench).networks, (), canonical_form(method.space)
    )


def settings_of(bench: Workbench) -> CorrelationSettings:
    """The settings of the section `search`."""
    settings: CorrelationSettings = bench.experiment.method.search
    return settings


def state_folder(bench: Workbench, number: int) -> Path:
    """Where a network under training keeps its state."""
    return bench.run.path / "training" / f"{number:04}"


def evaluator_of(bench: Workbench) -> TrainingFree:
    """What measures the indicators, all on one batch of training images."""
    settings, method = settings_of(bench), bench.experiment.method
    problem = problem_of(bench, bench.search_data, Repeat(0, bench.experiment.seed))
    indicators = find_indicators(settings.indicators)
    batch = scoring_batch(problem, settings.batch_size)
    return TrainingFree(method.space, problem.task, batch, indicators, bench.experiment.seed)


def one_network(
    bench: Workbench, evaluator: TrainingFree, number: int, genotype: Genotype, planned: int
) -> dict[str, Any]:
    """Measure and train one network: its line of networks.jsonl."""
    with bench.machine.session():
        values, reasons, seconds = measured(evaluator, genotype)
    record: dict[str, Any] = {
        "number": number,
        "genotype": describe(genotype, bench.experiment.method.space.choices),
        "indicators": values,
        "undefined": reasons,
        "scoring_seconds": seconds,
    }
    try:
        best, training_seconds = trained(bench, number, genotype, planned)
    except TrainingError as error:
        return record | {"failure": str(error), "best_epoch": None, "validation": {}, "training_seconds": None}
    return record | {
        "failure": None,
        "best_epoch": best.epoch,
        "validation": dict(best.validation),
        "training_seconds": training_seconds,
    }


def measured(evaluator: TrainingFree, genotype: Genotype) -> tuple[dict[str, float | None], dict[str, str], float]:
    """Indicators of one network, None where not a finite number, with the reasons, and the seconds they took.

    Where they cannot be measured together each is measured alone, so that one does not take the others along.
    """
    together = evaluator.measure(genotype)
    parts = [together]
    names = (*evaluator.indicators, *COUNTED)
    if together.failure is not None:
        alone = [replace(evaluator, indicators={name: one}) for name, one in evaluator.indicators.items()]
        parts = [one.measure(genotype) for one in (*alone, replace(evaluator, indicators={}))]
    found = {name: value for part in parts for name, value in part.values.items()}
    failures = dict(zip((*evaluator.indicators, *COUNTED), (part.failure for part in parts), strict=False))
    values: dict[str, float | None] = {}
    reasons = {}
    for name in names:
        value = found.get(name)
        finite = value is not None and math.isfinite(value)
        values[name] = value if finite else None
        if not finite:
            reasons[name] = str(value) if value is not None else str(failures.get(name) or together.failure)
    return values, reasons, sum(part.seconds for part in parts)


def trained(bench: Workbench, number: int, genotype: Genotype, planned: int) -> tuple[EpochRecord, float]:
    """Train one network by the short recipe: its best epoch on validation, and the seconds it took."""
    method, seed = bench.experiment.method, derive_seed(bench.experiment.seed, "training", 0)
    dataset, recipe = bench.training_data, method.training
    task = training_task(dataset, recipe)
    normalise = bench.normalisation(dataset, 0)
    document = architecture_document(
        Selection(method.name, method.space, genotype, ""), task, normalise, recipe.members
    )
    chosen_by = checkpoint_metric(recipe, task.kind)

    def on_epoch(record: EpochRecord) -> None:
        value = record.validation.get(chosen_by)
        shown = "undefined" if value is None else f"{value:.3f}"
        done = number + record.epoch / (recipe.epochs + 1)
        bench.observer.progress(round(done, 2), planned, f"networks, validation {chosen_by} {shown}")

    fold = dataset.folds[0]
    found = train(
        build_network(document, seed, method.space),
        dataset.subset(fold.train),
        dataset.subset(fold.validation),
        normalise,
        task=task,
        recipe=recipe,
        seed=seed,
        machine=bench.machine,
        state_folder=state_folder(bench, number),
        on_epoch=on_epoch,
        validation_metrics=validation_metrics(task),
        warn=bench.observer.say,
    )
    return best_of(found.epochs, chosen_by), found.seconds


def correlation_document(bench: Workbench, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of correlation.json."""
    experiment, settings = bench.experiment, settings_of(bench)
    dataset: Dataset = bench.training_data
    metric = checkpoint_metric(experiment.method.training, dataset.task.kind)
    sign = -1 if metric in LOWER_IS_BETTER else 1
    quality = sign * numbers([record["validation"].get(metric) for record in records])
    values = {name: numbers([record["indicators"][name] for record in records]) for name in settings.measured}
    resamples, confidence = experiment.evaluation.resamples, experiment.evaluation.confidence
    found = {
        against: rank_agreement(values, quality, against, experiment.seed, resamples, confidence) for against in COUNTED
    }
    document = {
        "space": space_settings(experiment.method.space)["name"],
        "data": dataset.name,
        "task": dataset.task.kind,
        "asked": settings.networks,
        "drawn": len(records),
        "trained": int(np.isfinite(quality).sum()),
        "failed": [{"number": one["number"], "failure": one["failure"]} for one in records if one["failure"]],
        "validation_cases": len(dataset.folds[0].validation),
        "metric": metric,
        "epochs": experiment.method.training.epochs,
        "seed": experiment.seed,
        "resamples": resamples,
        "confidence": confidence,
        "seconds": {part: sum(one[f"{part}_seconds"] or 0.0 for one in records) for part in ("scoring", "training")},
        "indicators": {
            name: {key: value for key, value in found["macs"][name].items() if key != "above"}
            | {f"above_{against}": found[against][name]["above"] for against in COUNTED}
            for name in settings.measured
        },
    }
    return document | {"verdict": agreement_words(document), "notes": agreement_notes(document, records)}


def numbers(values: Sequence[float | None]) -> Any:
    """Values as an array, NaN where there is none."""
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
