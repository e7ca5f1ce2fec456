import subprocess
import sys
from pathlib import Path

import pytest

from archimed.data import list_datasets
from archimed.data.phantoms import PHANTOMS
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import ArchimedError, DataError

USER_FILE = """
import dataclasses
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset

made = dataclasses.replace(load_dataset("phantom:lesions2d?cases=40&size=16", DataSettings(), 0), name="mine")
number = 3


def make():
    return made


def fail():
    raise RuntimeError("disk on\\nfire")
"""


def load(source: str, image_size: int | None = None) -> object:
    return load_dataset(source, DataSettings(), 0, image_size)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("brestmnist", "got 'brestmnist'. Did you mean breastmnist?"),
        ("phantom:lesion2d", "Did you mean phantom:lesions2d?"),
        ("nonsense", "Data must be a MedMNIST .npz file, .* got 'nonsense'.$"),
        ("breastmnist_99", "Did you mean breastmnist"),
        ("no/such.csv", "no file or folder no/such.csv"),
        ("missing.npz", "no file or folder missing.npz"),
        ("mine.py:make", "no file mine.py"),
    ],
)
def test_unknown_source_is_refused_with_the_nearest_name(source: str, message: str) -> None:
    with pytest.raises(ArchimedError, match=message) as error:
        load(source)
    assert "\n" not in str(error.value)


def test_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.xlsx").write_text("x")
    with pytest.raises(DataError, match="Data must be a MedMNIST"):
        load(str(tmp_path / "table.xlsx"))


def test_image_size_argument_wins() -> None:
    settings = DataSettings(image_size=32)
    assert load_dataset("phantom:lesions2d?cases=40&size=64", settings, 0).task.image_size == (32, 32)
    assert load_dataset("phantom:lesions2d?cases=40&size=64", settings, 0, 16).task.image_size == (16, 16)


@pytest.mark.parametrize("name", ["made", "make"])
def test_users_object_or_callable(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(USER_FILE)
    dataset = load_dataset(f"{tmp_path / 'mine.py'}:{name}", DataSettings(image_size=20), 0)
    assert dataset.name == "mine"
    assert dataset.images.all().shape == (40, 1, 20, 20)
    assert len(dataset.folds) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "has no 'nothing'"), ("number", "is int"), ("fail", "failed with RuntimeError: disk on fire")],
)
def test_users_mistakes_are_one_clear_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(USER_FILE)
    with pytest.raises(ArchimedError, match=message) as error:
        load(f"{tmp_path / 'mine.py'}:{name}")
    assert "\n" not in str(error.value)


def test_list_names_every_phantom_and_published_set() -> None:
    names = list_datasets()
    assert {name for name in names if name.startswith("phantom:")} == {f"phantom:{name}" for name in PHANTOMS}
    assert "chestmnist" in names


def test_listing_and_settings_need_no_torch() -> None:
    code = "import sys, archimed.data, archimed.data.settings; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0
