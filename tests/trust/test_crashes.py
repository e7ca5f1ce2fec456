"""The harness of `make trust`, for a few moments; and that it sees what it looks for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.trust.crashes import BrokenError, check_whole, check_whole_files


@pytest.mark.slow
def test_killed_at_a_few_moments_runs_end_as_unbroken_ones() -> None:
    words = [sys.executable, "-m", "tests.trust", "--moments", "3", "--methods", "random-search,zen-nas", "--seed", "5"]
    said = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert said.returncode == 0, said.stdout + said.stderr
    assert "0 broken" in said.stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b'{"a": 1'),
        ("a.jsonl", b'{"a": 1\n{"a": 2}\n'),
        ("a.safetensors", b"\x20\0\0\0\0\0\0\0{}"),
        ("a.svg", b"<svg><g>"),
        ("a.html", b"<html><body>"),
        ("experiment.yaml", b"method: [a"),
    ],
)
def test_a_half_written_file_is_seen(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BrokenError, match=f"half-written: {name}"):
        check_whole_files(tmp_path)


def test_a_log_may_end_within_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a"')
    check_whole(tmp_path / "a.jsonl")
    check_whole_files(tmp_path)
