import subprocess
import sys
from pathlib import Path

import pytest

from archimed.errors import SettingsError
from archimed.spaces import space_from_settings, space_settings
from archimed.spaces.multiscale_cell import MultiscaleCellSpace
from archimed.task import ImagingTask
from archimed.testing import check_search_space

MINE = """
from dataclasses import dataclass
from torch import nn
from archimed.genotype import Choice

@dataclass(frozen=True)
class Mine:
    width: int = 4

    @property
    def choices(self):
        return (Choice("layer", ("linear", "wide")),)

    def build(self, genotype, task):
        hidden = self.width * (1 + genotype[0])
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(task.channels, hidden),
                             nn.Linear(hidden, task.num_outputs))

READY = Mine(width=6)
NUMBER = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_hyphens_count_as_underscores() -> None:
    assert space_from_settings("multiscale-cell", {"width": 8}) == MultiscaleCellSpace(width=8)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("multi-scale_cell", {}, "Did you mean multiscale_cell?"),
        ("darts", {}, "Did you mean darts_cell?"),
        ("multiscale_cell", {"num_block": 3}, "Did you mean num_blocks?"),
        ("multiscale_cell", {"stem_stride": 3}, "space.stem_stride: .*got 3"),
        ("multiscale_cell", {"width": "wide"}, "space.width: .*got 'wide'"),
        ("nowhere/mine.py:Mine", {}, "no file nowhere/mine.py"),
    ],
)
def test_unknown_names_and_values_are_told(name: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        space_from_settings(name, fields, trust_files=True)
    assert "\n" not in str(caught.value)


def test_a_space_of_the_users_own_round_trips(mine: Path) -> None:
    space = space_from_settings(f"{mine}:Mine", {"width": 5}, trust_files=True)
    settings = space_settings(space)
    again = space_from_settings(str(settings.pop("name")), settings, trust_files=True)
    assert space_settings(again) == space_settings(space)
    check_search_space(space, ImagingTask("binary", ("healthy", "ill"), channels=1, image_size=(8, 8)))


def test_a_ready_space_of_the_users_own(mine: Path) -> None:
    ready = space_from_settings(f"{mine}:READY", {}, trust_files=True)
    assert space_settings(ready)["width"] == 6
    assert space_settings(space_from_settings(f"{mine}:READY", {"width": 7}, trust_files=True))["width"] == 7


def test_a_file_is_executed_only_if_trusted(tmp_path: Path) -> None:
    path = tmp_path / "evil.py"
    path.write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'harm')!r}).touch()\n")
    with pytest.raises(SettingsError, match="trust"):
        space_from_settings(f"{path}:Space", {})
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        (MINE, "Mien", "Did you mean 'Mine'?"),
        (MINE, "NUMBER", "has `choices` and `build"),
        ("1 / 0", "Mine", "ZeroDivisionError"),
    ],
)
def test_files_that_hold_no_space_are_told(tmp_path: Path, text: str, attribute: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message):
        space_from_settings(f"{path}:{attribute}", {}, trust_files=True)


def test_names_are_known_without_pytorch() -> None:
    code = "import sys; from archimed.spaces import SPACES; print(list(SPACES), 'torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'resnet'" in told.stdout
    assert told.stdout.strip().endswith("] False")
