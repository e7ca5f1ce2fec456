"""The test part decides nothing: it is read after every choice is made, and other test images change no choice."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archimed
from archimed.data.dataset import Dataset, Subset
from archimed.experiment import search_stage, train_stage
from archimed.experiment.pipeline import run_again
from archimed.experiment.progress import Silent
from archimed.experiment.workbench import Repeat, Workbench
from archimed.methods.protocol import Method, SearchProblem
from tests.cli.command import command
from tests.experiment.tiny import TINY, TWO_SEARCHES, result_of, tiny_run


class Stages(Silent):
    """Remembers the present stage."""

    def __init__(self) -> None:
        self.names = ["before the first stage"]

    def stage(self, name: str) -> None:
        self.names.append(name)


@pytest.mark.usefixtures("no_report")
def test_no_test_case_is_taken_before_the_evaluation(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, taken = Stages(), []
    subset = Dataset.subset

    def watched(self: Dataset, ids: Sequence[str]) -> Subset:
        if set(ids) & set(self.folds[0].test) and stages.names[-1] != "evaluate":
            pytest.fail(f"test cases were taken in the stage {stages.names[-1]!r}")
        taken.append((stages.names[-1], tuple(ids)))
        return subset(self, ids)

    monkeypatch.setattr(Dataset, "subset", watched)
    settings = {**TINY, **TWO_SEARCHES}
    run = archimed.run("mstf-nas", str(grey), tmp_path / "run", settings=settings, observer=stages)
    [fold] = result_of(run)["splits"]["folds"]
    assert tuple(fold["test"]) in {ids for stage, ids in taken if stage == "evaluate"}
    assert any(stage.startswith("search") for stage, _ in taken)
    assert any(stage.startswith("train") for stage, _ in taken)


@pytest.mark.usefixtures("no_report")
def test_no_fold_is_searched_or_trained_on_its_test_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[tuple[int, set[str]]] = []
    problem_of, train_with = search_stage.search_problem, train_stage.train

    def watched_problem(bench: Workbench, method: Method, repeat: Repeat) -> SearchProblem:
        problem = problem_of(bench, method, repeat)
        met.append((repeat.fold, {*problem.train.ids, *problem.validation.ids}))
        return problem

    def watched_training(network: Any, train: Subset, validation: Subset, *rest: Any, **named: Any) -> Any:
        fold = int(named["state_folder"].name.removeprefix("fold")[0])
        met.append((fold, {*train.ids, *validation.ids}))
        return train_with(network, train, validation, *rest, **named)

    monkeypatch.setattr(search_stage, "search_problem", watched_problem)
    monkeypatch.setattr(train_stage, "train", watched_training)
    run = tiny_run("phantom:lesions2d?cases=40&size=16", tmp_path / "run", data__folds=2)
    folds = result_of(run)["splits"]["folds"]
    assert [fold for fold, _ in met] == [0, 1, 0, 1]
    for fold, cases in met:
        assert cases == {*folds[fold]["train"], *folds[fold]["validation"]}
        assert not cases & set(folds[fold]["test"])


@pytest.mark.usefixtures("no_report")
def test_other_test_images_and_labels_change_nothing_upstream(grey: Path, tmp_path: Path) -> None:
    with np.load(grey) as archive:
        arrays = dict(archive)
    arrays["test_images"] = 255 - arrays["test_images"][::-1]
    arrays["test_labels"] = 1 - arrays["test_labels"]
    other = tmp_path / "grey.npz"
    np.savez(other, **arrays)
    one, two = (result_of(tiny_run(data, tmp_path / name)) for data, name in ((grey, "one"), (other, "two")))
    assert one["data"]["checksum"] != two["data"]["checksum"]
    assert one["summary"]["networks"]["mstf-nas"]["test"] != two["summary"]["networks"]["mstf-nas"]["test"]
    trained = (name for name in one if name.endswith((".safetensors", "epochs.jsonl")))
    upstream = ["search/candidates.jsonl", "selected", *trained]
    assert len(upstream) == 4
    for name in upstream:
        assert one[name] == two[name], name
    for network in one["summary"]["networks"]:
        first, second = (result["summary"]["networks"][network]["validation"] for result in (one, two))
        assert first == second


@pytest.mark.usefixtures("no_report")
def test_evaluating_again_changes_nothing_upstream_and_gives_the_same(grey: Path, tmp_path: Path) -> None:
    run = tiny_run(grey, tmp_path / "run")
    before, upstream = result_of(run), unchanging(run)
    (run / "networks" / "mstf-nas" / "fold0.seed0" / "metrics.json").unlink()
    run_again(run, ("evaluate", "report"), Silent())
    assert result_of(run) == before
    assert unchanging(run) == upstream


def unchanging(run: Path) -> dict[str, tuple[int, bytes]]:
    """Time and content of what the search and the training wrote."""
    written = [*run.rglob("search/*"), *run.rglob("epochs.jsonl"), *run.rglob("*.safetensors"), run / "experiment.yaml"]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in written}


@pytest.mark.usefixtures("no_report")
def test_patients_are_in_one_split_of_a_fold_and_folds_test_every_case_once(tmp_path: Path) -> None:
    run = tiny_run("phantom:lesions2d?cases=40&size=16", tmp_path / "run", data__folds=3)
    folds = result_of(run)["splits"]["folds"]
    tested = [case for fold in folds for case in fold["test"]]
    assert len(folds) == 3
    assert sorted(tested) == sorted({case for fold in folds for ids in fold.values() for case in ids})
    assert len(tested) == len(set(tested)) == 40
    for fold in folds:
        parts = [set(fold[name]) for name in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 40


def test_a_network_of_a_run_with_other_splits_is_refused(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    predictions = run / "networks" / "random-search" / "fold0.seed0" / "predictions.csv"
    lines = predictions.read_text().splitlines(keepends=True)
    known = json.loads((run / "splits.json").read_text())["folds"][0]
    row = next(row for row, line in enumerate(lines) if line.split(",")[0] == known["test"][0])
    other = lines[row].replace(known["test"][0], known["train"][0], 1)
    predictions.write_text("".join([*lines[:row], other, *lines[row + 1 :]]))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = command("evaluate", str(run), "--quiet")
    assert said.code == 2
    assert f"{known['train'][0]} was a test case there and is a train case here" in said.stderr
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
