"""The index of a folder of runs: what it lists, what it opens, and what it sorts by."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest

from archimed.errors import RunError
from archimed.report.index import is_folder_of_runs, runs_below, write_index


def made(folder: Path, auc: float | None = None, report: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "experiment.yaml").write_text("method: darts\n")
    (folder / "splits.json").write_text("{}")
    if auc is not None:
        cell = {"value": auc, "low": auc - 0.1, "high": auc + 0.1}
        networks = {"darts": {"test": {"auc": cell}, "parameters": 54_000, "macs": 2_000_000}}
        summary = {
            "chosen": "darts",
            "data": "<breast>",
            "networks": networks,
            "cautions": ["one"],
            "seconds": {"train": 90.0},
        }
        (folder / "summary.json").write_text(json.dumps(summary))
        if report:
            (folder / "report.html").write_text("")
    return folder


@pytest.fixture
def runs(tmp_path):
    made(tmp_path / "a", 0.8)
    made(tmp_path / "study" / "b", 0.9, report=False)
    made(tmp_path / "c")
    (made(tmp_path / "d", 0.7) / "networks.jsonl").write_text("")
    return tmp_path


def test_runs_are_found_and_correlations_left_out(runs):
    assert [path.relative_to(runs).as_posix() for path in runs_below(runs)] == ["a", "c", "study/b"]
    assert is_folder_of_runs(runs)
    assert not is_folder_of_runs(runs / "a")


def test_the_table_opens_reports_and_knows_numbers_to_sort_by(runs):
    page = write_index(runs).read_text(encoding="utf-8")
    assert '<a href="a/report.html">a</a>' in page
    assert "study/b/report.html" not in page
    assert re.search(r'data-number="0.9"[^>]*>0.900 \(0.800–1.000\)<', page)
    assert re.search(r'data-number="54000"[^>]*>54 k<', page)
    assert "1 is unfinished" in page
    assert "&lt;breast&gt;" in page
    assert "<breast>" not in page


def test_the_page_allows_its_own_script_alone(runs):
    page = write_index(runs).read_text(encoding="utf-8")
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(RunError, match="has none below it"):
        write_index(tmp_path)
