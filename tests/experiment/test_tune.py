"""Settings of training, tried on validation for every network alike, and taken up again where a run was cut off."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from archimed.errors import SettingsError
from archimed.experiment import tune_stage
from tests.experiment.tiny import tiny_run, write_npz

TUNE = {"tune__trials": 3, "tune__batch_sizes": "4,8", "tune__image_sizes": "8", "evaluation__baselines": "parameters"}


class Killed(Exception):  # noqa: N818
    pass


def trials(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "tune" / "trials.jsonl").read_text().splitlines()]


def untimed(run: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in trials(run)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("data") / "grey.npz")


@pytest.fixture(scope="module")
def tuned(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(data, tmp_path_factory.mktemp("runs") / "tuned", method="random-search", repeats=2, **TUNE)


def test_every_network_gets_the_same_trials_of_which_the_best_is_used(tuned: Path) -> None:
    lines = trials(tuned)
    names = ["random-search", "parameters"]
    assert [(line["network"], line["trial"]) for line in lines] == [(name, k) for name in names for k in range(3)]
    first, second = lines[:3], lines[3:]
    assert [line["settings"] for line in first] == [line["settings"] for line in second]
    assert first[0]["settings"] == {"learning_rate": 1e-3, "batch_size": 8, "weight_decay": 0.0, "image_size": None}
    for name, members in zip(names, (first, second), strict=True):
        best = max(members, key=lambda line: line["value"])
        for seed in (0, 1):
            folder = tuned / "networks" / name / f"fold0.seed{seed}"
            side = best["settings"]["image_size"] or 12
            assert json.loads((folder / "architecture.json").read_text())["task"]["image_size"] == [side, side]
            epochs = [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]
            assert epochs[0]["learning_rate"] == best["settings"]["learning_rate"]
            if seed == 0:  # the trial was this very training
                assert epochs[best["best_epoch"] - 1]["validation"]["auc"] == best["value"]
    assert not (tuned / "tune" / "state").exists() or not any((tuned / "tune" / "state").iterdir())


def test_an_interrupted_run_makes_the_trials_of_an_unbroken_one(
    data: Path, tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = tune_stage.make_trial, []

    def make_or_die(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return make(*arguments)

    monkeypatch.setattr(tune_stage, "make_trial", make_or_die)
    settings = {"method": "random-search", "repeats": 2, **TUNE}
    with pytest.raises(Killed):
        tiny_run(data, tmp_path / "broken", **settings)
    assert len(trials(tmp_path / "broken")) == 2
    assert untimed(tiny_run(data, tmp_path / "broken", **settings)) == untimed(tuned)


def test_what_is_tested_changes_no_trial(tuned: Path, tmp_path: Path) -> None:
    other = write_npz(tmp_path / "grey.npz", test_value=0)
    assert untimed(tiny_run(other, tmp_path / "run", method="random-search", repeats=2, **TUNE)) == untimed(tuned)


def test_without_optuna_one_line_says_what_to_install(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SettingsError, match=r"pip install 'archimed\[tune\]'"):
        tiny_run(data, tmp_path / "run", **TUNE)
    assert not (tmp_path / "run" / "experiment.yaml").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"tune__learning_rates": "0.1,0.01"}, "two rising numbers above 0; got 0.1 and 0.01"),
        ({"tune__batch_sizes": "1,8"}, "batch_sizes are 2 or more; got 1"),
        ({"tune__trials": -1}, "tune.trials"),
    ],
)
def test_other_settings_are_refused(data: Path, tmp_path: Path, setting: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        tiny_run(data, tmp_path / "run", **setting)
