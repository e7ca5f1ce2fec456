from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import archimed
from archimed.errors import DataError, RunError, SettingsError
from archimed.experiment import pipeline
from archimed.experiment.estimate import estimate
from archimed.experiment.layers import resolve
from archimed.experiment.progress import Silent
from archimed.experiment.sources import safe_names
from archimed.methods.protocol import Journal, SearchOutcome, SearchProblem
from archimed.methods.random_search import RandomSearch
from archimed.runs import RunDirectory, place_name, read_place
from tests.experiment.interruption import interrupted_training
from tests.experiment.tiny import COMMON, SPACE, lines, read, result_of, write_npz

SETTINGS: dict[str, Any] = SPACE | COMMON | {"search.candidates": 3, "search.batch_size": 8, "search.image_size": 12}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Grey images of two classes, and larger images in colour of three, both called `set`."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("one", "two"):
        (folder / name).mkdir()
    grey = write_npz(folder / "one" / "set.npz")
    colour = write_npz(folder / "two" / "set.npz", classes=3, channels=3, size=16)
    return [str(grey), str(colour)]


def run(sources: Sequence[str], out: Path, **settings: Any) -> Path:
    return archimed.run(
        "random-search", list(sources), out, settings=SETTINGS | {k.replace("__", "."): v for k, v in settings.items()}
    )


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[SearchProblem]:
    """What the searches of a test got to see."""
    problems: list[SearchProblem] = []
    search = RandomSearch.run_search

    def watched(self: RandomSearch, problem: SearchProblem, journal: Journal) -> SearchOutcome:
        problems.append(problem)
        return search(self, problem, journal)

    monkeypatch.setattr(RandomSearch, "run_search", watched)
    return problems


def test_one_search_sees_all_data_sets_and_its_network_is_trained_on_each(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[SearchProblem]
) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "together", raising=False)
    out = run(sources, tmp_path / "run", evaluation__baselines="parameters")
    (problem,) = seen
    assert [one.name for one in (problem, *problem.beside)] == ["set", "set-2"]
    assert [one.task.channels for one in (problem, *problem.beside)] == [3, 3]
    assert [one.task.image_size for one in (problem, *problem.beside)] == [(12, 12), (12, 12)]
    images = problem.train.images.all()
    assert (images[:, :1] == images).all()
    assert [line["number"] for line in lines(out / "search" / "candidates.jsonl")] == [0, 1, 2]
    selected = read(out / "search" / "selected.json")["selected"]
    assert [line["network"] for line in selected] == ["random-search", "parameters"]
    assert all("dataset" not in line for line in selected)
    own = [
        read(out / "networks" / "random-search" / f"{name}.fold0.seed0" / "architecture.json")
        for name in ("set", "set-2")
    ]
    assert own[0]["genotype"] == own[1]["genotype"] == selected[0]["genotype"]
    assert [(one["task"]["channels"], one["task"]["image_size"]) for one in own] == [(1, [12, 12]), (3, [16, 16])]
    assert "set-2" in (out / "report.html").read_text()
    for name, image in (("set", torch.zeros(1, 1, 12, 12)), ("set-2", torch.zeros(1, 3, 16, 16))):
        archimed.load(out, name)(image)
    archimed.load(out)(torch.zeros(1, 1, 12, 12))
    with pytest.raises(RunError, match="no 'three': it has set, set-2"):
        archimed.load(out, "three")


@pytest.mark.usefixtures("no_report")
def test_a_search_for_each_data_set_gives_each_its_own_network(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[SearchProblem]
) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "apart", raising=False)
    out = run(sources, tmp_path / "run", evaluation__baselines="parameters", training__epochs=1)
    assert [(one.name, one.task.channels, one.beside) for one in seen] == [("set", 1, ()), ("set-2", 3, ())]
    logged = lines(out / "search" / "candidates.jsonl")
    assert [(line["dataset"], line["number"]) for line in logged] == [
        (name, number) for name in ("set", "set-2") for number in range(3)
    ]
    selected = read(out / "search" / "selected.json")["selected"]
    assert [(line["network"], line["dataset"]) for line in selected] == [
        (network, name) for name in ("set", "set-2") for network in ("random-search", "parameters")
    ]
    assert len(list((out / "networks").glob("*/*/weights.safetensors"))) == 4
    summary = read(out / "summary.json")
    assert list(summary["networks"]) == ["random-search", "parameters"]


