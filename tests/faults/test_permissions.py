"""Folders that may not be written to: exit code 2, one line that names the place, and nothing changed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import command
from tests.experiment.tiny import TINY, command_line_settings, tiny_run, write_npz
from tests.faults.permissions import read_only

SETTINGS = command_line_settings(TINY)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, an image, and a finished run of them."""
    folder = tmp_path_factory.mktemp("made")
    tiny_run(write_npz(folder / "data.npz"), folder / "run")
    Image.fromarray(np.full((12, 12), 90, np.uint8)).save(folder / "new.png")
    return folder


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_one_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with read_only(tmp_path):
        for name in ("a", "b"):
            with pytest.raises(PermissionError):
                (tmp_path / name).write_text("b")
    (tmp_path / "b").write_text("b")


@pytest.mark.parametrize("verb", ["run", "resume", "train", "report", "explain", "predict", "export"])
def test_nothing_is_written_where_nothing_may_be(made: Path, verb: str) -> None:
    run, new = str(made / "run"), str(made / "new")
    words = {
        "run": ["run", "mstf-nas", "--data", str(made / "data.npz"), "--out", new, *SETTINGS],
        "resume": ["resume", run],
        "train": ["train", run, "--fresh"],
        "report": ["report", run],
        "explain": ["explain", run, "--out", new],
        "predict": ["predict", run, str(made / "new.png"), "--out", f"{new}.csv"],
        "export": ["export", run, "--format", "source", "--out", new],
    }[verb]
    before = content_of(made)
    with read_only(made):
        said = command(*words)
    last = said.stderr.splitlines()[-1]
    assert said.code == 2, said.stderr
    assert "Traceback" not in said.stderr
    assert "Permission denied" in last
    assert str(made) in last
    assert content_of(made) == before


def test_a_run_that_may_only_be_read_is_read(made: Path) -> None:
    before = content_of(made)
    with read_only(made):
        said = command("predict", str(made / "run"), str(made / "new.png"))
    assert said.code == 0, said.stderr
    assert "new.png" in said.stdout
    assert content_of(made) == before


@pytest.mark.parametrize("name", ["ARCHIMED_CACHE", "ARCHIMED_CONFIG"])
def test_a_folder_of_the_user_that_may_not_be_written_to(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "own").mkdir()
    monkeypatch.setenv(name, str(tmp_path / "own" / "below"))
    with read_only(tmp_path / "own"):
        said = command("data", "check", str(made / "data.npz"))
    assert said.code in (0, 2), said.stderr
    assert "Traceback" not in said.stderr
    if said.code:
        assert str(tmp_path / "own") in said.stderr.splitlines()[-1]
