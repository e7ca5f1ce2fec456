"""MM-NAS: what it takes from the paper, and whole runs of both gradient methods, interrupted and not."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import archimed
from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset
from archimed.errors import SettingsError
from archimed.experiment.estimate import estimate
from archimed.experiment.layers import resolve
from archimed.experiment.pipeline import open_bench
from archimed.experiment.progress import Silent
from archimed.methods import find_method
from archimed.methods.mm_nas import MmNas
from archimed.methods.protocol import Method
from archimed.runs import RunDirectory
from archimed.spaces.fusion_cell import FusionCellSpace
from archimed.task import ImagingTask
from archimed.training.augmentation import augments
from tests.experiment.interruption import Steps, interrupted_at
from tests.experiment.tiny import COMMON, lines, read, result_of, without_seconds, write_npz

SEARCH = {"search.epochs": 2, "search.batch_size": 4, "search.memory": "none", "space.num_nodes": 1, "space.width": 4}
DARTS = {**COMMON, **SEARCH, "search.width": 4, "search.num_cells": 3, "space.num_cells": 3}
MM_NAS = {**COMMON, **SEARCH, "search.warmup_epochs": 1, "space.num_reduction": 1, "space.head": 4}
RANDOM = {"evaluation.baselines": "random-search"}

pet_ct_cases = 24


def pet_ct() -> Dataset:
    """Small volumes of two modalities; one to two scans a patient."""
    rng = np.random.default_rng(1)
    target = torch.arange(pet_ct_cases) // 2 % 2
    images = torch.from_numpy(rng.normal(size=(pet_ct_cases, 2, 8, 8, 8)).astype(np.float32))
    cases = tuple(Case(f"c{k}", f"p{k // 2}") for k in range(pet_ct_cases))
    task = ImagingTask("binary", ("no", "yes"), 2, (8, 8, 8))
    return Dataset("tiny", "object", task, cases, Arrays.of(images), target, patients_known=True)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as `--data` names it."""
    path = tmp_path_factory.mktemp("data") / "pet_ct.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(Path.cwd())!r})\nfrom {__name__} import pet_ct\n")
    return f"{path}:pet_ct"


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "grey.npz")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "report" not in request.node.name:
        monkeypatch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)


def test_the_preset_of_the_paper_has_its_numbers() -> None:
    assert isinstance(MmNas(), Method)
    method = resolve("mm-nas", "paper", None, [], {"sources": ["phantom:petct"]}).method
    search, training = method.search, method.training
    assert isinstance(method.space, FusionCellSpace)
    assert (search.alpha_learning_rate, search.learning_rate, search.batch_size, search.epochs) == (5e-4, 1e-4, 1, 200)
    assert (training.learning_rate, training.batch_size, training.epochs, training.milestones) == (1e-3, 1, 200, ())
    assert search.least_learning_rate == search.learning_rate
    assert not augments(training)
    assert (training.weight_decay, training.members, training.early_stop_patience) == (0, 1, None)
    assert (method.space.head_reads, method.space.stem_form) == ("last", "strided")
    assert method.space.normalisation == "instance"  # for batches of one


def test_the_recipe_for_small_data_changes_every_image_and_quick_keeps_it() -> None:
    recipe = MmNas().training
    fields = {name: value for name, value in asdict(recipe).items() if name.startswith("augment_")}
    assert len(fields) == 6
    assert all(fields.values())
    quick = resolve("mm-nas", "quick", None, [], {"sources": ["phantom:petct"]}).method.training
    assert replace(quick, epochs=recipe.epochs, members=recipe.members) == recipe
    assert not any(augments(find_method(name)().training) for name in ("mstf-nas", "darts", "random-search"))


def begin(method: str, data: str | Path, out: Path, settings: dict[str, Any]) -> Any:
    return lambda steps: archimed.run(method, str(data), out, settings=settings, observer=steps)


def searched(run: Path) -> dict[str, Any]:
    """What the search of a run left, its times aside."""
    return {
        "epochs": without_seconds(lines(run / "search" / "epochs.jsonl")),
        "state": {
            path.parent.name: without_seconds(read(path))
            for path in (run / "search" / "state").rglob("*")
            if path.is_file()
        },
    }


