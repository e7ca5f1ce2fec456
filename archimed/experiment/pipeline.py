"""A run from data to report: each stage reads and writes the run directory, so each can be resumed or run again."""

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from archimed.data.dataset import SPLIT_NAMES, Dataset
from archimed.data.inspection.describe import describe, patients_of_cases
from archimed.errors import RunError
from archimed.experiment.budget import SHARE_OF_TRIALS, SURE, Budget, TrainingPlan, plan_training
from archimed.experiment.candidate_trial import settle_candidates
from archimed.experiment.estimate import TRIAL_SECONDS, epoch_seconds
from archimed.experiment.evaluate_stage import evaluate
from archimed.experiment.own_modalities import with_named_modalities, with_recorded_modalities
from archimed.experiment.preflight import check_before_start, check_kind
from archimed.experiment.progress import Observer
from archimed.experiment.search_stage import baselines_of, search
from archimed.experiment.search_together import search_together
from archimed.experiment.settings import Experiment, MachineSettings, experiment_from_document, section
from archimed.experiment.sources import check_shared
from archimed.experiment.summary import summarise
from archimed.experiment.tracking import UNTRACKED, Tracking, tracked
from archimed.experiment.train_stage import jobs, train_all
from archimed.experiment.train_together import train_together
from archimed.experiment.training_task import training_task, trial_batch
from archimed.experiment.transfer import adopt, check_transfer
from archimed.experiment.tune_stage import tune_all
from archimed.experiment.workbench import Workbench
from archimed.files import read_json, write_json
from archimed.methods.budget_settings import drawing
from archimed.report.report import write_report
from archimed.runs import RunDirectory, describe_environment
from archimed.seeding import numpy_generator, torch_seed
from archimed.training.machine import Machine
from archimed.training.machine_choice import check_precision, choose_device, choose_machine, choose_threads
from archimed.training.team import team
from archimed.workers import held

STAGES = ("search", "train", "evaluate", "report")
MAY_DIFFER = ("workers", "cluster", "candidate_seconds", "candidate_gib")  # when a run goes on: figures do not change


def run_experiment(
    experiment: Experiment, out: Path, observer: Observer, tracking: Tracking = UNTRACKED
) -> RunDirectory:
    """Search, train, evaluate and report; goes on where an earlier attempt in the same folder stopped.

    Raises:
        RunError: the folder belongs to another run, or another process works in it.
        DataError: the data cannot be used; nothing is written then.
    """
    run = RunDirectory(out)
    if run.experiment.exists():
        experiment = with_recorded_modalities(experiment, run.read_experiment())
    run.check(experiment.document())
    trackers = tracking.trackers(run)
    budget = Budget(experiment.budget_seconds)
    bench = open_bench(run, experiment, observer)
    with run.locked():
        record_start(bench)
        with held(bench.experiment.crew, bench.machine.threads), tracked(bench, trackers):
            run_stages(bench, STAGES, budget)
    return run


def run_again(
    out: Path, stages: tuple[str, ...], observer: Observer, fresh: bool = False, tracking: Tracking = UNTRACKED
) -> RunDirectory:
    """Complete stages of an existing run; `fresh` first discards what they and later stages left."""
    run = RunDirectory(out)
    experiment = experiment_from_document(run.read_experiment())
    if stages == ("report",):
        with run.locked():
            report(run, observer)
        return run
    trackers = tracking.trackers(run)
    bench = open_bench(run, experiment, observer)
    with run.locked():
        if fresh:
            discard_from(run, stages[0])
        record_start(bench)
        with held(bench.experiment.crew, bench.machine.threads), tracked(bench, trackers):
            run_stages(bench, stages, Budget(experiment.budget_seconds))
    return run


