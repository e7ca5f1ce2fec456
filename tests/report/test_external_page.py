"""The page of an external validation: results stand beside the run's own test, with the difference in words."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from archimed.report.external import contents, share_table, verdict, write_external


def cell(value: float | None, half: float = 0.1) -> dict[str, float | None]:
    return {"value": value, "low": value and value - half, "high": value and value + half}


def document(**other: Any) -> dict[str, Any]:
    auc = {"test": {"auc": cell(0.7)}, "test_of_the_run": {"auc": cell(0.9)}, "difference": {"auc": cell(-0.2, 0.14)}}
    channels = {"p1": 0.0, "median": 80.0, "p99": 200.0}
    told: dict[str, Any] = {
        "data": "other hospital",
        "task": {"kind": "binary"},
        "trained_data": ["breast"],
        "cases": 120,
        "patients": None,
        "chosen": "mstf-nas",
        "networks": {"densenet121": {"test": {"auc": cell(0.75)}, "test_of_the_run": {}}, "mstf-nas": auc},
        "groups": [{"by": "sex", "group": "F", "cases": 60, "too_few": False, "networks": {"mstf-nas": auc["test"]}}],
        "drift": {
            "channels": [{"channel": "grey", "run": channels, "data": channels | {"median": None}}],
            "classes": [{"class": "<ill>", "run": 0.25, "data": 0.5}],
        },
        "cautions": ["All 120 cases were predicted."],
    }
    return told | other


def test_the_page_is_one_file_beside_tables_and_figures(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(json.dumps(document()))
    page = write_external(tmp_path).read_text(encoding="utf-8")
    assert "MSTF-NAS on other hospital" in page
    assert "Lower than in the run&#39;s own test, beyond noise: \u22120.20 (\u22120.34 to \u22120.06)." in page
    assert "&lt;ill&gt;" in page
    assert "<script" not in page
    for told in ("Results by group", "How the data differ", "+25.0 points", "All 120 cases were predicted."):
        assert told in page
    with (tmp_path / "tables" / "networks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["network"] for row in rows] == ["mstf-nas", "densenet121"]
    assert (rows[0]["test"], rows[0]["difference_low"]) == ("0.7", str(-0.2 - 0.14))
    assert (tmp_path / "figures" / "beside_auc.svg").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (None, "There is no result of the run's own test"),
        (cell(None), "There is no result of the run's own test"),
        (cell(0.05), "Inside the noise of the run's own test: +0.05 (\u22120.05 to +0.15)."),
        (cell(0.2), "Higher than in the run's own test, beyond noise: +0.20"),
        ({"value": -0.2, "low": None, "high": None}, "too few cases to tell"),
    ],
)
def test_the_difference_in_words(change: object, told: str) -> None:
    assert told in verdict(change)


def test_without_drift_groups_or_a_defined_metric_the_page_still_stands(tmp_path: Path) -> None:
    undefined = {"test": {"auc": cell(None), "accuracy": cell(0.5)}, "test_of_the_run": {}, "difference": {}}
    bare = document(networks={"mstf-nas": undefined}, groups=[], drift=None)
    assert contents(bare)["headline"]["metric"] == "Accuracy"
    (tmp_path / "summary.json").write_text(json.dumps(bare))
    page = write_external(tmp_path).read_text(encoding="utf-8")
    assert "Of a run of several data sets, intensities and classes are not compared." in page
    assert "Results by group" not in page


def test_masks_are_told_by_class_and_shares_as_occurrence() -> None:
    masks = {"test": {"dice": cell(0.8)}, "classes": {"test": {"cell": {"dice": cell(0.8), "hausdorff_95": cell(3.0)}}}}
    page = contents(document(networks={"mstf-nas": masks | {"distance_unit": "mm"}}, task={"kind": "segmentation"}))
    assert page["classes"].head == ["Class", "Dice", "95 % Hausdorff distance\nmm"]
    assert page["shares"].caption == "Share of the cases in which a class occurs"
    assert share_table((), several=False) is None
