"""A finished run is exactly what the public surface says, file by file."""

import csv
import math
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

import archimed
from archimed.batch import Batch
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.experiment.layers import resolve
from archimed.experiment.networks import load_chosen
from archimed.experiment.pipeline import run_experiment
from archimed.experiment.progress import Silent
from archimed.genotype import parse
from archimed.spaces import space_from_settings
from tests.experiment.tiny import lines, read, result_of

NETWORKS = ("mstf-nas", "random-search", "random-search-100", "parameters")
METRICS = ("accuracy", "balanced_accuracy", "auc", "macro_f1", "sensitivity", "specificity", "precision")


def test_every_file_is_one_that_is_promised(finished: Path) -> None:
    names = {str(path.relative_to(finished)) for path in finished.rglob("*") if path.is_file()}
    drawn = {name for name in names if name.startswith(("figures/", "tables/"))}
    assert all(name.endswith(".svg" if name.startswith("figures/") else ".csv") for name in drawn)
    assert any(name.startswith("figures/") for name in drawn)
    assert any(name.startswith("tables/") for name in drawn)
    of_a_network = (
        "architecture.json",
        "weights.safetensors",
        "epochs.jsonl",
        "training.json",
        "predictions.csv",
        "metrics.json",
    )
    assert names - drawn == {
        *(".lock", "experiment.yaml", "environment.json", "data.json", "splits.json", "summary.json", "report.html"),
        *("search/candidates.jsonl", "search/selected.json"),
        *(f"networks/{network}/fold0.seed0/{name}" for network in NETWORKS for name in of_a_network),
    }


def test_nothing_executable_is_in_a_run(finished: Path) -> None:
    assert {path.suffix for path in finished.rglob("*") if path.is_file()} <= {
        *(".json", ".jsonl", ".yaml", ".csv", ".safetensors", ".html", ".svg"),
        "",  # the lock
    }


def test_the_settings_are_resolved_and_repeat_the_run(finished: Path, grey: Path, tmp_path: Path) -> None:
    document = yaml.safe_load((finished / "experiment.yaml").read_text())
    assert list(document) == [
        *("archimed", "method", "sources", "seed", "repeats", "budget_seconds"),
        *("data", "space", "search", "training", "tune", "evaluation", "machine"),
    ]
    assert document["sources"] == [str(grey)]
    assert document["space"] == {
        **{"name": "multiscale_cell", "num_blocks": 1, "num_nodes": 2, "num_pools": 2, "width": 4, "stem_stride": 4}
    }
    assert document["machine"]["threads"] == 1
    again = resolve("mstf-nas", "default", finished / "experiment.yaml", [], {})
    run_experiment(again, tmp_path / "again", Silent())
    assert result_of(tmp_path / "again") == result_of(finished)


def test_splits_hold_every_case_once(finished: Path) -> None:
    splits = read(finished / "splits.json")
    assert list(splits) == ["folds"]
    [fold] = splits["folds"]
    assert list(fold) == ["train", "validation", "test"]
    assert [len(fold[name]) for name in fold] == [16, 8, 8]
    assert len({case for ids in fold.values() for case in ids}) == 32


def test_the_fingerprint_has_counts_but_no_pixel_and_no_path(finished: Path, grey: Path) -> None:
    data = read(finished / "data.json")
    known = {"kind": "binary", "class_names": ["0", "1"], "channels": 1, "image_size": [12, 12]}
    assert data["task"] == {**known, "channel_names": []}
    assert data["counts"] == {
        "train": {"0": 8, "1": 8},
        "validation": {"0": 4, "1": 4},
        "test": {"0": 4, "1": 4},
    }
    assert data["cases"] == 32
    assert len(data["checksum"]) == 64
    assert str(grey.parent) not in (finished / "data.json").read_text()


def test_the_environment_tells_versions(finished: Path) -> None:
    environment = read(finished / "environment.json")
    assert environment["packages"]["torch"] == torch.__version__
    assert {"python", "platform", "processor", "cores", "gpu", "commit"} <= set(environment)


