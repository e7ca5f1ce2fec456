"""A run of several labels from data to report: thresholds, checkpoints, the normal label, and what is said of them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as oracle

from tests.experiment.tiny import tiny_run

LABELS = ("mass", "No finding", "rare")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", *(f"label_{name}" for name in LABELS)])
        for case in range(72):
            split = ("train", "val", "test")[case % 3]
            mass = case % 2
            image = rng.integers(0, 100, (12, 12), dtype=np.uint8)
            image[3:9, 3:9] += np.uint8(120 * mass)
            Image.fromarray(image).save(folder / f"{case}.png")
            labels = ["", "", ""] if case == 2 else [mass, 1 - mass, int(split == "train" and case % 4 == 0)]
            writer.writerow([f"{case}.png", split, *labels])
    settings = {"training__class_weights": "balanced", "tune__trials": 2, "training__epochs": 3, "data__cache": False}
    return tiny_run(folder / "cases.csv", folder / "run", method="random-search", repeats=2, **settings)


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def answers(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    lines = [line for line in csv.DictReader(path.open()) if line["split"] == split]
    truth = np.array([[float(line[f"label_{name}"]) for name in LABELS] for line in lines])
    return truth, np.array([[float(line[f"probability_{name}"]) for name in LABELS] for line in lines])


def test_each_checkpoint_is_measured_at_the_thresholds_of_its_validation_cases(run: Path) -> None:
    for seed in (0, 1):
        folder = run / "networks" / "random-search" / f"fold0.seed{seed}"
        found, training = read(folder / "metrics.json"), read(folder / "training.json")
        assert list(found["checkpoints"]) == ["auc", "macro_f1", "exact_match"]
        assert {name: one["best_epoch"] for name, one in found["checkpoints"].items()} == training["checkpoints"]
        epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
        for name, one in found["checkpoints"].items():
            assert one["thresholds"]["rare"] == 0.5  # no validation case has it
            file = folder / ("predictions.csv" if name == "auc" else f"predictions.{name}.csv")
            truth, probabilities = answers(file, "test")
            given = probabilities > [one["thresholds"][label] for label in LABELS]
            assert one["test"]["exact_match"] == pytest.approx(oracle.accuracy_score(truth, given))
            expected = oracle.f1_score(truth[:, :2], given[:, :2], average="macro")
            assert one["test"]["macro_f1"] == pytest.approx(expected)  # without the label that no test case has
            balance = oracle.balanced_accuracy_score(truth[:, 1], given[:, 1])
            assert one["test"]["normal_weighted_tpr_fpr"] == pytest.approx(balance)
            best = epochs[one["best_epoch"] - 1]["validation"]
            assert best[name] == pytest.approx(one["validation"][name])
            assert best[name] == max(epoch["validation"][name] for epoch in epochs)


def test_the_summary_tells_labels_one_by_one(run: Path) -> None:
    summary = read(run / "summary.json")
    labels = summary["labels"]
    assert labels["normal"] == "No finding"
    rows = {row["label"]: row for row in labels["networks"]["random-search"]}
    assert [(rows[name]["cases"], rows[name]["positives"]) for name in LABELS] == [(23, 12), (23, 11), (23, 0)]
    assert rows["rare"]["metrics"]["f1"]["value"] is None
    assert [line["undecided"] for line in labels["thresholds"]["random-search"]] == [["rare"], ["rare"]]
    assert labels["half"]["random-search"].keys() >= {"exact_match", "macro_f1", "normal_f1"}
    checkpoints = summary["networks"]["random-search"]["checkpoints"]
    assert checkpoints["auc"]["test"] == summary["networks"]["random-search"]["test"]
    said = " ".join(summary["cautions"])
    assert "No test case is known to have rare: the means over labels leave it out." in said
    assert "No validation case is known to have rare: its threshold stays 0.5" in said
    assert "1 of 72 cases are left out, as none of their labels is known" in said


def test_the_report_shows_labels_checkpoints_thresholds_and_trials(run: Path) -> None:
    page = (run / "report.html").read_text()
    for words in (
        *("Test results by label", "best F1 on the validation cases", "The label No finding", "Label-wise accuracy"),
        *("weights of the best epoch by each validation metric", "threshold 0.5 for every label"),
        *("2 choices of batch size, learning rate and weight decay were tried", "chosen for each network"),
    ):
        assert words in page
    tables = {path.name for path in (run / "tables").iterdir()}
    assert tables >= {"labels.csv", "checkpoints.csv", "normal.csv", "thresholds_half.csv", "tuning.csv"}
