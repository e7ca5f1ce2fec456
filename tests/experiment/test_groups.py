"""Results by sex, age and scanner: as measured on each group's cases alone, in the summary and the report."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from archimed.data.formats.fields import age_text
from archimed.evaluation.groups import age_group, groups_of
from tests.experiment.tiny import read, tiny_run


@pytest.mark.parametrize(
    ("years", "group"),
    [(0, "0-17"), (17.9, "0-17"), (18, "18-39"), (59, "40-59"), (79, "60-79"), (80, "80+"), (101, "80+")],
)
def test_ages_fall_into_bands(years: float, group: str) -> None:
    assert age_group(years) == group


def test_ages_are_read_as_dicom_and_people_write_them() -> None:
    written = ["045Y", "18M", "63", "63.0", "", "60-70", "unknown"]
    assert [age_text(text) for text in written] == ["45", "1.5", "63", "63", "", "60-70", "unknown"]
    assert groups_of({"age": "63", "sex": "F"}) == {"age": "60-79", "sex": "F"}
    assert groups_of({"age": "60-70"}) == {"age": "60-70"}


def test_a_run_tells_groups_apart_and_how_long_a_case_takes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["image,label,split,sex,age,scanner"]
    sexes = {}
    for number in range(72):
        image = rng.integers(0, 150, (12, 12), dtype=np.uint8)
        image[2:8, 2:8] += np.uint8(60 * (number % 2))
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        split = ("train", "validation", "test")[number // 2 % 3]
        sexes[f"case-{number + 1:05d}"] = "FM"[number // 6 % 2]
        lines.append(f"{number}.png,{number % 2},{split},{'FM'[number // 6 % 2]},{20 + number // 2},A")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    run = tiny_run(tmp_path / "cases.csv", tmp_path / "run", data__cache=False, training__epochs=1)
    summary = read(run / "summary.json")
    groups = {(one["by"], one["group"]): one for one in summary["groups"]}
    assert [*groups] == [("sex", "F"), ("sex", "M"), ("age", "18-39"), ("age", "40-59")]  # one scanner is no group
    with (run / "networks" / "mstf-nas" / "fold0.seed0" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and sexes[row["case"]] == "F"]
    assert groups["sex", "F"]["cases"] == len(rows) == 12
    own = roc_auc_score([int(row["label"]) for row in rows], [float(row["probability_1"]) for row in rows])
    assert groups["sex", "F"]["networks"]["mstf-nas"]["auc"]["value"] == pytest.approx(own)
    assert summary["seconds"]["case"]["mstf-nas"] > 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Results by group" in page
    assert "sex: F" in page
    assert "One case" in page
