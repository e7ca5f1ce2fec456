"""What can be asked of a run, each asked of a tiny one: data of every kind, spaces, baselines, folds, sizes."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

import archimed
from archimed.errors import SettingsError
from archimed.experiment.networks import load_chosen
from tests.experiment.tiny import lines, read, result_of, tiny_run, without_seconds, write_npz


def networks_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(run / "summary.json")["networks"]
    return found


@pytest.mark.parametrize(
    ("kind", "form", "columns"),
    [
        ("multi-class", {"classes": 4}, ["label", "probability_0", "probability_1", "probability_2", "probability_3"]),
        (
            "multi-label",
            {"labels": 3},
            [*(f"label_label_{k}" for k in range(3)), *(f"probability_label_{k}" for k in range(3))],
        ),
        ("binary", {"channels": 3}, ["label", "probability_0", "probability_1"]),
    ],
)
def test_every_kind_of_task_ends_with_a_report(
    tmp_path: Path, kind: str, form: dict[str, int], columns: list[str]
) -> None:
    run = tiny_run(write_npz(tmp_path / "data.npz", **form), tmp_path / "run", evaluation__baselines="random-search")
    summary = read(run / "summary.json")
    assert summary["task"]["kind"] == kind
    assert summary["task"]["channels"] == form.get("channels", 1)
    assert list(networks_of(run)) == ["mstf-nas", "random-search"]
    with (run / "networks" / "mstf-nas" / "fold0.seed0" / "predictions.csv").open() as file:
        assert next(csv.reader(file)) == ["case", "split", *columns]
    assert (run / "report.html").stat().st_size > 10_000
    images = torch.zeros(2, form.get("channels", 1), 12, 12)
    assert archimed.load(run)(images).shape == (2, len(summary["task"]["class_names"]))


@pytest.mark.usefixtures("no_report")
def test_folds_and_repeats_are_searched_and_trained_each_and_averaged(tmp_path: Path) -> None:
    source = "phantom:lesions2d?cases=40&size=16"
    run = tiny_run(source, tmp_path / "run", data__folds=2, repeats=2, seed=3, training__epochs=1)
    places = [(fold, seed) for fold in (0, 1) for seed in (3, 4)]
    network = networks_of(run)["mstf-nas"]
    assert [(repeat["fold"], repeat["seed"]) for repeat in network["repeats"]] == places
    for fold, seed in places:
        assert (run / "networks" / "mstf-nas" / f"fold{fold}.seed{seed}" / "weights.safetensors").exists()
    selected = read(run / "search" / "selected.json")["selected"]
    assert [(line["fold"], line["seed"]) for line in selected] == places
    searched = {(line["fold"], line["seed"]) for line in lines(run / "search" / "candidates.jsonl")}
    assert searched == set(places)
    accuracies = [repeat["test"]["accuracy"] for repeat in network["repeats"]]
    assert network["test"]["accuracy"]["value"] == pytest.approx(sum(accuracies) / 4)
    assert read(run / "summary.json")["seed"] == 3


@pytest.mark.usefixtures("no_report")
def test_a_repeat_is_the_run_of_its_own_seed(grey: Path, tmp_path: Path) -> None:
    both = result_of(tiny_run(grey, tmp_path / "both", repeats=2))
    second = result_of(tiny_run(grey, tmp_path / "second", seed=1))
    own = [line for line in both["search/candidates.jsonl"] if line["seed"] == 1]
    assert own == second["search/candidates.jsonl"]
    folder = "networks/mstf-nas/fold0.seed1/"
    names = [name for name in second if name.startswith(folder)]
    assert len(names) == 6
    assert all(both[name] == second[name] for name in names)


@pytest.mark.usefixtures("no_report")
def test_the_same_seed_gives_the_same_and_another_another(grey: Path, tmp_path: Path) -> None:
    runs = [
        tiny_run(grey, tmp_path / str(number), seed=seed, evaluation__baselines="random-search")
        for number, seed in enumerate((0, 0, 1))
    ]
    first, again, other = (result_of(run) for run in runs)
    assert first == again
    assert first["search/candidates.jsonl"] != other["search/candidates.jsonl"]
    weights = "networks/mstf-nas/fold0.seed{}/weights.safetensors"
    assert first[weights.format(0)] != other[weights.format(1)]


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("none", ["mstf-nas"]),
        ("macs", ["mstf-nas", "macs"]),
        ("macs,random-search", ["mstf-nas", "random-search", "macs"]),
        ("parameters, random-search-100", ["mstf-nas", "random-search-100", "parameters"]),
    ],
)
def test_the_baselines_asked_for_are_trained(grey: Path, tmp_path: Path, asked: str, given: list[str]) -> None:
    run = tiny_run(grey, tmp_path / "run", evaluation__baselines=asked, training__epochs=1)
    assert sorted(networks_of(run)) == sorted(given)
    assert sorted(path.name for path in (run / "networks").iterdir()) == sorted(given)
    cautions = " ".join(read(run / "summary.json")["cautions"])
    assert ("no baseline" in cautions) == (asked == "none")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("default", ["random-search", "resnet18"]),
        ("all", ["random-search", "random-search-100", "parameters", "macs", "resnet18", "resnet50"]),
    ],
)
def test_default_and_all_baselines(grey: Path, tmp_path: Path, asked: str, given: list[str]) -> None:
    run = tiny_run(grey, tmp_path / "run", evaluation__baselines=asked, training__epochs=1)
    found = networks_of(run)
    assert list(found) == ["mstf-nas", *given]
    # published: 11,689,512 with a 7x7 stem of 3 channels and 1000 classes; here a 3x3 stem of 1 channel and 2 classes
    assert found["resnet18"]["parameters"] == 11_689_512 - 7 * 7 * 3 * 64 + 3 * 3 * 64 - 513_000 + 2 * 512 + 2
    assert (run / "report.html").exists()


@pytest.mark.usefixtures("no_report")
def test_random_search_is_a_method_of_its_own(grey: Path, tmp_path: Path) -> None:
    run = tiny_run(grey, tmp_path / "run", method="random-search", evaluation__baselines="macs")
    assert sorted(networks_of(run)) == ["macs", "random-search"]
    assert {line["search"] for line in lines(run / "search" / "candidates.jsonl")} == {"random-search"}
    assert len(lines(run / "search" / "candidates.jsonl")) == 4  # one pool for both


@pytest.mark.usefixtures("no_report")
def test_search_and_training_at_different_image_sizes(tmp_path: Path) -> None:
    source = "phantom:lesions2d?cases=40&size=32"
    run = tiny_run(source, tmp_path / "run", search__image_size=16, training__image_size=24)
    architecture = read(run / "networks" / "mstf-nas" / "fold0.seed0" / "architecture.json")
    assert architecture["task"]["image_size"] == [24, 24]
    chosen = read(run / "search" / "selected.json")["selected"][0]["measurements"]
    assert architecture["parameters"] == chosen["parameters"]
    assert 1.5 < architecture["macs"] / chosen["macs"] < 3  # (24 / 16) squared, border effects aside
    assert read(run / "data.json")["task"]["image_size"] == [24, 24]
    assert load_chosen(run).task.image_size == (24, 24)


@pytest.mark.usefixtures("no_report")
def test_training_starts_from_the_weights_of_an_earlier_run(grey: Path, tmp_path: Path) -> None:
    first = tiny_run(grey, tmp_path / "first")
    weights = first / "networks" / "mstf-nas" / "fold0.seed0" / "weights.safetensors"
    slow = {"training__epochs": 1, "training__learning_rate": 1e-9}
    second = tiny_run(grey, tmp_path / "second", training__initial_weights=str(weights), **slow)
    fresh = tiny_run(grey, tmp_path / "fresh", **slow)
    for name, tensor in archimed.load(first).state_dict().items():
        if "running" in name or "num_batches" in name:
            continue
        assert torch.allclose(archimed.load(second).state_dict()[name], tensor, atol=1e-6), name
    assert not all(
        torch.allclose(archimed.load(fresh).state_dict()[name], tensor, atol=1e-6)
        for name, tensor in archimed.load(first).named_parameters()
    )


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("space", ["darts_cell", "nsganet_cell"])
def test_the_other_spaces_of_table_x(grey: Path, tmp_path: Path, space: str) -> None:
    small = {"space__width": 2, "space__num_cells": 3, "space__num_nodes": 2, "search__generations": 0}
    run = tiny_run(
        grey, tmp_path / "run", space__name=space, evaluation__baselines="random-search", training__epochs=1, **small
    )
    assert list(networks_of(run)) == ["mstf-nas", "random-search"]
    for line in read(run / "search" / "selected.json")["selected"]:
        assert line["space"]["name"] == space
    assert archimed.load(run)(torch.zeros(1, 1, 12, 12)).shape == (1, 2)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("indicators", "objectives"),
    [
        ("fisher,synflow", None),  # Table VIII: another pair
        ("naswot,synflow", "-macs,naswot+synflow"),  # Table IX: other objectives of the same pair
        ("naswot,synflow", "naswot,synflow"),
        ("snip,grad_norm", "-macs,snip"),
    ],
)
def test_the_rows_of_tables_viii_and_ix(grey: Path, tmp_path: Path, indicators: str, objectives: str | None) -> None:
    run = tiny_run(
        grey, tmp_path / "run", search__indicators=indicators, search__objectives=objectives, training__epochs=1
    )
    first, second = indicators.split(",")
    scored = [line for line in lines(run / "search" / "candidates.jsonl") if line["dropped"] is None]
    assert all(set(line["measurements"]) == {first, second, "macs", "parameters"} for line in scored)
    assert f"{first} and {second}" in read(run / "search" / "selected.json")["rule"]


@pytest.mark.usefixtures("no_report")
def test_objectives_change_what_survives_but_not_what_is_drawn_first(grey: Path, tmp_path: Path) -> None:
    settings = {"search__indicators": "naswot,synflow", "training__epochs": 1, "search__generations": 2}
    default = lines(tiny_run(grey, tmp_path / "a", **settings) / "search" / "candidates.jsonl")
    other = lines(
        tiny_run(grey, tmp_path / "b", search__objectives="-macs,-parameters", **settings)
        / "search"
        / "candidates.jsonl"
    )
    first = [[without_seconds(line) for line in found if line["generation"] == 0] for found in (default, other)]
    assert first[0] == first[1]
    assert without_seconds(default) != without_seconds(other)


@pytest.mark.usefixtures("no_report")
def test_a_method_of_the_users_own(grey: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from archimed.methods.mstf_nas import MstfNas\n"
        "@dataclass(frozen=True)\n"
        "class Mine(MstfNas):\n"
        "    name: ClassVar[str] = 'mine'\n"
    )
    run = tiny_run(grey, tmp_path / "run", method=f"{file}:Mine", evaluation__baselines="random-search")
    assert list(networks_of(run)) == ["mine", "random-search"]
    assert read(run / "summary.json")["method"] == "mine"
    assert tiny_run(grey, tmp_path / "run", method=f"{file}:Mine", evaluation__baselines="random-search") == run


SPACE_OF_ONES_OWN = """
from dataclasses import dataclass
from torch import nn
from archimed.genotype import Choice


