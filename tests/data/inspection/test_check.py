import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archimed.data.inspection.check import DataCheck, check_dataset
from archimed.data.settings import DataSettings

Rows = list[dict[str, object]]
Write = Callable[..., str]


def messages(check: DataCheck, *, fatal: bool) -> list[str]:
    return [problem.message for problem in check.problems if problem.fatal == fatal]


def test_good_data_are_told_in_full_and_have_no_problem(table_rows: Rows, write_table: Write, tmp_path: Path) -> None:
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    assert not check.problems
    assert not check.fatal
    found = json.loads(json.dumps(check.to_json()))["data"]
    assert (found["cases"], found["patients"], found["folds"]) == (12, 6, 1)
    assert (found["task"]["kind"], found["task"]["class_names"]) == ("binary", ["benign", "malignant"])
    assert found["images"]["shapes"] == {
        "smallest": [12, 10], "median": [12, 10], "largest": [12, 10], "different": 1
    }  # fmt: skip
    assert found["spacing_mm"] is None
    (channel,) = found["channels"].values()
    pixels = np.stack([np.asarray(Image.open(tmp_path / str(row["image"]))) for row in table_rows])
    shares = np.quantile(pixels, (0, 0.01, 0.5, 0.99, 1), method="inverted_cdf").tolist()
    assert [channel[name] for name in ("min", "p1", "median", "p99", "max")] == shares
    (division,) = found["divisions"]
    assert sum(split["cases"] for split in division.values()) == 12
    assert sum(split["patients"] for split in division.values()) == 6
    assert sum(sum(split["classes"].values()) for split in division.values()) == 12
    assert found["duplicates"]["equal_images"] == found["duplicates"]["alike_pairs"] == 0
    assert "Doe" not in json.dumps(found)
    assert "patient_hashes" not in found


def test_progress_is_told_while_reading_and_while_looking(table_rows: Rows, write_table: Write) -> None:
    told: list[tuple[int, int]] = []
    check_dataset(write_table(table_rows), DataSettings(cache=False), 0, lambda done, total: told.append((done, total)))
    assert told[-1] == (12, 12)
    assert told[:12] == [(row, 12) for row in range(1, 13)]


def test_every_bad_case_is_reported_not_only_the_first(
    tmp_path: Path, table_rows: Rows, write_table: Write, make_image: Callable[..., str]
) -> None:
    (tmp_path / str(table_rows[1]["image"])).unlink()
    (tmp_path / str(table_rows[3]["image"])).write_bytes(b"no image")
    make_image(str(table_rows[5]["image"]), size=(9, 10))
    table_rows[7]["label"] = ""
    make_image(str(table_rows[9]["image"]), mode="RGB")
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    fatal = messages(check, fatal=True)
    assert check.fatal
    assert len(fatal) == 5
    for line in (3, 5, 7, 9, 11):
        assert sum(f"line {line} of cases.csv" in message for message in fatal) == 1
    assert check.data is not None
    assert check.data["cases"] == 7


def test_equal_images_in_two_splits_are_a_caution(
    table_rows: Rows, write_table: Write, make_image: Callable[..., str]
) -> None:
    for number, row in enumerate(table_rows):
        row["split"] = ["train", "validation", "test"][number // 4]
    make_image(str(table_rows[9]["image"]), seed=2)
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    assert not check.fatal
    (message,) = messages(check, fatal=False)
    assert (
        "lies in several splits, with different labels: line 4 of cases.csv (train), line 11 of cases.csv (test)"
        in (message)
    )
    assert check.data is not None
    duplicates = check.data["duplicates"]
    assert (duplicates["equal_images"], duplicates["equal_across_splits"]) == (1, 1)
    assert duplicates["equal_with_different_labels"] == 1


def test_equal_images_in_a_later_fold_are_found(table_rows: Rows, write_table: Write) -> None:
    for number, row in enumerate(table_rows):
        row["fold"] = number // 4
    table_rows[1]["image"] = table_rows[2]["image"]  # of fold 0, so together in its test split and apart in a later one
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    (message,) = messages(check, fatal=False)
    assert "splits of fold 2" in message
    assert "line 3 of cases.csv (train), line 4 of cases.csv (validation)" in message


def test_equal_images_of_two_patients_in_one_split_are_a_caution(table_rows: Rows, write_table: Write) -> None:
    for number, row in enumerate(table_rows):
        row["split"] = ["train", "validation", "test"][number // 4]
    table_rows[1]["image"] = table_rows[2]["image"]
    (message,) = messages(check_dataset(write_table(table_rows), DataSettings(), 0), fatal=False)
    assert message.startswith("1 image occurs more than once within a split under different patients")


def test_images_that_look_alike_in_two_splits_are_a_caution(
    table_rows: Rows, write_table: Write, tmp_path: Path
) -> None:
    for number, row in enumerate(table_rows):
        row["split"] = ["train", "validation", "test"][number // 4]
    image = np.asarray(Image.open(tmp_path / str(table_rows[2]["image"])))
    Image.fromarray((image * 0.8 + 20).astype(np.uint8)).save(tmp_path / str(table_rows[9]["image"]))
    check = check_dataset(write_table(table_rows), DataSettings(), 0)
    (message,) = messages(check, fatal=False)
    assert message.startswith("1 pair of images in different splits look alike")
    assert "line 4 of cases.csv and line 11 of cases.csv" in message
    assert check.data is not None
    (pair,) = check.data["duplicates"]["alike"]
    assert pair["cases"] == ["case-00003", "case-00010"]
    assert pair["across_splits"]


def test_unreadable_data_give_one_problem_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"broken")
    check = check_dataset(str(tmp_path / "a.npz"), DataSettings(), 0)
    assert check.fatal
    assert check.data is None
    assert len(check.problems) == 1
    assert check_dataset("nonsense", DataSettings(), 0).fatal


def test_data_that_cannot_be_divided_are_still_told(table_rows: Rows, write_table: Write) -> None:
    check = check_dataset(write_table(table_rows), DataSettings(folds=5), 0)
    assert check.fatal
    assert check.data is not None
    assert check.data["folds"] == 0
    assert check.data["divisions"] == []
    assert "at least 5 patients" in check.problems[0].message


def test_a_single_image_is_shown_and_needs_labels(tmp_path: Path, make_image: Callable[..., str]) -> None:
    path = tmp_path / make_image("one.png", size=(20, 30))
    check = check_dataset(str(path), DataSettings(), 0)
    assert check.fatal
    assert check.data is not None
    assert check.data["images"] == {
        "type": "uint8",
        "shapes": {"smallest": [20, 30], "median": [20, 30], "largest": [20, 30], "different": 1},
    }
    (problem,) = check.problems
    assert problem.message.startswith("A run needs images with labels")
    path.write_bytes(path.read_bytes()[:60])
    broken = check_dataset(str(path), DataSettings(), 0)
    assert broken.data is None
    assert "must be readable" in broken.problems[0].message


def test_a_nifti_volume_tells_its_spacing_and_size(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8), np.diag([0.5, 0.5, 3, 1]))
    nibabel.save(image, tmp_path / "one.nii.gz")
    check = check_dataset(str(tmp_path / "one.nii.gz"), DataSettings(), 0)
    assert check.data is not None
    assert check.data["images"]["shapes"]["largest"] == [8, 7, 6]
    assert check.data["spacing_mm"]["largest"] == [3, 0.5, 0.5]
    (channel,) = check.data["channels"].values()
    assert (channel["min"], channel["max"]) == (0, 335)
