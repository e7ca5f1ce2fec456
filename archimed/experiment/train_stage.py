"""The training stage: every selected network, by one recipe, resumable at every epoch."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from archimed.errors import RunError
from archimed.experiment.budget import Budget, TimeShare, TrainingPlan
from archimed.experiment.initial_weights import trial
from archimed.experiment.networks import architecture_document, build_network, network_size
from archimed.experiment.search_stage import read_selection, wanted_networks, where
from archimed.experiment.training_task import training_task, validation_metrics
from archimed.experiment.tuned import recipe_of
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import read_json, write_json
from archimed.methods.protocol import Selection
from archimed.runs import NetworkFolder
from archimed.seeding import derive_seed
from archimed.training.initial_weights import misfit_error
from archimed.training.loop import Stop, never, train
from archimed.training.progress import EpochRecord, Training, TrainingError
from archimed.training.recipe import Recipe, checkpoint_metric


@dataclass(frozen=True)
class Job:
    """One network of one data set, fold and seed, to be trained."""

    selection: Selection
    repeat: Repeat
    folder: NetworkFolder


@dataclass(frozen=True)
class Invitation:
    """What the other processes of a team need to join a training of a run, and the state that it begins from."""

    run: Path
    job: Job
    recipe: Recipe
    begun: Mapping[str, Any]


def jobs(bench: Workbench) -> list[Job]:
    """The trainings of a run: for each fold and seed the method's own network first, then the baselines.

    A network that was chosen for all data sets is trained on each.
    """
    found = []
    for line in bench.run.selections():
        for number in range(len(bench.training_sets)):
            scope = bench.scope(number)
            if line.get("dataset") in {None, scope} and line["network"] in wanted_networks(bench, number):
                repeat = Repeat(line["fold"], line["seed"], number)
                folder = bench.run.network(line["network"], repeat.fold, repeat.seed, scope)
                found.append(Job(read_selection(line, bench.experiment.method.space), repeat, folder))
    return found


def check_own_network(bench: Workbench, found: list[Job], rule: str) -> None:
    """Raise RunError unless there is a job of the method's own network for every data set, fold and seed."""
    name = bench.experiment.method.name
    there = [job.repeat for job in found if job.selection.network == name]
    for repeat in bench.repeats():
        if repeat not in there:
            dataset = f" of {bench.scope(repeat.dataset)}" if bench.has_several else ""
            raise RunError(
                f"{rule}; {bench.run.path} has no {name} for fold {repeat.fold} and seed {repeat.seed}{dataset} yet. "
                f"Go on with: archimed resume {bench.run.path}"
            )


def train_all(bench: Workbench, budget: Budget | None = None) -> None:
    """Train what is not trained yet; a baseline that cannot be trained is left out, the method's own network never.

    A budget gives every training its share of the time left, and leaves baselines out once there is none.

    Raises:
        RunError: the search is not complete.
        TrainingError: the method's own network cannot be trained.
    """
    every = jobs(bench)
    check_own_network(bench, every, "Training needs the networks that the search chooses")
    beginners = begin_with_weights(bench, every)
    for number, job in enumerate(every, start=1):
        todo = [one for one in every[number - 1 :] if not one.folder.training.exists()]
        share = None if budget is None else share_of_time(bench, budget, todo)
        if todo and todo[0] is job and share is not None and share.too_short and not is_own(bench, job):
            leave_out(bench, job)
            continue
        if not job.folder.training.exists():
            place = where(bench, job.repeat, bench.scope(job.repeat.dataset))
            bench.observer.stage(f"train: {job.selection.network}{place} ({number} of {len(every)})")
        try:
            stop = never if share is None else share.is_over
            train_one(bench, job, every[: number - 1], job.selection.network in beginners, stop)
        except TrainingError as error:
            if is_own(bench, job):
                raise
            bench.observer.say(f"{job.selection.network} could not be trained and is left out: {error}")


def is_own(bench: Workbench, job: Job) -> bool:
    """Whether a job trains the method's own network."""
    return job.selection.network == bench.experiment.method.name


def share_of_time(bench: Workbench, budget: Budget, todo: Sequence[Job]) -> TimeShare | None:
    """What the first of these trainings may take of the time left; None without a budget."""
    if budget.seconds is None or not todo:
        return None
    planned = TrainingPlan.read(bench.run.training_plan).epoch_seconds
    seconds = [planned.get(job.selection.network, 1.0) for job in todo]
    return TimeShare.of(budget.left_for_training(), seconds)


def leave_out(bench: Workbench, job: Job) -> None:
    """Leave a baseline out for want of time, and keep that with the run."""
    plan = TrainingPlan.read(bench.run.training_plan).without(job.selection.network)
    plan.write(bench.run.training_plan)
    bench.observer.say(plan.cautions[-1])


