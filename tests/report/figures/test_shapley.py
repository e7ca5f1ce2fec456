"""Figures of a search by Shapley values."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from archimed.report import write_report
from archimed.report.figures.shapley import mean_values
from archimed.report.learning import mixture_logs
from archimed.report.reading import read_run
from archimed.spaces.darts_cell import DartsCellSpace
from tests.report.test_learning import PICKED, learnt_run

SPACE = DartsCellSpace(num_nodes=2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose second epoch on has Shapley values: the number of the epoch plus that of the option."""
    folder = learnt_run(tmp_path / "run", SPACE)
    log = folder / "search" / "epochs.jsonl"
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    for line in lines[1:]:
        shapley = {name: [line["epoch"] + k for k in range(len(alpha))] for name, alpha in line["alpha"].items()}
        line["architecture"] = {"shapley": shapley, "start": 0.7, "nobody": 0.5}
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def test_values_are_means_over_the_epochs_that_learnt_to_the_one_picked(run: Path) -> None:
    (log,) = mixture_logs(read_run(run))
    found = mean_values(log, [epoch for epoch in log.epochs[: log.shown + 1] if epoch.get("architecture")])
    mean = sum(range(2, PICKED + 1)) / (PICKED - 1)
    assert set(found) == set(log.weights)
    for values in found.values():
        assert values == pytest.approx([mean + k for k in range(8)])


def test_the_report_draws_every_edge_and_passes_over_damaged_values(run: Path) -> None:
    write_report(run)
    for name in ("shapley_normal", "shapley_reduction", "shapley_scores"):
        ElementTree.parse(run / "figures" / f"{name}.svg")  # noqa: S314 (our own)
    picture = (run / "figures" / "shapley_normal.svg").read_text("utf-8")
    assert "node 1 → node 2" in picture
    assert "300.0" in picture  # a mean of 3, in hundredths
    log = run / "search" / "epochs.jsonl"
    log.write_text(
        log.read_text("utf-8").replace('"shapley": {"normal.node1.input1": [2,', '"shapley": {"x": [2,'), "utf-8"
    )
    page = write_report(run).read_text("utf-8")
    assert "Shapley values" in page