def open_bench(run: RunDirectory, experiment: Experiment, observer: Observer) -> Workbench:
    """Read the data and settle how the machine is used: as recorded, or by a short trial."""
    if run.experiment.exists():
        recorded = section("machine", MachineSettings, run.read_experiment()["machine"])
        asked = experiment.machine
        machine = replace(recorded, **{name: getattr(asked, name) for name in MAY_DIFFER})
        experiment = replace(experiment, machine=machine)
    observer.stage("read data")
    bench = Workbench(run, experiment, observer, Machine(threads=1), team())
    for dataset in bench.training_sets:
        check_kind(dataset, experiment.method)
        counts = dataset.folds[0]
        observer.say(
            f"{dataset.name}: {len(dataset.cases)} cases, {dataset.task.kind}, "
            f"{len(counts.train)} train / {len(counts.validation)} validation / {len(counts.test)} test"
        )
        patch = training_task(dataset, experiment.method.training).image_size
        if dataset.masks is not None and {shape[1:] for shape in dataset.images.shapes} != {patch}:
            observer.say(f"networks train on patches of {'x'.join(map(str, patch))} pixels (training.patch_size)")
        if dataset.grid is not None:
            observer.say(dataset.grid.words)
    experiment = with_named_modalities(experiment, bench.training_data.task)
    bench.experiment = experiment
    if bench.has_several:
        check_shared(experiment, bench.training_sets, bench.looked())
    if experiment.architecture and not run.experiment.exists():
        check_transfer(bench)
    bench.machine = settle_machine(bench)
    bench.machine = replace(bench.machine, candidates=settle_candidates(bench))
    measured = replace(
        experiment.machine,
        device=bench.machine.device,
        threads=bench.machine.threads,
        precision=bench.machine.precision,
        memory_format=bench.machine.memory_format,
        candidates=bench.machine.candidates,
    )
    bench.experiment = replace(experiment, machine=measured)
    if not run.experiment.exists():
        check_before_start(bench)
    return bench