def test_one_line_per_candidate_of_both_searches(finished: Path) -> None:
    candidates = lines(finished / "search" / "candidates.jsonl")
    own = [line for line in candidates if line["search"] == "mstf-nas"]
    other = [line for line in candidates if line["search"] == "random-search"]
    assert len(own) + len(other) == len(candidates)
    assert 0 < len(own) == len(other) <= 6  # equal budget: as many unique candidates
    for search in (own, other):
        assert [line["number"] for line in search] == list(range(len(search)))
        assert len({tuple(line["genotype"].items()) for line in search}) == len(search)
    assert {line["generation"] for line in own} <= {0, 1}
    space = space_from_settings("multiscale_cell", {"width": 4, "num_blocks": 1, "num_nodes": 2, "num_pools": 2})
    for line in candidates:
        assert list(line) == [
            *("search", "fold", "seed", "number", "generation", "genotype", "measurements", "seconds", "dropped")
        ]
        assert (line["fold"], line["seed"]) == (0, 0)
        names = set() if line["dropped"] else {"naswot", "log_synflow", "macs", "parameters"}
        assert set(line["measurements"]) == names
        assert all(math.isfinite(value) for value in line["measurements"].values())
        assert line["seconds"] > 0
        parse(line["genotype"], space.choices)


def test_a_dropped_candidate_says_why(finished: Path) -> None:
    dropped = [line for line in lines(finished / "search" / "candidates.jsonl") if line["dropped"] is not None]
    assert dropped  # the random pool of this seed holds a network without a path from image to answer
    assert all("log_synflow is -inf" in line["dropped"] for line in dropped)


