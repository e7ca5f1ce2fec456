"""`archimed data cache`: what is kept, where, and how to be rid of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import command


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A tree of images of two classes."""
    for number in range(12):
        path = tmp_path / "images" / ("benign", "malignant")[number % 2] / f"Doe^Jane{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (12, 10), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_an_empty_cache(folder: Path) -> None:
    said = command("data", "cache")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout == f"0.0 MiB in {folder}\n"
    assert json.loads(command("data", "cache", "--json").stdout) == {"folder": str(folder), "sets": []}
    assert command("data", "cache", "--clear").stdout == "0.0 MiB freed.\n"
    assert not folder.exists()


def test_what_is_kept_is_shown_and_deleted(images: Path, folder: Path) -> None:
    assert command("data", "check", str(images)).code == 0
    shown = command("data", "cache").stdout.splitlines()
    assert len(shown) == 2
    assert "12 images, 1x12x10, uint8" in shown[1]
    assert "Doe" not in shown[1]
    told = json.loads(command("data", "cache", "--json").stdout)
    assert [one["key"][:12] for one in told["sets"]] == [shown[1][:12]]
    before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    cleared = command("data", "cache", "--clear", "--json")
    assert json.loads(cleared.stdout) == {"folder": str(folder), "freed": before}
    assert list(folder.iterdir()) == []
    assert command("data", "check", str(images)).code == 0


def test_a_cache_of_someone_else_is_not_deleted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr("archimed.data.preparation.cache_folder.os.access", lambda *_: False)
    said = command("data", "cache", "--clear")
    assert said.code == 2
    assert len(said.stderr.splitlines()) == 1
    assert "not yours to write" in said.stderr