@dataclass(frozen=True)
class Own:
    width: int = 4

    @property
    def choices(self):
        return (Choice("kernel", ("1", "3", "5")), Choice("depth", ("1", "2", "3")))

    def build(self, genotype, task):
        kernel, depth = (1, 3, 5)[genotype[0]], genotype[1] + 1
        layers = [nn.Conv2d(task.channels, self.width, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [nn.Conv2d(self.width, self.width, kernel, padding=kernel // 2), nn.ReLU()]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.width, task.num_outputs)]
        return nn.Sequential(*layers, *head)
"""


@pytest.mark.usefixtures("no_report")
def test_a_space_of_the_users_own_and_never_one_of_somebody_else(grey: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(SPACE_OF_ONES_OWN)
    named = {"space__name": f"{file}:Own", "space__width": 6}
    run = tiny_run(grey, tmp_path / "run", **named)
    assert read(run / "search" / "selected.json")["selected"][0]["space"] == {"name": f"{file}:Own", "width": 6}
    before = result_of(run)
    (run / "networks" / "mstf-nas" / "fold0.seed0" / "metrics.json").unlink()
    tiny_run(grey, run, **named)  # the same command, in which the user names the file, goes on
    assert result_of(run) == before
    with pytest.raises(SettingsError, match="needs your word"):
        archimed.load(run)


def test_a_method_file_named_in_a_run_is_not_executed(grey: Path, tmp_path: Path) -> None:
    from archimed.experiment.pipeline import run_again
    from archimed.experiment.progress import Silent

    run = tiny_run(grey, tmp_path / "run", training__epochs=1)
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    text = (run / "experiment.yaml").read_text()
    for old, new in (("method: mstf-nas", f"method: {trap}:Mine"), ("multiscale_cell", f"{trap}:Mine")):
        (run / "experiment.yaml").write_text(text.replace(old, new))
        with pytest.raises(SettingsError, match="needs your word"):
            run_again(run, ("search",), Silent())
    assert not (tmp_path / "sprung").exists()


@pytest.mark.usefixtures("no_report")
def test_a_medmnist_file_gets_its_official_figures_and_result_files(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "breastmnist.npz", size=28)
    run = tiny_run(data, tmp_path / "run", training__epochs=1)
    folder = run / "networks" / "mstf-nas" / "fold0.seed0"
    official = read(folder / "metrics.json")["medmnist"]
    assert set(official) == {"validation", "test"}
    assert set(official["test"]) == {"AUC", "ACC"}
    names = [path.name for path in sorted((folder / "medmnist").iterdir())]
    score = f"[AUC]{official['test']['AUC']:.3f}_[ACC]{official['test']['ACC']:.3f}"
    assert f"breastmnist_test_{score}@mstf-nas-fold0-seed0.csv" in names
    assert len(names) == 2
    assert read(run / "summary.json")["task"]["class_names"] == ["malignant", "normal, benign"]


@pytest.mark.usefixtures("no_report")
def test_lesion_sizes_class_weights_and_the_required_sensitivity(tmp_path: Path) -> None:
    run = tiny_run(
        "phantom:lesions2d?cases=60&size=16",
        tmp_path / "run",
        training__class_weights="balanced",
        evaluation__required_sensitivity=0.9,
        evaluation__small_lesion=0.005,
        evaluation__large_lesion=0.05,
    )
    summary = read(run / "summary.json")
    sizes = summary["lesion_size"]
    assert [group["name"] for group in sizes["groups"]] == ["small", "medium", "large"]
    assert (sizes["groups"][1]["low"], sizes["groups"][1]["high"]) == (0.005, 0.05)
    positives = read(run / "data.json")["counts"]["test"]["lesion"]
    assert sum(group["cases"] for group in sizes["groups"]) + sizes["unknown_size"] == positives
    assert set(sizes["networks"]) == {"mstf-nas"}
    point = summary["operating_point"]
    assert point["validation"]["sensitivity"]["value"] >= 0.9
    assert [(row["fold"], row["seed"]) for row in point["thresholds"]] == [(0, 0)]
    assert summary["calibration"].keys() == summary["networks"].keys()
