"""Exports a trained network of a finished run, and proves the export on cases of the run's data."""

import shutil
from dataclasses import dataclass, replace
from operator import lt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archimed.data.dataset import Dataset
from archimed.data.preparation.common_grid import CommonGrid
from archimed.errors import ArchimedError, RunError, SettingsError
from archimed.evaluation.masks import case_scores
from archimed.experiment.answering import spacing_of
from archimed.experiment.networks import StoredNetwork, load_network
from archimed.experiment.pipeline import check_same_data, fingerprint_of
from archimed.experiment.predictions import SplitPredictions, read_predictions
from archimed.experiment.progress import Observer
from archimed.experiment.settings import Experiment, experiment_from_document
from archimed.experiment.trainings import Trained, trainings_of
from archimed.experiment.workbench import Workbench
from archimed.export.bundle import write_bundle
from archimed.export.calls import recorded_calls
from archimed.export.card import CARD, model_card
from archimed.export.checks import Difference, answers_outside, same_outputs, within
from archimed.export.exported import FORMATS, MARK, TOLERANCE, Exported
from archimed.export.formats import noise, require, write_onnx, write_pt2, write_source
from archimed.export.predict_source import LOADERS
from archimed.export.preprocessing import preprocessing
from archimed.export.readme import readme
from archimed.files import read_json, write_json, write_text
from archimed.report.words import NETWORK_NAMES
from archimed.runs import NetworkFolder, RunDirectory
from archimed.training.machine import Machine

MOST_CASES = 10  # on which an export is proven
GRAPHS = ("pt2", "onnx")  # formats that take images of one size
WRITERS = {"pt2": write_pt2, "onnx": write_onnx, "source": write_source, "bundle": write_bundle}
BORDERED = "Dice in predictions.csv, of images smaller than the graph"
DICE_TOLERANCE = 100 * TOLERANCE  # of scores of masks: a pixel between two classes may fall to either


@dataclass(frozen=True)
class Proof:
    """The cases that an export is proven on.

    Attributes:
        dataset: the data set; None where the run's data are not at hand.
        cases: test cases.
        why: why there is no data set.
    """

    dataset: Dataset | None
    cases: tuple[str, ...]
    why: str = ""


def export_run(run: Path, form: str, out: Path, network: str | None, observer: Observer) -> dict[str, Any]:
    """Write a trained network in a format, verify it, and put it in place.

    Args:
        run: an evaluated run.
        form: pt2, onnx, source or bundle.
        out: a new or empty folder, or one that holds an export, which is replaced.
        network: its name; None takes the method's own. The first data set, fold and seed count.
        observer: hears of progress.

    Returns:
        What export.json says.

    Raises:
        RunError: the run is not evaluated, has no such network, or the folder holds other files.
        SettingsError: the format is unknown, not for this network, or a library for it is missing.
        ExportError: the export does not do what the run's network does; nothing is left of it.
    """
    if form not in FORMATS:
        raise SettingsError(f"--format is one of {', '.join(FORMATS)}; got {form!r}. Choose one of them.")
    if form == "onnx":
        require("onnx", "onnxscript", "onnxruntime")
    check_out(out)
    directory = RunDirectory(run)
    experiment = experiment_from_document(directory.read_experiment(), searches=False)
    trained = trainings_of(directory, network)[0]
    exported, stored = read_exported(directory, experiment, trained, form)
    if exported.needs_numpy and form in ("pt2", "onnx"):
        raise SettingsError(
            f"A graph holds networks of PyTorch's operations; {trained.network} reads features by NumPy. "
            "Export it with: --format source"
        )
    observer.stage("read data")
    proof = proof_of(directory, experiment, trained, observer)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        observer.stage(f"export: {form}")
        document = write_and_prove(exported, stored, trained, proof, form, part, observer)
        put_in_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return document


