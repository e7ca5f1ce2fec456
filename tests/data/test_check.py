import json
from collections.abc import Callable
from pathlib import Path

from archimed.data.check import check_dataset
from archimed.data.settings import DataSettings

Rows = list[dict[str, object]]
Write = Callable[..., str]


def test_good_data_give_a_table_and_no_problem(table_rows: Rows, write_table: Write) -> None:
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    table = dict(check.table)
    assert not check.problems
    assert not check.fatal
    assert (table["cases"], table["patients"], table["image size"]) == ("12", "6", "12 x 10")
    assert table["task"] == "binary: benign, malignant"
    total = sum(int(table[name].split(":")[0]) for name in ("train", "validation", "test"))
    assert total == 12
    assert json.loads(json.dumps(check.to_json()))["table"]["cases"] == "12"


def test_every_bad_case_is_reported_not_only_the_first(
    tmp_path: Path, table_rows: Rows, write_table: Write, make_image: Callable[..., str]
) -> None:
    table_rows[1]["label"] = ""
    table_rows[3]["image"] = "none.png"
    (tmp_path / str(table_rows[5]["image"])).write_bytes(b"broken")
    make_image(str(table_rows[7]["image"]), size=(20, 20))
    make_image(str(table_rows[9]["image"]), mode="RGB")
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    fatal = [problem.message for problem in check.problems if problem.fatal]
    assert check.fatal
    assert len(fatal) == 5
    for line in (3, 5, 7, 9, 11):
        assert sum(f"line {line} of cases.csv" in message for message in fatal) == 1
    assert dict(check.table)["cases"] == "7"


def test_equal_images_in_two_splits_are_a_caution(
    table_rows: Rows, write_table: Write, make_image: Callable[..., str]
) -> None:
    for number, row in enumerate(table_rows):
        row["split"] = ["train", "validation", "test"][number // 4]
    make_image(str(table_rows[9]["image"]), seed=2)
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    assert not check.fatal
    (problem,) = check.problems
    assert "line 4 of cases.csv (train), line 11 of cases.csv (test)" in problem.message
    assert dict(check.table)["same image in several splits"] == "1"


def test_unreadable_data_give_one_problem_and_no_table(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"broken")
    check = check_dataset(str(tmp_path / "a.npz"), DataSettings(), 0)
    assert check.fatal
    assert check.table == ()
    assert len(check.problems) == 1
    assert check_dataset("nonsense", DataSettings(), 0).fatal


def test_data_that_cannot_be_divided_still_give_a_table(table_rows: Rows, write_table: Write) -> None:
    check = check_dataset(write_table(table_rows), DataSettings(folds=5), 0)
    assert check.fatal
    assert dict(check.table)["folds"] == "0"
    assert "at least 5 patients" in check.problems[0].message
