"""`archimed data check` and `data describe` as a person meets them: a table of 80 columns, one line per problem."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archimed.cli.data_tables import MOST_ALIKE, class_table, first_of_each_kind
from archimed.data.problems import Problem
from tests.cli.command import command


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve images of six patients in a table, of classes with long names that look like markup."""
    rng = np.random.default_rng(0)
    lines = ["image,label,patient"]
    for row in range(12):
        Image.fromarray(rng.integers(0, 256, (12, 10), dtype=np.uint8)).save(tmp_path / f"{row:02d}.png")
        label = "[bold]colorectal adenocarcinoma epithelium with a long name" if row % 4 < 2 else "normal"
        lines.append(f"{row:02d}.png,{label},p{row // 2}")
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_check_fits_into_80_columns_and_tells_what_matters(table: Path) -> None:
    said = command("data", "check", str(table))
    assert said.code == 0
    lines = said.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    words = " ".join(said.stdout.split())
    assert "cases 12 of 6 patients" in words
    assert "size 12 x 10" in words
    assert "class train validation test" in words
    assert "channel min 1 % median 99 % max" in words
    assert "[bold]colorectal" in words
    assert lines[-1] == "Ready for a run."
    assert "12/12" in said.stderr
    assert command("data", "check", str(table), "--quiet").stderr == ""


def test_problems_of_one_kind_are_counted_after_the_first_few(table: Path) -> None:
    folder = table.parent
    more = [f"missing-{row:02d}.png,normal,q{row}" for row in range(MOST_ALIKE + 5)]
    table.write_text(table.read_text() + "\n".join(more) + "\n")
    said = command("data", "check", str(table))
    assert said.code == 2
    errors = [line for line in said.stdout.splitlines() if line.startswith("ERROR")]
    assert len(errors) == MOST_ALIKE
    assert str(folder / "missing-00.png") in errors[0]
    assert "and 5 more: Every image must exist" in said.stdout
    told = json.loads(command("data", "check", str(table), "--json").stdout)
    assert sum(problem["fatal"] for problem in told["problems"]) == MOST_ALIKE + 5
    assert told["data"]["cases"] == 12


def test_kinds_of_problems() -> None:
    problems = [Problem(f"Images must exist; {row} does not.", fatal=True) for row in range(3)]
    other = Problem("The same image lies in several splits: a, b.", fatal=False)
    assert first_of_each_kind([*problems, other]) == ([*problems, other], {})


def test_a_single_image_is_shown_by_both_verbs(table: Path, tmp_path: Path) -> None:
    image = str(table.parent / "00.png")
    for words in (("check", image), ("describe", image, "--out", str(tmp_path / "look"))):
        said = command("data", *words)
        assert said.code == 2
        assert "ERROR: A run needs images with labels" in said.stdout
        assert "12 x 10" in said.stdout
    assert (tmp_path / "look" / "image.png").exists()


def test_data_that_are_none_leave_no_folder(tmp_path: Path) -> None:
    said = command("data", "describe", str(tmp_path / "none.csv"), "--out", str(tmp_path / "look"))
    assert said.code == 2
    assert "must exist" in said.stderr
    assert not (tmp_path / "look").exists()


def test_several_labels_and_masks_have_columns_of_their_own() -> None:
    counts = {name: {"a": 3, "b": 0} for name in ("train", "validation", "test")}
    sizes = {name: {"cases": 4, "patients": 2} for name in counts}
    task = {"kind": "multi-label", "class_names": ["a", "b"]}
    data = {"task": task, "counts": counts, "splits": sizes, "patients": 6, "voxels": None}
    rows = class_table({**data, "unknown_labels": {"a": 0, "b": 5}})
    assert rows[0] == ["label", "train", "validation", "test", "unknown"]
    assert rows[2] == ["b", "0", "0", "0", "5"]
    assert rows[-1] == ["patients", "2", "2", "2", ""]
    task["kind"] = "segmentation"
    rows = class_table({**data, "unknown_labels": {}, "voxels": {"a": 0.9876, "b": 0.0124}})
    assert [row[-1] for row in rows[:3]] == ["area", "98.8 %", "1.24 %"]
