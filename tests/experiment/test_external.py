"""External validation measures the trained networks on all cases of other data, and changes nothing."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import archimed
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError, RunError
from archimed.experiment.external import differences, of_data_set, validate_externally
from archimed.experiment.networks import load_chosen
from archimed.experiment.progress import Silent
from archimed.experiment.trainings import trained_networks
from tests.experiment.tiny import read, result_of, tiny_run, write_npz


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the same task, larger and darker."""
    path = write_npz(tmp_path_factory.mktemp("other") / "other.npz", size=20)
    with np.load(path) as archive:
        arrays = {name: array // 2 if "images" in name else array for name, array in archive.items()}
    np.savez(path, **arrays)
    return path


def test_every_case_is_predicted_by_the_network_as_it_is(finished: Path, other: Path, tmp_path: Path) -> None:
    before = result_of(finished)
    summary = validate_externally(finished, str(other), tmp_path / "out", Silent())
    assert result_of(finished) == before
    assert json.loads(json.dumps(summary)) == read(tmp_path / "out" / "summary.json")
    assert list(summary["networks"]) == sorted(before["summary"]["networks"])
    with (tmp_path / "out" / "mstf-nas" / "fold0.seed0" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    assert {row["split"] for row in rows} == {"external"}
    dataset = load_dataset(str(other), DataSettings(), seed=0, image_size=12)  # the size the network was trained at
    network, normalise = archimed.load(finished), load_chosen(finished).normalise  # fitted on the run's own training
    with torch.no_grad():
        probabilities = network(normalise(dataset.images.all())).softmax(1)[:, 1]
    written = [float(row["probability_1"]) for row in rows]
    assert written == pytest.approx(probabilities.tolist(), abs=1e-6)
    cell = summary["networks"]["mstf-nas"]["test"]["auc"]
    assert cell["value"] == pytest.approx(roc_auc_score(dataset.target.numpy(), written))
    own = before["summary"]["networks"]["mstf-nas"]["test"]["auc"]
    assert summary["networks"]["mstf-nas"]["difference"]["auc"]["value"] == pytest.approx(cell["value"] - own["value"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "How the data differ" in page
    assert "The intensities of" in page
    assert str(other) not in page


@pytest.mark.parametrize("label", [0, 1])
def test_a_few_cases_of_one_class_are_enough(finished: Path, other: Path, tmp_path: Path, label: int) -> None:
    with np.load(other) as archive:
        rows = archive["test_labels"][:, 0] == label
        images, labels = archive["test_images"][rows][:2], archive["test_labels"][rows][:2]
    np.savez(tmp_path / "few.npz", train_images=images, train_labels=labels)
    summary = validate_externally(finished, str(tmp_path / "few.npz"), tmp_path / "out", Silent())
    assert "All 2 cases" in summary["cautions"][0]
    assert summary["networks"]["mstf-nas"]["test"]["auc"]["value"] is None  # undefined, and no crash
    folder = tmp_path / "out" / "mstf-nas" / "fold0.seed0"
    with (folder / "predictions.csv").open() as file:
        rows_of = list(csv.DictReader(file))
    assert [row["label"] for row in rows_of] == [str(label)] * 2
    right = sum(float(row[f"probability_{label}"]) > 0.5 for row in rows_of) / 2
    assert read(folder / "metrics.json")["external"]["accuracy"] == right


def test_another_task_is_refused_and_nothing_written(finished: Path, tmp_path: Path) -> None:
    for number, (form, told) in enumerate([({"classes": 3}, "kind of task"), ({"channels": 3}, "channels")]):
        data = write_npz(tmp_path / f"{number}.npz", **form)
        with pytest.raises(DataError, match=told):
            validate_externally(finished, str(data), tmp_path / "out", Silent())
    assert not (tmp_path / "out").exists()


def test_an_untrained_run_and_a_used_folder_are_refused(finished: Path, other: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(RunError, match="holds files"):
        validate_externally(finished, str(other), tmp_path / "used", Silent())
    run = tmp_path / "run"
    run.mkdir()
    (run / "experiment.yaml").write_text((finished / "experiment.yaml").read_text())
    with pytest.raises(RunError, match="has none"):
        validate_externally(run, str(other), tmp_path / "out", Silent())


@pytest.mark.usefixtures("no_report")
def test_folds_and_seeds_are_all_measured(tmp_path: Path) -> None:
    source = "phantom:lesions2d?cases=40&size=16"
    run = tiny_run(source, tmp_path / "run", data__folds=2, repeats=2, training__epochs=1)
    summary = validate_externally(run, "phantom:lesions2d?cases=24&size=16", tmp_path / "out", Silent())
    assert len(list((tmp_path / "out" / "mstf-nas").iterdir())) == 4
    values = [read(path)["external"]["auc"] for path in (tmp_path / "out").rglob("metrics.json")]
    assert summary["networks"]["mstf-nas"]["test"]["auc"]["value"] == pytest.approx(np.mean(values))


def test_networks_of_several_data_sets_are_told_apart(tmp_path: Path) -> None:
    for place in ("unet/cells.v2.fold0.seed1", "unet/vessels.fold1.seed0", "dynunet/fold0.seed0"):
        (tmp_path / "networks" / place).mkdir(parents=True)
        (tmp_path / "networks" / place / "weights.safetensors").touch()
    found = [(one.name, one.network, one.dataset, one.fold, one.seed) for one in trained_networks(tmp_path)]
    assert found == [
        ("dynunet", "dynunet", None, 0, 0),
        ("unet (cells.v2)", "unet", "cells.v2", 0, 1),
        ("unet (vessels)", "unet", "vessels", 1, 0),
    ]
    (tmp_path / "networks" / "unet" / "other").mkdir()
    (tmp_path / "networks" / "unet" / "other" / "weights.safetensors").touch()
    with pytest.raises(RunError, match=r"fold<k>\.seed<s>; got .*other"):
        trained_networks(tmp_path)


def test_what_a_network_gave_on_its_own_data_set() -> None:
    network = {"test": {"dice": 1}, "datasets": {"cells": {"test": {"dice": 2}}}}
    assert of_data_set(network, None) == network
    assert of_data_set(network, "cells") == {"test": {"dice": 2}}
    assert of_data_set(network, "other") == {}


def test_distances_in_other_units_are_not_subtracted() -> None:
    cells = {"dice": {"value": 0.5}, "hausdorff_95": {"value": 9.0}, "surface_dice": {"value": 0.4}}
    own = {"test": {metric: {"value": 1.0} for metric in cells}, "distance_unit": "mm"}
    assert [*differences(cells, own, "mm")] == [*cells]
    assert differences(cells, own, "pixels") == {"dice": {"value": -0.5, "low": None, "high": None}}
    assert differences(cells, {}, "mm") == {}
