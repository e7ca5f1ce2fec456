"""Networks for several modalities in a run: chosen by name, trained beside the method's own, read back, measured."""

from pathlib import Path

import numpy as np
import pytest
import torch

from archimed.errors import SettingsError
from archimed.experiment.external import validate_externally
from archimed.experiment.networks import load_network
from archimed.experiment.progress import Silent
from archimed.networks.forest import RadiomicsForest
from archimed.runs import RunDirectory
from tests.experiment.tiny import lines, read, tiny_run, write_npz

NAMES = "channel-1-only,late-fusion,radiomics"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two modalities."""
    return write_npz(tmp_path_factory.mktemp("data") / "two.npz", channels=2)


@pytest.fixture(scope="module")
def run(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(two, tmp_path_factory.mktemp("run") / "run", method="random-search", evaluation__baselines=NAMES)


def test_they_stand_beside_the_method_in_the_results(run: Path) -> None:
    networks = read(run / "summary.json")["networks"]
    assert [*networks] == ["random-search", *NAMES.split(",")]
    for network in networks.values():
        assert 0 <= network["test"]["auc"]["value"] <= 1
    assert networks["radiomics"]["parameters"] == networks["radiomics"]["macs"] == 0
    assert "Radiomics, random forest" in (run / "report.html").read_text(encoding="utf-8")


def test_a_forest_is_kept_with_its_trees(run: Path) -> None:
    folder = RunDirectory(run).network("radiomics", 0, 0)
    assert sorted(path.name for path in folder.path.iterdir()) == [
        *("architecture.json", "epochs.jsonl", "metrics.json", "predictions.csv"),
        *("training.json", "weights.safetensors"),
    ]
    assert len(lines(folder.path / "epochs.jsonl")) == 1
    stored = load_network(folder)
    assert isinstance(stored.network, RadiomicsForest)
    assert len(stored.network.forest.root) == 500
    assert stored.network(torch.zeros(1, 2, 12, 12)).shape == (1, 2)


def test_a_repeated_run_gives_the_same_forest(run: Path, two: Path, tmp_path: Path) -> None:
    again = tiny_run(two, tmp_path / "run", method="random-search", evaluation__baselines="radiomics")
    told = [(folder / "networks/radiomics/fold0.seed0/predictions.csv").read_text() for folder in (run, again)]
    assert told[0] == told[1]


def test_external_validation_reads_them_all(run: Path, two: Path, tmp_path: Path) -> None:
    found = validate_externally(run, str(two), tmp_path / "out", Silent())
    assert np.isfinite([network["test"]["auc"]["value"] for network in found["networks"].values()]).all()
    assert "radiomics" in found["networks"]


def test_a_baseline_that_the_data_lack_is_refused_before_the_run(two: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"channel-0-only, channel-1-only, .*; got 'central-slice'"):
        tiny_run(two, tmp_path / "run", evaluation__baselines="central-slice")
    assert not (tmp_path / "run").exists()