def check_out(out: Path) -> None:
    """Raise RunError unless the folder is new, empty, or an export."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MARK).exists())):
        raise RunError(
            f"An export goes to a folder that is new, empty or an export; {out} is none. Choose another --out."
        )


def put_in_place(part: Path, out: Path) -> None:
    """Move a finished export to its folder, in place of the one there."""
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)


def read_exported(
    directory: RunDirectory, experiment: Experiment, trained: Trained, form: str
) -> tuple[Exported, StoredNetwork]:
    """The network of a training with all that is told about it.

    A graph that makes masks takes the windows by which the run saw its largest image.
    """
    with recorded_calls() as calls:
        stored = load_network(NetworkFolder(trained.path), experiment.method.space)
    data = read_json(directory.data)
    data = data["datasets"][trained.dataset] if trained.dataset else data
    settings = experiment.data
    if grid := data.get("grid"):
        settings = CommonGrid.from_json(grid).asked_by(settings)
    side = experiment.method.training.image_size
    masks = stored.task.kind == "segmentation"
    size = stored.task.image_size if not masks else None if side is None else (side,) * stored.task.spatial_dims
    thresholds = read_json(trained.path / "metrics.json").get("thresholds", {})
    rule = preprocessing(stored.task, stored.normalise, settings, size, thresholds)
    task = stored.task
    if masks and form in GRAPHS:
        window = tuple(map(min, task.image_size, data["images"]["shapes"]["largest"]))
        task, rule = replace(task, image_size=window), {**rule, "patch": [*window]}
    place = f"the training of fold {trained.fold} with seed {trained.seed}"
    summary = read_json(directory.summary)
    document = directory.read_experiment()
    title = f"{NETWORK_NAMES.get(trained.network, trained.network)} for {data['name']}"
    card = model_card(summary, data, document, trained.network, stored.task, rule, place)
    return Exported(stored.network, calls, task, title, rule, card), stored


def proof_of(directory: RunDirectory, experiment: Experiment, trained: Trained, observer: Observer) -> Proof:
    """Up to ten test cases, evenly spread; none where the data are gone or have changed."""
    bench = Workbench(directory, experiment, observer, Machine(threads=1))
    try:
        number = 0
        if trained.dataset is not None:
            number = [bench.scope(place) for place in range(len(bench.training_sets))].index(trained.dataset)
        side = tuple(read_json(NetworkFolder(trained.path).architecture)["task"]["image_size"])
        dataset = bench.training_sets[number]
        if dataset.masks is None and dataset.task.image_size != side:  # a size that was tuned
            dataset = bench.datasets(side[0])[number]
        check_same_data(directory, fingerprint_of(bench))
    except (ArchimedError, OSError) as error:
        return Proof(None, (), " ".join(str(error).split()))
    test = dataset.folds[trained.fold].test
    if not test:
        return Proof(None, (), "the run has no test cases")
    count = min(MOST_CASES, len(test))
    return Proof(dataset, tuple(test[place * len(test) // count] for place in range(count)))


def write_and_prove(
    exported: Exported,
    stored: StoredNetwork,
    trained: Trained,
    proof: Proof,
    form: str,
    folder: Path,
    observer: Observer,
) -> dict[str, Any]:
    """Write the files of a format and compare its answers with the run's."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    written = WRITERS[form](exported, folder)
    docs = folder / "docs" if form == "bundle" else folder
    write_text(docs / CARD, exported.card)
    write_text(docs / "README.md", readme(exported, form, written))
    observer.stage("verify")
    images = images_of(exported, stored, proof)
    differences = [same_outputs(exported, form, folder, images, LOADERS.get(form, ""))]
    if proof.dataset is not None:
        window = exported.task.image_size
        differences += figures(stored, trained, proof, proof.dataset, form, folder, window)
    for cache in folder.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)
    document = {
        "format": form,
        "network": trained.network,
        "fold": trained.fold,
        "seed": trained.seed,
        "dataset": trained.dataset,
        "proven_on": f"{len(proof.cases)} test cases" if proof.cases else f"noise, as {proof.why}",
        "differences": [{"of": one.what, "largest": one.largest, "cases": one.cases} for one in differences],
        "files": [file.as_posix() for file in written.files],
    }
    write_json(folder / MARK, document)
    return document


def images_of(exported: Exported, stored: StoredNetwork, proof: Proof) -> Tensor:
    """Normalised images for the network: of real cases, of masks their first patch; noise where there are none."""
    if proof.dataset is None:
        return noise(exported, MOST_CASES)
    patch = exported.task.image_size
    images = []
    for image in proof.dataset.subset(proof.cases).images:
        part = image[(slice(None), *(slice(0, side) for side in patch))]
        if tuple(part.shape[1:]) == tuple(patch):
            images.append(stored.normalise(part[None])[0])
    return torch.stack(images) if images else noise(exported, MOST_CASES)


def figures(
    stored: StoredNetwork,
    trained: Trained,
    proof: Proof,
    dataset: Dataset,
    form: str,
    folder: Path,
    window: tuple[int, ...],
) -> list[Difference]:
    """How far the export's own answers, made outside archimed, are from the run's predictions.csv.

    A graph surrounds images smaller than its window by their border, where the run took them as they are: how much
    that changes is told, not judged.
    """
    part = dataset.subset(proof.cases)
    masks = part.masks is not None
    cases = dict(zip(part.ids, part.images, strict=True))
    found = answers_outside(form, folder, cases, masks)
    written = read_predictions(NetworkFolder(trained.path).predictions, stored.task)["test"]
    if isinstance(written, SplitPredictions):
        known = dict(zip(written.cases, written.probabilities, strict=True))
        largest = max(float(abs(found[case] - known[case]).max()) for case in part.ids)
        return [within("probabilities in predictions.csv", largest, len(cases), TOLERANCE)]
    scores = dict(zip(written.cases, written.scores, strict=True))
    alike: list[float] = []
    bordered: list[float] = []
    for case, truth, sides in zip(part.ids, part.masks or (), spacing_of(dataset, part.ids), strict=True):
        own = case_scores(stored.task, torch.from_numpy(found[case]), truth, sides, surfaces=False)
        distance = max(abs((a.dice or 0) - (b.dice or 0)) for a, b in zip(own, scores[case], strict=True))
        smaller = any(map(lt, cases[case].shape[1:], window))
        (bordered if form in GRAPHS and smaller else alike).append(distance)
    told = [within("Dice in predictions.csv", max(alike), len(alike), DICE_TOLERANCE)] if alike else []
    return [*told, *([Difference(BORDERED, max(bordered), len(bordered))] if bordered else [])]
