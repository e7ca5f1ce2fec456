"""Whole runs on grades, on labels that are partly unknown, on repeated folds; and masks, which are refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from archimed.data.arrays import Arrays
from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import SettingsError
from archimed.experiment import sources, workbench
from tests.experiment.tiny import lines, read, result_of, tiny_run, write_npz

PHANTOM = "phantom:lesions2d?cases=40&size=16"


def test_grades_have_agreement_and_error_in_summary_and_report(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "graded.npz", classes=3)
    run = tiny_run(data, tmp_path / "run", data__ordinal=True, evaluation__baselines="random-search")
    summary = read(run / "summary.json")
    assert summary["task"]["kind"] == read(run / "data.json")["task"]["kind"] == "ordinal"
    for name in ("quadratic_kappa", "mean_absolute_error"):
        assert summary["networks"]["mstf-nas"]["test"][name]["value"] is not None
    assert {row["metric"] for row in summary["comparisons"]} == {"auc", "accuracy", "quadratic_kappa"}
    page = (run / "report.html").read_text()
    assert "Quadratic kappa" in page
    assert "grade images on a scale" in page


def test_labels_of_which_nothing_is_known_come_through_to_the_report(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "labels.npz", labels=4)
    with np.load(data) as archive:
        arrays = {name: values.astype(np.float32) if "labels" in name else values for name, values in archive.items()}
    for values in (arrays["train_labels"], arrays["val_labels"], arrays["test_labels"]):
        values[::3, 1] = np.nan
        values[:, 3] = np.nan
    np.savez(data, **arrays)
    run = tiny_run(data, tmp_path / "run", training__class_weights="balanced")
    summary = read(run / "summary.json")
    test = summary["networks"]["mstf-nas"]["test"]
    assert test["auc"]["value"] is not None
    assert test["exact_match"]["value"] is None
    told = " ".join(summary["cautions"])
    assert "Nothing is known of label_3 in the test cases" in told
    assert "label_1 on the fewest, 5 of 8" in told
    assert "of no test case is every label known" in told
    assert "undefined" in (run / "report.html").read_text()
    json.loads((run / "summary.json").read_text(), parse_constant=pytest.fail)
    rows = (run / "networks/mstf-nas/fold0.seed0/predictions.csv").read_text().splitlines()[1:]
    assert all(row.split(",")[5] == "" for row in rows)


@pytest.mark.usefixtures("no_report")
def test_repeated_folds_are_all_run_and_summed_up(tmp_path: Path) -> None:
    run = tiny_run(PHANTOM, tmp_path / "run", data__folds=2, data__fold_repeats=2)
    folds = read(run / "splits.json")["folds"]
    repeats = read(run / "summary.json")["networks"]["mstf-nas"]["repeats"]
    assert [one["fold"] for one in repeats] == [0, 1, 2, 3]
    assert sorted(folds[2]["test"] + folds[3]["test"]) == sorted(folds[0]["test"] + folds[1]["test"])
    row = read(run / "summary.json")["networks"]["mstf-nas"]["test"]["auc"]
    assert row["low"] <= row["value"] <= row["high"]
    assert "trained once" not in " ".join(read(run / "summary.json")["cautions"])
    once = tiny_run(PHANTOM, tmp_path / "once", data__folds=2)
    assert read(once / "splits.json")["folds"] == folds[:2]


@pytest.mark.usefixtures("no_report")
def test_what_a_fold_tests_changes_nothing_of_its_search_and_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_dataset(PHANTOM, DataSettings(folds=2), 0)
    images = plain.images.all().float()
    planted = images.clone()
    planted[plain.rows(plain.folds[1].test)] *= -1000
    results = []
    for name, tensor in (("one", images), ("two", planted)):
        changed = dataclasses.replace(plain, images=Arrays.of(tensor))
        monkeypatch.setattr(sources, "load_dataset", lambda *_, given=changed: given)
        results.append(tiny_run(PHANTOM, tmp_path / name, data__folds=2))
    assert of_fold(results[0], 1) == of_fold(results[1], 1)
    assert of_fold(results[0], 0)["normalisation"] != of_fold(results[1], 0)["normalisation"]
    assert read(results[0] / "summary.json")["networks"] != read(results[1] / "summary.json")["networks"]


def of_fold(run: Path, fold: int) -> dict[str, Any]:
    """All that a fold's search and training left."""
    found = result_of(run)
    place = f"networks/mstf-nas/fold{fold}.seed0"
    return {
        "candidates": [line for line in found["search/candidates.jsonl"] if line["fold"] == fold],
        "selected": [line for line in found["selected"]["selected"] if line["fold"] == fold],
        "normalisation": found[f"{place}/architecture.json"]["normalisation"],
        "weights": found[f"{place}/weights.safetensors"],
        "epochs": found[f"{place}/epochs.jsonl"],
    }


def test_a_normalisation_is_fitted_once_for_each_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[tuple[str, ...]] = []
    fit = workbench.fit_normalisation

    def watched(dataset: Dataset, training: Any, settings: DataSettings) -> Any:
        fitted.append(training.ids)
        return fit(dataset, training, settings)

    monkeypatch.setattr(workbench, "fit_normalisation", watched)
    run = tiny_run(PHANTOM, tmp_path / "run", data__folds=2)
    assert fitted == [tuple(fold["train"]) for fold in read(run / "splits.json")["folds"]]
    assert len(lines(run / "search/candidates.jsonl")) > 2


@pytest.mark.parametrize("method", ["mstf-nas", "random-search"])
def test_masks_are_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    plain = load_dataset(PHANTOM, DataSettings(), 0)
    task = dataclasses.replace(plain.task, kind="segmentation", class_names=("background", "vessel"))
    masks = torch.ones(len(plain.cases), 16, 16, dtype=torch.uint8)
    dataset = dataclasses.replace(plain, name="retina", task=task, target=torch.ones(len(plain.cases), 2), masks=masks)
    monkeypatch.setattr(sources, "load_dataset", lambda *_: dataset)
    monkeypatch.setattr(workbench, "fit_normalisation", lambda *_: pytest.fail("computed"))
    with pytest.raises(SettingsError) as error:
        tiny_run(PHANTOM, tmp_path / "run", method)
    assert "networks classify whole images; the task asks for masks of background, vessel. Give" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_splits_tell_which_cases_are_of_one_patient_where_that_is_known(tmp_path: Path) -> None:
    rows = ["image,label,patient"]
    rng = np.random.default_rng(0)
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number // 2 % 2]},Jane Doe {number // 2}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    run = tiny_run(tmp_path / "cases.csv", tmp_path / "run")
    text = (run / "splits.json").read_text()
    splits = read(run / "splits.json")
    every = [case for part in splits["folds"][0].values() for case in part]
    assert sorted(splits["patients"]) == sorted(every)
    assert len(set(splits["patients"].values())) == 12
    assert set(splits["patients"].values()) == set(read(run / "data.json")["patient_hashes"])
    assert "Doe" not in text