def test_the_selection_follows_its_rule(finished: Path) -> None:
    selected = read(finished / "search" / "selected.json")
    by_name = {line["network"]: line for line in selected["selected"]}
    assert tuple(by_name) == NETWORKS
    assert selected["rule"] == by_name["mstf-nas"]["rule"]
    assert "naswot and log_synflow" in selected["rule"]
    scored = [line for line in lines(finished / "search" / "candidates.jsonl") if line["dropped"] is None]
    pool = [line for line in scored if line["search"] == "random-search"]
    most = max(line["measurements"]["parameters"] for line in pool)
    assert by_name["parameters"]["measurements"]["parameters"] == most

    def rescaled(name: str) -> list[float]:
        values = [line["measurements"][name] for line in pool]
        return [(value - min(values)) / (max(values) - min(values)) for value in values]

    totals = [a + b for a, b in zip(rescaled("naswot"), rescaled("log_synflow"), strict=True)]
    best = pool[totals.index(max(totals))]
    for name in ("random-search", "random-search-100"):  # the same pool: it has fewer than 100
        assert by_name[name]["genotype"] == best["genotype"]
        assert by_name[name]["measurements"] == best["measurements"]
    own = {tuple(line["genotype"].items()) for line in scored}
    assert all(tuple(line["genotype"].items()) in own for line in by_name.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_an_architecture_is_the_selected_one_and_rebuilds_the_weights(finished: Path, name: str) -> None:
    folder = finished / "networks" / name / "fold0.seed0"
    architecture = read(folder / "architecture.json")
    assert list(architecture) == ["space", "genotype", "members", "task", "normalisation", "parameters", "macs"]
    selected = {line["network"]: line for line in read(finished / "search" / "selected.json")["selected"]}[name]
    assert architecture["genotype"] == selected["genotype"]
    assert architecture["space"] == selected["space"]
    assert architecture["parameters"] == selected["measurements"]["parameters"]
    assert architecture["macs"] == selected["measurements"]["macs"]
    with safe_open(folder / "weights.safetensors", framework="pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 (not a mapping)
    trained = sum(
        math.prod(shape)
        for key, shape in shapes.items()
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    assert trained == architecture["parameters"]


@pytest.mark.parametrize("name", NETWORKS)
def test_one_line_per_epoch(finished: Path, name: str) -> None:
    folder = finished / "networks" / name / "fold0.seed0"
    epochs = lines(folder / "epochs.jsonl")
    assert [line["epoch"] for line in epochs] == [1, 2]
    for line in epochs:
        assert list(line) == ["epoch", "learning_rate", "train_loss", "validation_loss", "validation", "seconds"]
        assert set(METRICS) <= set(line["validation"])
    metrics = read(folder / "metrics.json")
    assert metrics["seconds"] == pytest.approx(sum(line["seconds"] for line in epochs))
    best = max(epochs, key=lambda line: (line["validation"]["auc"], -line["validation_loss"]))
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["validation"]["auc"] == pytest.approx(best["validation"]["auc"])


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_are_of_the_validation_and_test_cases_in_order(finished: Path) -> None:
    folder = finished / "networks" / "mstf-nas" / "fold0.seed0"
    rows = table_of(folder)
    assert list(rows[0]) == ["case", "split", "label", "probability_0", "probability_1"]
    [fold] = read(finished / "splits.json")["folds"]
    for split in ("validation", "test"):
        assert [row["case"] for row in rows if row["split"] == split] == fold[split]
    assert {row["split"] for row in rows} == {"validation", "test"}
    for row in rows:
        assert float(row["probability_0"]) + float(row["probability_1"]) == pytest.approx(1, abs=1e-6)


def test_the_loaded_network_gives_the_written_probabilities(finished: Path, grey: Path) -> None:
    network = archimed.load(finished)
    assert not network.training
    dataset = load_dataset(str(grey), DataSettings(), seed=0)
    rows = table_of(finished / "networks" / "mstf-nas" / "fold0.seed0")
    subset = dataset.subset([row["case"] for row in rows])
    normalise = load_chosen(finished).normalise
    with torch.no_grad():
        probabilities = network(normalise(subset.images.all())).softmax(1)
    written = torch.tensor([[float(row["probability_0"]), float(row["probability_1"])] for row in rows])
    torch.testing.assert_close(probabilities, written, rtol=0, atol=1e-6)
    assert [row["label"] for row in rows] == [dataset.task.class_names[label] for label in subset.target.tolist()]


def test_the_loaded_network_can_be_scored(finished: Path) -> None:
    network = archimed.load(str(finished))
    batch = archimed.Batch(torch.randn(8, 1, 12, 12), torch.arange(8) % 2)
    assert isinstance(batch, Batch)
    scores = archimed.indicators.score(network, batch, ["parameters", "macs", "naswot"])
    summary = read(finished / "summary.json")["networks"]["mstf-nas"]
    assert (scores["parameters"], scores["macs"]) == (summary["parameters"], summary["macs"])


def test_the_metrics_are_those_of_the_predictions(finished: Path) -> None:
    from sklearn.metrics import accuracy_score, roc_auc_score

    folder = finished / "networks" / "mstf-nas" / "fold0.seed0"
    metrics = read(folder / "metrics.json")
    for split in ("validation", "test"):
        rows = [row for row in table_of(folder) if row["split"] == split]
        truth = [int(row["label"]) for row in rows]
        scores = [float(row["probability_1"]) for row in rows]
        assert metrics[split]["auc"] == pytest.approx(roc_auc_score(truth, scores))
        assert metrics[split]["accuracy"] == pytest.approx(accuracy_score(truth, [score > 0.5 for score in scores]))


def test_the_summary_has_every_promised_key(finished: Path) -> None:
    summary = read(finished / "summary.json")
    assert {"method", "data", "task", "seed", "chosen", "cautions", "seconds", "networks"} <= set(summary)
    assert (summary["method"], summary["chosen"]) == ("mstf-nas", "mstf-nas")
    assert (summary["data"], summary["seed"]) == ("grey", 0)
    assert set(summary["seconds"]) == {"search", "train", "evaluate", "case"}
    one_case = summary["seconds"].pop("case")
    assert tuple(one_case) == NETWORKS
    assert all(value > 0 for value in (*summary["seconds"].values(), *one_case.values()))
    assert tuple(summary["networks"]) == NETWORKS
    for name, network in summary["networks"].items():
        metrics = read(finished / "networks" / name / "fold0.seed0" / "metrics.json")
        for split in ("validation", "test"):
            assert set(METRICS) <= set(network[split])
            for metric, cell in network[split].items():
                assert {"value", "low", "high"} <= set(cell)
                assert cell["value"] == pytest.approx(metrics[split][metric])
                assert cell["value"] is None or cell["low"] <= cell["value"] <= cell["high"]
        [repeat] = network["repeats"]
        assert (repeat["fold"], repeat["seed"]) == (0, 0)
        assert repeat["test"] == metrics["test"]


def test_networks_of_one_architecture_are_trained_once(finished: Path) -> None:
    folders = [finished / "networks" / name / "fold0.seed0" for name in ("random-search", "random-search-100")]
    for name in ("weights.safetensors", "epochs.jsonl", "predictions.csv", "metrics.json"):
        first, second = ((folder / name).read_bytes() for folder in folders)
        assert first == second  # the times too: the second is a copy


def test_comparisons_are_of_the_chosen_network_with_each_baseline(finished: Path) -> None:
    summary = read(finished / "summary.json")
    assert {line["network"] for line in summary["comparisons"]} == {"mstf-nas"}
    assert [line["against"] for line in summary["comparisons"] if line["metric"] == "auc"] == [*NETWORKS[1:]]
    for line in summary["comparisons"]:
        ours, theirs = (
            summary["networks"][line[role]]["test"][line["metric"]]["value"] for role in ("network", "against")
        )
        assert line["value"] == pytest.approx(ours - theirs)


def test_the_report_is_one_offline_file(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "mstf-nas" in page.lower()
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert "<script" not in page