def settle_machine(bench: Workbench) -> Machine:
    """The recorded choice of threads, precision and memory format, or one made by a short trial and said."""
    wanted = bench.experiment.machine
    dataset, method = bench.training_data, bench.experiment.method
    forced = Machine(wanted.threads or 1, choose_device(wanted.device), wanted.precision or "float32")
    check_precision(forced, dataset.task.spatial_dims)
    if wanted.threads and wanted.precision and wanted.memory_format:
        return replace(forced, memory_format=wanted.memory_format)
    recipe = method.training
    batch = trial_batch(dataset, bench.normalisation(dataset, 0), recipe, Machine(1), recipe.batch_size)
    rng = numpy_generator(bench.experiment.seed, "machine trial")
    with torch_seed(bench.experiment.seed, "machine trial"):
        draw = drawing(method.space, method.search, bench.search_data.task)
        network = method.space.build(draw(rng), training_task(dataset, recipe))
    crew = bench.experiment.crew
    threads = wanted.threads or max(1, choose_threads() // (crew.workers if crew.cluster is None else 1))
    machine = choose_machine(network, batch, device=wanted.device, threads=threads)
    machine = replace(
        machine,
        precision=wanted.precision or machine.precision,
        memory_format=wanted.memory_format or machine.memory_format,
    )
    bench.observer.say(
        f"computing with {machine.threads} thread{'s' * (machine.threads > 1)} on {machine.device}, "
        f"{machine.precision}, {machine.memory_format} (fastest in a short trial)"
    )
    return machine


def record_start(bench: Workbench) -> None:
    """Write what is known before the first stage: settings, environment, the data's fingerprint and splits."""
    run = bench.run
    fingerprint = fingerprint_of(bench)
    run.begin(bench.experiment.document())
    if run.data.exists():
        check_same_data(run, fingerprint)
        return
    write_json(run.environment, describe_environment())
    splits = {dataset.name: folds_of(dataset) for dataset in bench.training_sets}
    write_json(run.splits, {"datasets": splits} if bench.has_several else folds_of(bench.training_data))
    write_json(run.data, fingerprint)


def check_same_data(run: RunDirectory, fingerprint: Mapping[str, Any]) -> None:
    """Raise RunError unless the data are those that the run began with."""
    stored = read_json(run.data)
    if stored["checksum"] != fingerprint["checksum"]:
        raise RunError(
            f"A run keeps to the data it began with; {run.data} has checksum {stored['checksum'][:12]}, the "
            f"data now {fingerprint['checksum'][:12]}. Restore the data, or start a new run."
        )


def fingerprint_of(bench: Workbench) -> dict[str, Any]:
    """What data.json holds: the fingerprint of the data set, or those of several by name and one checksum of all."""
    if not bench.has_several:
        return describe(bench.training_data)
    seen = zip(bench.training_sets, bench.looked(), strict=True)
    found = {dataset.name: describe(dataset, survey) for dataset, survey in seen}
    checksums = "\n".join(f"{name} {one['checksum']}" for name, one in found.items())
    return {"datasets": found, "checksum": hashlib.sha256(checksums.encode()).hexdigest()}


def folds_of(dataset: Dataset) -> dict[str, Any]:
    """Case ids of each fold's parts, and who is the patient of each case where that is known."""
    folds = [{name: list(fold.split(name)) for name in SPLIT_NAMES} for fold in dataset.folds]
    patients = patients_of_cases(dataset)
    return {"folds": folds, **({"patients": patients} if patients else {})}


def run_stages(bench: Workbench, stages: tuple[str, ...], budget: Budget) -> None:
    """Run stages in order; each completes what is missing."""
    for stage in stages:
        if stage in {"train", "evaluate"}:
            apply_plan(bench, budget)
        if stage == "search" and bench.experiment.architecture:
            adopt(bench)
        elif stage == "search":
            search_together(bench, budget)
            search(bench, budget)
        elif stage == "train":
            tune_all(bench)
            train_together(bench, budget)
            train_all(bench, budget)
        elif stage == "evaluate":
            started = time.monotonic()
            evaluate(bench)
            summarise(bench, time.monotonic() - started)
        else:
            report(bench.run, bench.observer)


def report(run: RunDirectory, observer: Observer) -> None:
    """Write report.html from the files of the run alone."""
    observer.stage("report")
    write_report(run.path)


def apply_plan(bench: Workbench, budget: Budget) -> None:
    """Under a time budget, shorten epochs and drop baselines by the run's training plan, made once."""
    path = bench.run.training_plan
    if not path.exists():
        if budget.seconds is None:
            return
        bench.observer.stage("fit training into the time budget")
        per_epoch: dict[str, float] = {}
        trial = min(TRIAL_SECONDS, SHARE_OF_TRIALS * budget.seconds)
        for job in jobs(bench):
            name, dataset = job.selection.network, job.repeat.dataset
            per_epoch[name] = per_epoch.get(name, 0.0) + epoch_seconds(bench, job.selection, dataset, trial)
        method = bench.experiment.method
        at_once = min(bench.experiment.crew.workers, len(jobs(bench)))
        seconds = SURE * at_once * budget.left_for_training()
        plan_training(seconds, per_epoch, method.training.epochs, method.name).write(path)
    plan = TrainingPlan.read(path)
    for caution in plan.cautions:
        bench.observer.say(caution)
    bench.experiment = shortened(bench, plan)


def shortened(bench: Workbench, plan: TrainingPlan) -> Experiment:
    """The experiment with the plan's epochs and without the baselines it drops."""
    experiment = bench.experiment
    every = [name for dataset in bench.training_sets for name in baselines_of(experiment, dataset.task)]
    kept = [name for name in dict.fromkeys(every) if name not in plan.dropped]
    method = replace(experiment.method, training=replace(experiment.method.training, epochs=plan.epochs))  # type: ignore[type-var]
    return replace(
        experiment,
        method=method,
        evaluation=replace(experiment.evaluation, baselines=",".join(kept) or "none"),
    )


def discard_from(run: RunDirectory, stage: str) -> None:
    """Delete what a stage and the stages after it wrote."""
    if stage == "search":
        shutil.rmtree(run.candidates.parent, ignore_errors=True)
    if stage in {"search", "train"}:
        shutil.rmtree(run.path / "networks", ignore_errors=True)
        shutil.rmtree(run.trials.parent, ignore_errors=True)
        run.training_plan.unlink(missing_ok=True)
    run.summary.unlink(missing_ok=True)
    run.report.unlink(missing_ok=True)
