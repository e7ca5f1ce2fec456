from pathlib import Path
from typing import Any

import pytest

from archimed.experiment.estimate import estimate
from archimed.experiment.layers import resolve
from archimed.experiment.pipeline import open_bench
from archimed.experiment.progress import Silent
from archimed.runs import RunDirectory
from tests.experiment.tiny import TINY, lines, read, tiny_run


def estimated(grey: Path, out: Path, **settings: Any) -> Any:
    values = {name.replace("__", "."): value for name, value in settings.items()}
    experiment = resolve("mstf-nas", "default", None, [], {**TINY, "sources": [str(grey)], **values})
    return estimate(open_bench(RunDirectory(out), experiment, Silent()))


def test_an_estimate_foretells_the_run_and_writes_nothing(grey: Path, tmp_path: Path) -> None:
    settings = {"evaluation__baselines": "random-search", "training__epochs": 20}
    foretold = estimated(grey, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    summary = read(tiny_run(grey, tmp_path / "run", **settings) / "summary.json")
    assert foretold.candidates == len(lines(tmp_path / "run" / "search" / "candidates.jsonl")) == 12
    assert foretold.search_seconds == pytest.approx(summary["seconds"]["search"], rel=9)  # the machine may be busy
    assert foretold.train_seconds == pytest.approx(summary["seconds"]["train"], rel=9)
    assert set(foretold.epoch_seconds) == set(summary["networks"])


def test_weights_kept_by_several_metrics_take_their_room(grey: Path, tmp_path: Path) -> None:
    one = estimated(grey, tmp_path / "run")
    three = estimated(grey, tmp_path / "run", training__checkpoint_metric="auc,accuracy,macro_f1")
    # of the one network: its files, and two checkpoints of weights, two moments and the best weights by each metric
    assert three.disk_mib / one.disk_mib == pytest.approx((3 + 2 * (3 + 3)) / (1 + 2 * (3 + 1)))


def test_it_grows_with_repeats_and_folds(grey: Path, tmp_path: Path) -> None:
    one = estimated(grey, tmp_path / "run")
    six = estimated(grey, tmp_path / "run", repeats=2, data__folds=3)
    assert six.candidates == 6 * one.candidates
    assert six.disk_mib > one.disk_mib > 0
    assert one.memory_gib > 0
