"""MM-NAS on a table of volumes of several sizes with tumour regions, with nothing set for them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from archimed.experiment.external import validate_externally
from archimed.experiment.layers import resolve
from archimed.experiment.networks import load_chosen
from archimed.experiment.pipeline import run_experiment
from archimed.experiment.progress import Silent
from archimed.experiment.settings import Experiment
from tests.data.preparation.cohort import cohort
from tests.experiment.tiny import COMMON, read, write_npz

TINY = {
    **COMMON,
    "evaluation.baselines": "pet-only",
    "training.epochs": 1,
    "search.epochs": 2,
    "search.warmup_epochs": 1,
    "search.memory": "none",
    "space.num_nodes": 1,
    "space.num_reduction": 1,
    "space.width": 4,
    "space.head": 4,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cohort(tmp_path_factory.mktemp("data"))


class Ear(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture(scope="module")
def ear() -> Ear:
    return Ear()


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory, ear: Ear) -> Path:
    return run_experiment(asked(table), tmp_path_factory.mktemp("run") / "run", ear).path


def asked(table: Path, **settings: object) -> Experiment:
    lines = [f"{name}={value}" for name, value in {**TINY, **settings}.items()]
    return resolve("mm-nas", "default", None, lines, {"sources": [str(table)]})


@pytest.fixture(autouse=True, scope="module")
def no_report() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
        yield


def test_the_grid_and_the_channels_are_told_and_recorded(run: Path, ear: Ear) -> None:
    assert any("16 x 16 x 16 voxels of 2 mm about the region of each" in sentence for sentence in ear.said)
    data = read(run / "data.json")
    assert data["grid"] == {"spacing_mm": [2, 2, 2], "image_size": [16, 16, 16], "about": "region"}
    assert data["task"]["channel_names"] == ["PET", "CT", "region"]
    assert [*read(run / "summary.json")["networks"]] == ["mm-nas", "pet-only"]
    stored = load_chosen(run)
    assert (stored.normalise.mean[2], stored.normalise.std[2]) == (0, 1)
    assert stored.task.image_size == (16, 16, 16)


def test_other_data_are_predicted_on_the_grid_of_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = cohort(tmp_path / "other", radius=9)  # whose own grid would be larger
    summary = validate_externally(run, str(other), tmp_path / "out", Silent())
    assert summary["task"]["image_size"] == (16, 16, 16)
    assert set(summary["networks"]) == {"mm-nas", "pet-only"}


def test_named_channels_of_three_modalities_need_no_setting(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "three.npz", channels=3)
    settings = {"evaluation.baselines": "flair-only", "data.modalities": "t1,t2,flair"}
    for _ in range(2):  # the second time it is that run
        run_experiment(asked(path, **settings), tmp_path / "run", Silent())
    found = read(tmp_path / "run/networks/mm-nas/fold0.seed0/architecture.json")
    assert found["space"]["modalities"] == [1, 1, 1]


def test_a_region_can_be_left_out(table: Path, tmp_path: Path) -> None:
    settings = {"evaluation.baselines": "none", "data.region_channel": False}
    network = load_chosen(run_experiment(asked(table, **settings), tmp_path / "run", Silent()).path).network
    with torch.no_grad():
        assert np.isfinite(network(torch.zeros(1, 2, 16, 16, 16)).numpy()).all()