def begin_with_weights(bench: Workbench, every: list[Job]) -> set[str]:
    """The networks that begin with `training.initial_weights`, which fit them in every fold; the others are told.

    Raises:
        SettingsError: there is a file and it fits none.
    """
    path = bench.experiment.method.training.initial_weights
    if path is None:
        return set()
    facts: dict[str, str | None] = {}
    for job in every:
        name = job.selection.network
        facts[name] = facts.get(name) or trial(bench, job.selection, job.repeat.dataset, job.repeat.fold)[0]
    if all(facts.values()):
        raise misfit_error(path, next(fact for fact in facts.values() if fact))
    for name, fact in facts.items():
        if fact:
            bench.observer.say(f"{name} starts afresh, as the weights of {path.name} do not fit it: {fact}")
    return {name for name, fact in facts.items() if not fact}


def train_one(bench: Workbench, job: Job, earlier: list[Job], begins: bool = False, stop: Stop = never) -> None:
    """Train one network, or take over the result of an equal one trained before.

    `begins` tells whether it begins with the weights of `training.initial_weights`; `stop` as in `train`.
    """
    recipe = recipe_of(bench, job.selection.network, job.repeat)
    if not job.folder.architecture.exists():
        document = described(bench, job, recipe)
        alike = [one for one in earlier if recipe_of(bench, one.selection.network, one.repeat) == recipe]
        if twin := trained_twin(job, document, alike):
            take_over(twin, job.folder)
            return
        write_json(job.folder.architecture, document | network_size(document, job.selection.space))
    fit(bench, job, recipe, job.folder.path, begins=begins, stop=stop)


def described(bench: Workbench, job: Job, recipe: Recipe) -> dict[str, Any]:
    """The architecture of a network as it is trained by a recipe."""
    dataset = bench.datasets(recipe.image_size)[job.repeat.dataset]
    task = training_task(dataset, recipe, job.repeat.fold)
    return architecture_document(job.selection, task, bench.normalisation(dataset, job.repeat.fold), recipe.members)


def fit(bench: Workbench, job: Job, recipe: Recipe, folder: Path, *, begins: bool, stop: Stop = never) -> Training:
    """Train the network of a job by a recipe, with its state and results in a folder.

    `begins` tells whether it begins with the weights of `training.initial_weights`; `stop` as in `train`.
    """
    recipe = recipe if begins else replace(recipe, initial_weights=None)
    dataset = bench.datasets(recipe.image_size)[job.repeat.dataset]
    fold = dataset.folds[job.repeat.fold]
    task = training_task(dataset, recipe, job.repeat.fold)
    seed = training_seed(job.repeat)
    chosen_by = checkpoint_metric(recipe, task.kind)

    def call(begun: Mapping[str, Any]) -> None:
        bench.team.send(Invitation(bench.run.path.resolve(), job, recipe, begun))

    def on_epoch(record: EpochRecord) -> None:
        value = record.validation.get(chosen_by)
        shown = "undefined" if value is None else f"{value:.3f}"
        note = f"epochs, validation {chosen_by} {shown}"
        bench.observer.progress(record.epoch, recipe.epochs, note)

    return train(
        build_network(described(bench, job, recipe), seed, job.selection.space),
        dataset.subset(fold.train),
        dataset.subset(fold.validation),
        bench.normalisation(dataset, job.repeat.fold),
        task=task,
        recipe=recipe,
        seed=seed,
        machine=bench.machine,
        state_folder=folder,
        on_epoch=on_epoch,
        validation_metrics=validation_metrics(task, bench.experiment.evaluation),
        warn=bench.observer.say,
        stop=stop,
        team=bench.team,
        call=call,
    )


def training_seed(repeat: Repeat) -> int:
    """The seed of first weights and of the training, the same for every network of a fold and seed."""
    return derive_seed(repeat.seed, "training", repeat.fold)


def trained_twin(job: Job, document: dict[str, Any], earlier: list[Job]) -> NetworkFolder | None:
    """A trained network of the same data, fold, seed and architecture, by another name: its result would be equal."""
    for other in earlier:
        if other.repeat == job.repeat and other.folder.training.exists():
            stored = read_json(other.folder.architecture)
            if all(stored[key] == json.loads(json.dumps(value)) for key, value in document.items()):
                return other.folder
    return None


def take_over(twin: NetworkFolder, folder: NetworkFolder) -> None:
    """Copy a trained network in one step."""
    unfinished = folder.path.with_name(f".{folder.path.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(twin.path, unfinished)
    unfinished.replace(folder.path)
