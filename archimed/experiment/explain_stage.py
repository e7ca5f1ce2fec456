"""Explains what a network of a finished run answered: maps of some cases, and whether such maps are faithful."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from archimed.data.dataset import Dataset
from archimed.data.placing import Place, places
from archimed.errors import DataError, RunError, SettingsError
from archimed.experiment.explained_cases import RULE, RULE_OF_LABELS, PickedCase, asked_cases, picked_cases
from archimed.experiment.explainer import Explainer, deleted, explained
from archimed.experiment.networks import load_network
from archimed.experiment.pipeline import check_same_data, fingerprint_of, open_bench
from archimed.experiment.predictions import SplitPredictions, read_predictions
from archimed.experiment.progress import Observer
from archimed.experiment.settings import experiment_from_document
from archimed.experiment.trainings import Trained, trainings_of
from archimed.experiment.tuned import dataset_of, recipe_of
from archimed.experiment.workbench import Repeat, Workbench
from archimed.explain.deletion import faithfulness
from archimed.files import write_json
from archimed.report.explaining import FOLDER
from archimed.report.explanation import write_explanation
from archimed.report.report import write_report
from archimed.runs import NetworkFolder, RunDirectory
from archimed.seeding import numpy_generator

MOST_TESTED = 30  # cases of the deletion test
Datasets = Mapping[str | None, Dataset]  # by the name in files; None in a run of one


def explain_run(run: Path, cases: str | None, network: str | None, out: Path | None, observer: Observer) -> Path:
    """Explain cases of a run by the maps of one of its networks, and test whether the maps are faithful.

    Args:
        run: an evaluated run that classifies.
        cases: what `--cases` says; None picks a few test cases by a rule.
        network: its name; None takes the method's own.
        out: a new or empty folder; None takes `RUN/explained/NETWORK`, which the report of the run then shows.
        observer: hears of progress.

    Returns:
        The folder with maps.json, explain.html, pictures and heat maps.

    Raises:
        RunError: the run is not evaluated, lacks the network, or its data are not those it began with.
        SettingsError: the run segments, the network has no maps, or no case is named.
        DataError: a case is unknown.
    """
    directory = RunDirectory(run)
    experiment = experiment_from_document(directory.read_experiment(), searches=False)
    found = trainings_of(directory, network)
    if out is not None and out.exists() and any(out.iterdir()):
        raise RunError(f"An output folder is new or empty; {out} holds files. Choose another --out.")
    bench = open_bench(directory, experiment, observer)
    if bench.training_data.task.kind == "segmentation":
        raise SettingsError(
            f"Maps explain answers about whole images; {run} segments, so its answers are maps already. "
            "Its report shows them beside the truth."
        )
    check_same_data(directory, fingerprint_of(bench))
    folder = out or run / FOLDER / found[0].network
    with directory.locked(), bench.machine.session():
        document = explain(bench, found, cases, folder)
        write_json(folder / "maps.json", document)
        write_explanation(folder)
        if out is None and directory.report.exists():
            write_report(run)
    return folder


def explain(bench: Workbench, found: Sequence[Trained], cases: str | None, folder: Path) -> dict[str, Any]:
    """Write pictures and heat maps, in place of what is there; what maps.json says is returned.

    Whatever may be refused comes before the first file.
    """
    datasets = {bench.scope(number): dataset for number, dataset in enumerate(bench.training_sets)}
    own = explainer(bench, found[0])
    task = own.stored.task
    if cases is None:
        rule = RULE_OF_LABELS if task.kind == "multi-label" else RULE
        chosen = [(found[0], one) for one in picked_cases(task, evaluated(own))]
    else:
        rule = "named by the user"
        chosen = [(answering(found, datasets, case), PickedCase(case)) for case in asked_cases(cases)]
    test = faithful(bench, own)
    placed = places_of(bench, own, chosen)
    bench.observer.stage("explain")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    told = []
    for number, (trained, picked) in enumerate(chosen, start=1):
        if own.trained != trained:
            own = explainer(bench, trained)
            placed = places_of(bench, own, chosen)
        told.append(explained(own, picked, folder, f"case{number}", placed.get(picked.case)))
        bench.observer.progress(number, len(chosen), "cases")
    return {
        "network": found[0].network,
        "run": bench.run.path.resolve().name,
        "data": own.dataset.name,
        "task": task.kind,
        "classes": list(task.class_names),
        "rule": rule,
        "pictures": bench.experiment.evaluation.pictures,
        "deletion": test,
        "cases": told,
    }


def explainer(bench: Workbench, trained: Trained) -> Explainer:
    """One training of a network, loaded, and the data set at the image size that it was trained at."""
    folder, experiment = NetworkFolder(trained.path), bench.experiment
    stored = load_network(folder, experiment.method.space)
    bench.machine.place_network(stored.network)
    dataset = dataset_of(bench, trained.network, repeat_of(bench, trained))
    return Explainer(trained, stored, dataset, bench.machine, experiment.evaluation, experiment.seed)


def evaluated(own: Explainer) -> SplitPredictions:
    """What the network answered to the test cases when it was evaluated.

    Raises:
        RunError: that is missing.
    """
    path = NetworkFolder(own.trained.path).predictions
    found = read_predictions(path, own.stored.task).get("test")
    if not isinstance(found, SplitPredictions):
        raise RunError(f"Cases are picked by the answers to the test part; {path} has none. Name some with --cases.")
    return found


def answering(found: Sequence[Trained], datasets: Datasets, case: str) -> Trained:
    """The training that explains a case: the first that is tested on it, else the first on its data set.

    Raises:
        DataError: there is no such case.
    """
    having = [one for one in found if any(case == known.id for known in datasets[one.dataset].cases)]
    if not having:
        dataset = datasets[found[0].dataset]
        raise DataError(
            f"--cases names cases of the run's data; {dataset.name} has {len(dataset.cases)}, such as "
            f"{dataset.cases[0].id}, but no {case!r}. The ids are in splits.json and predictions.csv."
        )
    tested = (one for one in having if case in datasets[one.dataset].folds[one.fold].test)
    return next(tested, having[0])


def faithful(bench: Workbench, own: Explainer) -> dict[str, Any]:
    """The deletion test over some test cases, evenly spread over the list of them."""
    test = own.dataset.folds[own.trained.fold].test
    number = min(MOST_TESTED, len(test))
    bench.observer.stage("deletion test")
    found = []
    for position in range(number):
        found.append(deleted(own, test[position * len(test) // number]))
        bench.observer.progress(position + 1, number, "cases")
    whole = faithfulness(found, numpy_generator(bench.experiment.seed, "deletion"))
    lines = [{"case": one.case, "most": one.most, "random": one.random, "least": one.least} for one in found]
    return {**asdict(whole), "verdict": whole.verdict, "tested": lines}


def places_of(bench: Workbench, own: Explainer, chosen: Sequence[tuple[Trained, PickedCase]]) -> dict[str, Place]:
    """Where the volumes of those cases lie that one training explains."""
    if own.stored.task.spatial_dims < 3:
        return {}
    ids = {picked.case for trained, picked in chosen if trained == own.trained}
    repeat = repeat_of(bench, own.trained)
    size = recipe_of(bench, own.trained.network, repeat).image_size
    return places(bench.experiment.sources[repeat.dataset], bench.experiment.data, ids, size, own.dataset.grid)


def repeat_of(bench: Workbench, trained: Trained) -> Repeat:
    """The place of a training in the run."""
    number = next(k for k in range(len(bench.experiment.sources)) if bench.scope(k) == trained.dataset)
    return Repeat(trained.fold, trained.seed, number)
