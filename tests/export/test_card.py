"""The model card: results by group where the data tell of groups, and of several data sets those of the own one."""

from typing import Any

from archimed.data.dataset import SPLIT_NAMES
from archimed.export.card import model_card
from archimed.task import ImagingTask

TASK = ImagingTask("binary", ("healthy", "ill"), 1, (28, 28))
PART = {"cases": 30, "patients": None}
DATA = {
    "name": "breast",
    "cases": 90,
    "folds": 1,
    "splits": dict.fromkeys(SPLIT_NAMES, PART),
    "counts": {split: {"healthy": 20, "ill": 10} for split in SPLIT_NAMES},
    "notes": ["Some images are equal."],
}


def cell(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": value and value - 0.1, "high": value and value + 0.1}


def group(by: str, name: str, value: float | None, *, too_few: bool = False) -> dict[str, Any]:
    metrics = {"auc": cell(value), "sensitivity": cell(0.5), "brier": cell(0.2)}
    return {"by": by, "group": name, "cases": 12, "too_few": too_few, "networks": {"mstf-nas": metrics}}


def network(value: float) -> dict[str, Any]:
    return {"parameters": 1000, "macs": 5000, "test": {"auc": cell(value)}, "repeats": [{}, {}]}


def card(summary: dict[str, Any], data: dict[str, Any] = DATA) -> str:
    told = {"method": "mstf-nas", "chosen": "mstf-nas", "cautions": ["It was trained once."]} | summary
    steps = {"steps": ["Resize.", "Normalise."]}
    return model_card(told, data, {"method": "mstf-nas"}, "mstf-nas", TASK, steps, "fold 0")


def test_groups_stand_in_one_table_and_few_cases_are_told() -> None:
    groups = [group("sex", "F", 0.8), group("sex", "M", 0.7, too_few=True), group("scanner", "A|B", None)]
    lines = card({"networks": {"mstf-nas": network(0.75)}, "groups": groups}).splitlines()
    head = lines.index("| group | test cases | AUC | Sensitivity |")
    assert lines[head + 2 : head + 5] == [
        "| sex: F | 12 | 0.800 (0.700 to 0.900) | 0.500 (0.400 to 0.600) |",
        "| sex: M | 12, too few to say much | 0.700 (0.600 to 0.800) | 0.500 (0.400 to 0.600) |",
        "| scanner: A/B | 12 | undefined | 0.500 (0.400 to 0.600) |",
    ]
    assert "- It was trained once." in lines
    assert "- Some images are equal." in lines


def test_without_groups_or_results_of_the_network_by_group_there_is_no_table() -> None:
    other = group("sex", "F", 0.8) | {"networks": {"resnet18": {"auc": cell(0.9)}}}
    for groups in ([], [other]):
        assert "By group" not in card({"networks": {"mstf-nas": network(0.75)}, "groups": groups})


def test_of_several_data_sets_the_card_tells_those_of_its_own() -> None:
    results = network(0.7) | {"datasets": {"breast": network(0.8), "chest": network(0.6)}}
    own = {"groups": [group("sex", "F", 0.81)], "calibration": {"mstf-nas": {"expected_calibration_error": 0.123}}}
    other = {"groups": [group("age", "0-17", 0.61)], "calibration": {"mstf-nas": {"expected_calibration_error": 0.321}}}
    text = card({"networks": {"mstf-nas": results}, "datasets": {"breast": own, "chest": other}})
    assert "| AUC | 0.800 |" in text
    assert "| sex: F | 12 | 0.810" in text
    assert "age: 0-17" not in text
    assert "Expected calibration error: 0.123." in text