def test_a_run_on_volumes_of_two_modalities_ends_with_a_report(volumes: str, tmp_path: Path) -> None:
    settings = {**MM_NAS, **RANDOM, "data.folds": 2}
    run = begin("mm-nas", volumes, tmp_path / "run", settings)(Silent())
    epochs = lines(run / "search" / "epochs.jsonl")
    assert [(line["search"], line["fold"], line["epoch"]) for line in epochs] == [
        ("mm-nas", fold, epoch) for fold in (0, 1) for epoch in (1, 2)
    ]
    assert not (run / "search" / "candidates.jsonl").exists()
    selected = read(run / "search" / "selected.json")
    assert [line["network"] for line in selected["selected"]] == ["mm-nas", "random-search"] * 2
    assert "highest validation AUC of the supernet" in selected["rule"]
    summary = read(run / "summary.json")
    assert summary["seconds"]["search"] == pytest.approx(sum(line["seconds"] for line in epochs))
    assert set(summary["networks"]) == {"mm-nas", "random-search"}
    assert (run / "report.html").stat().st_size > 10_000
    text = "".join(path.read_text() for path in run.rglob("*.json*"))
    assert "p11" not in text  # no patient


def test_a_run_of_darts_goes_on_from_any_step(grey: Path, tmp_path: Path) -> None:
    settings = {**DARTS, "training.epochs": 1}
    whole = interrupted_at(None, begin("darts", grey, tmp_path / "whole", settings))
    expected = without_candidates(tmp_path / "whole")
    first = whole.names.index("told stage search: darts")
    last = whole.names.index("renamed selected.json")
    assert last - first > 10
    for stop in range(first + 1, last + 3, 3):
        out = tmp_path / f"{stop}"
        broken = interrupted_at(stop, begin("darts", grey, out, settings))
        assert broken.names == whole.names[:stop]
        begin("darts", grey, out, settings)(Steps())
        assert searched(out) == searched(tmp_path / "whole"), whole.names[stop - 1]
        assert without_candidates(out) == expected, whole.names[stop - 1]


def test_what_a_search_warns_of_stands_in_the_summary(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archimed.methods.bilevel_loop.count_skips", lambda *_: 2)
    settings = {**DARTS, "training.epochs": 1, "search.stop_at_skips": 2}
    run = begin("darts", grey, tmp_path / "run", settings)(Silent())
    [told] = [text for text in read(run / "summary.json")["cautions"] if text.startswith("Search: ")]
    assert "2 skip connections in epoch 1" in told


def without_candidates(run: Path) -> dict[str, Any]:
    log = run / "search" / "candidates.jsonl"
    log.touch()
    result = result_of(run)
    log.unlink()
    return result


def test_an_estimate_asks_the_method(grey: Path, tmp_path: Path) -> None:
    experiment = resolve("darts", "default", None, [], {**DARTS, **RANDOM, "sources": [str(grey)]})
    foretold = estimate(open_bench(RunDirectory(tmp_path / "run"), experiment, Silent()))
    assert foretold.candidates == 0
    assert 0 < foretold.search_seconds < 600
    assert set(foretold.epoch_seconds) == {"darts", "random-search"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"evaluation.baselines": "macs"}, "random-search, resnet18"),
        ({"training.batch_size": 1}, r"training\.batch_size is 1.*space\.normalisation=instance"),
        ({"search.batch_size": 1}, r"search\.batch_size is 1.*space\.normalisation=instance"),
        ({"space.name": "resnet"}, "has none. Use --set space.name=darts_cell"),
        ({"search.warmup_epochs": 2}, "search"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run_begins(
    settings: dict[str, Any], told: str, grey: Path, tmp_path: Path
) -> None:
    base = {name: value for name, value in DARTS.items() if "space.name" not in settings or "space" not in name}
    with pytest.raises(SettingsError, match=told):
        begin("darts", grey, tmp_path / "run", {**base, **settings})(Silent())
    assert not (tmp_path / "run").exists()
