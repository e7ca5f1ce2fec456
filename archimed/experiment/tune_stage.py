"""`--tune N`: for every network, N settings of training are tried within the training part of a fold.

Every network gets the same number of trials. The first is the recipe as it is; the others are drawn, the first ten for
all networks alike, then by what earlier trials of the network gave (tree-structured Parzen estimator, Bergstra et al.,
2011, by Optuna). Networks that are fitted in one go have no such settings.

A trial trains on the training cases with the first of the run's seeds; its value is the checkpoint metric of the
validation cases. Test cases are never read. What comes next depends on the log alone, so that an interrupted run goes
on as if it had not been.
"""

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from archimed.errors import SettingsError
from archimed.experiment.networks import build_network
from archimed.experiment.search_stage import place, where
from archimed.experiment.train_stage import Job, begin_with_weights, check_own_network, described, fit, jobs
from archimed.experiment.tuned import signed, trials_of
from archimed.experiment.workbench import Repeat, Workbench
from archimed.files import append_line
from archimed.networks.fitted import Fitted
from archimed.seeding import derive_seed
from archimed.training.progress import TrainingError
from archimed.training.recipe import Recipe, checkpoint_metric

LEAST_HALF = 32  # pixels per axis, below which no half size is tried


def check_tuning(bench: Workbench) -> None:
    """Raise SettingsError if trials are asked for that cannot be made."""
    if not bench.experiment.tune.trials:
        return
    optuna()
    if bench.experiment.budget_seconds is not None:
        raise SettingsError(
            "--tune trains every network several times, so its time cannot be foretold; it was asked for together with "
            "--budget. Leave one of the two out."
        )


def optuna() -> Any:
    """The library that draws settings.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import optuna as library
    except ImportError:
        raise SettingsError(
            "--tune needs Optuna, which is not installed. Install it with: pip install 'archimed[tune]'"
        ) from None
    library.logging.set_verbosity(library.logging.ERROR)
    return library


def tune_all(bench: Workbench) -> None:
    """Make the trials that are missing, of each network in each fold of each data set."""
    trials = bench.experiment.tune.trials
    if not trials:
        return
    every = jobs(bench)
    check_own_network(bench, every, "Tuning needs the networks that the search chooses")
    firsts = [job for job in every if job.repeat.seed == bench.experiment.seed]
    beginners = begin_with_weights(bench, every)
    for number, job in enumerate(firsts, start=1):
        done = trials_of(bench, job.selection.network, job.repeat)
        if len(done) == trials or job.folder.training.exists() or is_fitted(bench, job):
            continue
        bench.run.trials.parent.mkdir(exist_ok=True)
        scope = where(bench, job.repeat, bench.scope(job.repeat.dataset))
        bench.observer.stage(f"tune: {job.selection.network}{scope} ({number} of {len(firsts)})")
        for trial in range(len(done), trials):
            line = make_trial(bench, job, done, job.selection.network in beginners)
            append_line(bench.run.trials, line)
            done.append(line)
            shown = line["failed"] or f"validation {line['metric']} {line['value']:.3f}"
            bench.observer.progress(trial + 1, trials, f"trials, {shown}")


def is_fitted(bench: Workbench, job: Job) -> bool:
    """Whether the network of a job is fitted in one go rather than trained."""
    document = described(bench, job, bench.experiment.method.training)
    return isinstance(build_network(document, 0, job.selection.space), Fitted)


def make_trial(bench: Workbench, job: Job, done: Sequence[Mapping[str, Any]], begins: bool) -> dict[str, Any]:
    """Train with the next settings; the line of the log."""
    recipe: Recipe = bench.experiment.method.training
    metric = checkpoint_metric(recipe, bench.training_sets[job.repeat.dataset].task.kind)
    settings = next_settings(bench, job.repeat, done, metric)
    line = {"network": job.selection.network, **place(job.repeat, bench.scope(job.repeat.dataset))}
    line |= {"trial": len(done), "settings": settings, "metric": metric}
    epochs = bench.experiment.tune.epochs or recipe.epochs
    tried = replace(recipe, **settings, epochs=epochs, checkpoint_metric=metric)
    folder = bench.run.trials.parent / "state" / f"{job.selection.network}.{job.folder.path.name}"
    try:
        training = fit(bench, job, tried, folder, begins=begins)
    except (TrainingError, SettingsError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        return line | {"value": None, "best_epoch": None, "epochs": 0, "seconds": 0.0, "failed": str(error)}
    shutil.rmtree(folder, ignore_errors=True)  # not if interrupted: the trial then goes on from its last epoch
    value = training.epochs[training.best_epoch - 1].validation[metric]
    return line | {
        "value": value,
        "best_epoch": training.best_epoch,
        "epochs": len(training.epochs),
        "seconds": training.seconds,
        "failed": None if value is not None else f"{metric} is undefined on the validation cases",
    }


def next_settings(bench: Workbench, repeat: Repeat, done: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """The settings of the next trial, from those done alone."""
    recipe: Recipe = bench.experiment.method.training
    options = options_of(bench, repeat)
    if not done:
        return {name: getattr(recipe, name) for name in ("learning_rate", *options)}
    library = optuna()
    tune = bench.experiment.tune
    low, high = min(tune.learning_rates[0], recipe.learning_rate), max(tune.learning_rates[1], recipe.learning_rate)
    space = {"learning_rate": library.distributions.FloatDistribution(low, high, log=True)}
    space |= {name: library.distributions.CategoricalDistribution(values) for name, values in options.items()}
    seed = derive_seed(bench.experiment.seed, "tuning", repeat.fold, len(done)) % 2**32
    study = library.create_study(sampler=library.samplers.TPESampler(seed=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for trial in done:
            failed = trial["value"] is None
            study.add_trial(
                library.trial.create_trial(
                    state=library.trial.TrialState.FAIL if failed else library.trial.TrialState.COMPLETE,
                    value=None if failed else -signed(metric, trial["value"]),
                    params={name: trial["settings"][name] for name in space},
                    distributions=space,
                )
            )
        drawn: dict[str, Any] = study.ask(space).params
    return drawn


def options_of(bench: Workbench, repeat: Repeat) -> dict[str, tuple[Any, ...]]:
    """What is tried of settings with few values, the recipe's own among them; images of one size have no other."""
    recipe: Recipe = bench.experiment.method.training
    tune = bench.experiment.tune
    options: dict[str, tuple[Any, ...]] = {
        "batch_size": tuple(sorted({*tune.batch_sizes, recipe.batch_size})),
        "weight_decay": tuple(sorted({*tune.weight_decays, recipe.weight_decay})),
    }
    dataset = bench.training_sets[repeat.dataset]
    if dataset.masks is None:
        own = dataset.task.image_size[0]
        half = (own // 2,) if own // 2 >= LEAST_HALF else ()
        others = sorted({*(tune.image_sizes or half)} - {own})
        if others:
            options["image_size"] = (recipe.image_size, *others)
    return options
