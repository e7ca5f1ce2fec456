from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archimed.report.background import command
from archimed.report.groups import group_tables
from archimed.report.reading import Run, TrainedNetwork
from archimed.report.results import headline
from archimed.report.tables import lesion_sizes, official_table, operating_table


def run_of(summary: dict[str, Any], experiment: dict[str, Any] | None = None) -> Run:
    return Run(Path("runs/one"), summary, experiment or {}, {}, {}, (), "", (), ())


def networks(own: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        "chosen": "mstf-nas",
        "networks": {"resnet18": {"test": {"auc": other}}, "mstf-nas": {"test": {"auc": own}}},
    }


OWN = {"value": 0.893, "low": 0.831, "high": 0.944}


@pytest.mark.parametrize(
    ("inside_noise", "other", "verdict"),
    [
        (True, 0.88, "Inside the noise of ResNet-18: this run does not show that one is better."),
        (False, 0.80, "Better than ResNet-18, beyond noise."),
        (False, 0.95, "Worse than ResNet-18, beyond noise."),
    ],
)
def test_the_verdict_is_that_of_the_significance_test(inside_noise: bool, other: float, verdict: str) -> None:
    test = {"metric": "auc", "network": "mstf-nas", "against": "resnet18", "inside_noise": inside_noise}
    found = headline(run_of(networks(OWN, {"value": other}) | {"comparisons": [test]}))
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ({"value": 0.87, "low": 0.80, "high": 0.93}, "Inside the noise of ResNet-18: the intervals overlap."),
        ({"value": 0.70, "low": 0.60, "high": 0.80}, "Better than ResNet-18: the intervals do not overlap."),
        ({"value": 0.97, "low": 0.95, "high": 0.99}, "Worse than ResNet-18: the intervals do not overlap."),
        ({"value": 0.87}, "Not tested against ResNet-18: take the difference as noise."),
    ],
)
def test_without_a_test_the_intervals_decide(other: dict[str, float], verdict: str) -> None:
    assert headline(run_of(networks(OWN, other))).verdict == verdict


def test_the_headline_is_rounded_to_what_the_cases_can_tell() -> None:
    found = headline(run_of(networks(OWN, {"value": 0.871, "low": 0.802, "high": 0.929})))
    assert (found.metric, found.value, found.interval) == ("AUC", "0.89", "0.83–0.94")
    assert found.baseline == "ResNet-18, 0.87 (0.80–0.93)"


def test_an_undefined_auc_gives_way_to_accuracy() -> None:
    cells = {"auc": {"value": None}, "accuracy": {"value": 0.8}}
    assert headline(run_of({"chosen": "a", "networks": {"a": {"test": cells}}})).metric == "Accuracy"


def test_lesion_sizes_keep_the_order_of_the_groups_and_leave_gaps() -> None:
    groups = [
        {"name": "small", "low": 0.0, "high": 0.001, "cases": 3, "too_few": True},
        {"name": "large", "low": 0.01, "high": 1.0, "cases": 20, "too_few": False},
    ]
    sizes = {"groups": groups, "unknown_size": 1, "networks": {"mstf-nas": {"small": {}, "large": {"auc": OWN}}}}
    found = lesion_sizes(run_of(networks(OWN, OWN) | {"lesion_size": sizes}))
    assert found is not None
    assert found.groups == (
        "small\nbelow 0.001 of the image, 3 lesions: too few to say much",
        "large\nabove 0.01 of the image, 20 lesions",
    )
    assert found.cells == {"mstf-nas": (None, OWN)}


def test_groups_of_each_data_set_have_a_table() -> None:
    group = {"by": "sex", "group": "F", "cases": 9, "too_few": False, "networks": {"mstf-nas": {"auc": OWN}}}
    alone = group_tables(run_of(networks(OWN, OWN) | {"groups": [group]}))
    assert [table.name for table in alone] == ["groups"]
    assert alone[0].rows == [["sex: F", "9", "0.893", "undefined"]]
    several = {"cells": {"groups": [group]}, "vessels": {"groups": []}, "nuclei": {"groups": [group]}}
    found = group_tables(run_of(networks(OWN, OWN) | {"datasets": several}))
    assert [table.name for table in found] == ["groups of cells", "groups of nuclei"]
    assert found[0].caption == "AUC by group of cells, with 95 % intervals below"
    assert group_tables(run_of(networks(OWN, OWN) | {"groups": []})) == []


def test_the_operating_point_tells_its_rule_and_thresholds() -> None:
    point = {
        "rule": "threshold of the best F1",
        "thresholds": [{"fold": 0, "seed": 0, "threshold": 0.31}, {"fold": 0, "seed": 1, "threshold": None}],
        "validation": {"sensitivity": {"value": 0.9}},
        "test": {"sensitivity": {"value": 0.8, "low": 0.7, "high": 0.9}, "auc": {"value": 0.9}},
    }
    table = operating_table(run_of({"operating_point": point}))
    assert table is not None
    assert table.caption == "At the threshold of the best F1: 0.310 and undefined"
    assert table.rows == [["Validation", "0.900"], ["Test", "0.800"]]


def test_the_command_repeats_the_run_and_quotes_what_a_shell_would_read() -> None:
    run = run_of({"method": "mstf-nas", "seed": 3}, {"sources": ["my data/x.npz; rm -rf"], "repeats": 2})
    assert command(run) == (
        "archimed run mstf-nas --data 'my data/x.npz; rm -rf' --config one/experiment.yaml --seed 3 --repeats 2 "
        "--out one-again"
    )


def test_official_figures_are_means_over_the_repeats() -> None:
    metrics = [{"medmnist": {"test": {"AUC": auc, "ACC": 0.8}}} for auc in (0.9, 0.94)]
    trained = tuple(TrainedNetwork("mstf-nas", 0, seed, metrics=one) for seed, one in enumerate(metrics))
    table = official_table(replace(run_of(networks(OWN, OWN)), trained=trained))
    assert table is not None
    assert table.rows == [["MSTF-NAS", "0.920", "0.800"]]
    assert official_table(run_of(networks(OWN, OWN))) is None
