"""Results of masks by class and case, as the report tells them."""

from pathlib import Path
from typing import Any

import pytest

from archimed.report.figures.strips import strip_figure
from archimed.report.mask_results import case_dice, case_strips, mask_class_tables
from archimed.report.reading import Run, TrainedNetwork
from archimed.report.tables import network_table

CLASSES = ("background", "liver", "tumour")


def row(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": None if value is None else value - 0.1, "high": None if value is None else 0.9}


def results(dice: float, missed: int = 0) -> dict[str, Any]:
    metrics = {"dice": row(dice), "hausdorff_95": row(3.5)}
    return {
        "test": metrics,
        "classes": {"test": {"liver": metrics, "tumour": {"dice": row(None), "hausdorff_95": row(None)}}},
        "left_out": {
            "liver": {"cases": 8, "absent": 0, "missed": missed, "invented": 1},
            "tumour": {"cases": 8, "absent": 8, "missed": 0, "invented": 0},
        },
        "distance_unit": "mm",
    }


def run_of(networks: dict[str, Any], trained: tuple[TrainedNetwork, ...] = (), kind: str = "segmentation") -> Run:
    task = {"kind": kind, "class_names": list(CLASSES), "channels": 1, "image_size": [8, 8]}
    summary = {"method": "mixsearch", "chosen": "mixsearch", "task": task, "networks": networks}
    return Run(Path("run"), summary, {}, {}, {}, (), "", (), trained)


def scores(*values: tuple[str, str, float | None]) -> tuple[dict[str, Any], ...]:
    return tuple({"case": case, "class": name, "dice": dice} for case, name, dice in values)


def test_classes_are_told_by_network_with_what_was_left_out():
    (table,) = mask_class_tables(run_of({"unet": results(0.7, missed=2), "mixsearch": results(0.8)}))
    assert list(table.head) == [
        *("Class", "Network", "Dice", "95 % Hausdorff distance\nmm", "Missed", "Invented", "Left out")
    ]
    assert [list(line) for line in table.rows] == [
        ["liver", "MixSearch", "0.800", "3.500", "0", "1", "0"],
        ["liver", "U-Net", "0.700", "3.500", "2", "1", "0"],
        ["tumour", "MixSearch", "undefined", "undefined", "0", "0", "8"],
        ["tumour", "U-Net", "undefined", "undefined", "0", "0", "8"],
    ]
    assert table.details[0][2] == "0.700–0.900"
    assert table.raw[1] == ["liver", "mixsearch", 0.8, 0.7000000000000001, 0.9, 3.5, 3.4, 0.9, 0, 1, 0]


def test_several_data_sets_have_a_table_each():
    one = {"mixsearch": {"test": {"dice": row(0.8)}, "datasets": {"cells": results(0.7), "vessels": results(0.9)}}}
    found = mask_class_tables(run_of(one))
    assert [table.name for table in found] == ["classes_cells", "classes_vessels"]
    assert found[1].rows[0][2] == "0.900"


def test_other_tasks_have_no_such_table():
    assert mask_class_tables(run_of({"mixsearch": results(0.8)}, kind="multi-class")) == []
    assert mask_class_tables(run_of({"mixsearch": {"test": {}}})) == []


def test_the_table_of_networks_names_the_unit_of_distances():
    assert "95 % Hausdorff distance\nmm" in network_table(run_of({"mixsearch": results(0.8)})).head


def test_the_dice_of_a_case_is_the_mean_over_classes_then_trainings():
    trained = (
        TrainedNetwork(
            "mixsearch", 0, 0, scores=scores(("a", "liver", 0.4), ("a", "tumour", 0.8), ("b", "liver", None))
        ),
        TrainedNetwork("mixsearch", 0, 1, scores=scores(("a", "liver", 0.8), ("a", "tumour", None))),
    )
    run = run_of({"mixsearch": results(0.8), "unet": results(0.7)}, trained)
    assert case_dice(run, "") == {"mixsearch": [pytest.approx(0.7)]}  # nothing is defined of case b
    (figure,) = case_strips(run)
    assert figure.name == "case_dice"


def test_strips_hold_every_network_and_repeat_exactly():
    values = {"mixsearch": [0.2, 0.9, 0.9], "unet": [0.5], "dynunet": []}
    first, second = (strip_figure("dice", "Dice", "Dice", values) for _ in range(2))
    assert first is not None
    assert first == second
    assert "MixSearch" in first.body
    assert "U-Net" in first.body
    assert "DynUNet" not in first.body
    assert strip_figure("dice", "Dice", "Dice", {"unet": []}) is None


def test_many_cases_make_a_figure_of_bounded_size():
    figure = strip_figure("dice", "Dice", "Dice", {"unet": [k / 5000 for k in range(5000)]})
    assert figure is not None
    assert len(figure.body) < 20_000