@pytest.mark.usefixtures("no_report")
def test_results_are_means_over_the_data_sets_with_each_by_itself(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "together", raising=False)
    out = run(sources, tmp_path / "run", evaluation__baselines="parameters", repeats=2)
    summary = read(out / "summary.json")
    assert summary["data"] == "set, set-2"
    for network in summary["networks"].values():
        for split in ("validation", "test"):
            for metric, cell in network[split].items():
                values = [one[split][metric]["value"] for one in network["datasets"].values()]
                assert cell["value"] == (None if None in values else pytest.approx(np.mean(values)))
                assert cell["low"] is None or cell["low"] <= cell["value"] <= cell["high"]
        assert network["parameters"] == round(np.mean([one["parameters"] for one in network["datasets"].values()]))
        assert [(one["dataset"], one["seed"]) for one in network["repeats"]] == [
            (name, seed) for name in ("set", "set-2") for seed in (0, 1)
        ]
    assert list(summary["datasets"]) == ["set", "set-2"]
    assert summary["datasets"]["set"]["operating_point"] is not None
    assert summary["datasets"]["set-2"]["task"]["class_names"] == ["0", "1", "2"]
    assert all(row["against"] == "parameters" for row in summary["comparisons"])
    assert sum("cannot be told apart" in text or "did better" in text for text in summary["cautions"]) == 2
    assert not any("no baseline" in text for text in summary["cautions"])
    found = read(out / "data.json")
    assert list(found["datasets"]) == ["set", "set-2"]
    assert len(found["checksum"]) == 64
    splits = read(out / "splits.json")["datasets"]
    assert {name: len(one["folds"][0]["train"]) for name, one in splits.items()} == {"set": 16, "set-2": 16}


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_run_of_several_ends_as_an_unbroken_one(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "apart", raising=False)
    whole = run(sources, tmp_path / "whole")
    broken = tmp_path / "broken"
    with interrupted_training(2):
        run(sources, broken)
    run(sources, broken)
    assert result_of(broken) == result_of(whole)


def test_the_plan_counts_every_data_set(sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for kind in ("together", "apart"):
        monkeypatch.setattr(RandomSearch, "data_sets", kind, raising=False)
        experiment = resolve("random-search", "default", None, [], {"sources": sources, **SETTINGS})
        bench = pipeline.open_bench(RunDirectory(tmp_path / kind), experiment, Silent())
        found[kind] = estimate(bench)
        assert len(list(bench.repeats())) == 2
    assert found["together"].candidates == 3
    assert found["apart"].candidates == 6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("one", {}, "random-search takes one --data; got 2. Run it once for each data set."),
        ("together", {"search__image_size": None}, "need one image size; set has 12x12, set-2 16x16. Set it with"),
    ],
)
def test_what_cannot_be_searched_together_is_refused(
    kind: str,
    settings: dict[str, Any],
    message: str,
    sources: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", kind, raising=False)
    with pytest.raises(SettingsError, match=message) as error:
        run(sources, tmp_path / "run", **settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_data_set_is_named_once(sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "apart", raising=False)
    with pytest.raises(SettingsError, match="is given twice"):
        run([sources[0], sources[0]], tmp_path / "run")


def test_equal_images_across_train_and_test_are_refused(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RandomSearch, "data_sets", "apart", raising=False)
    arrays = dict(np.load(sources[0]))
    arrays["test_images"], arrays["train_images"] = arrays["train_images"][:8], arrays["train_images"][8:]
    arrays["test_labels"], arrays["train_labels"] = arrays["train_labels"][:8], arrays["train_labels"][8:]
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(DataError, match="set trains on 8 equal images that other tests on"):
        run([sources[0], str(tmp_path / "other.npz")], tmp_path / "run")


def test_names_of_data_sets_differ_and_are_safe_in_paths() -> None:
    names = ["a b/c", "A B c", "..", "../x", "a b/c", "é"]
    assert safe_names(names) == [
        "a_b_c",
        "A_B_c-2",
        "data",
        "x",
        "a_b_c-3",
        "data-2",
    ]


@pytest.mark.parametrize("dataset", [None, "set", "a.b-2", "fold1.seed2"])
def test_names_of_places_can_be_read_back(dataset: str | None) -> None:
    assert read_place(place_name(3, 14, dataset)) == (3, 14, dataset)
    assert read_place("fold.seed") is None
