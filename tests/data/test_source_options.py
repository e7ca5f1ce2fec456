from pathlib import Path

import numpy as np
import pytest

from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.data.source_options import own_settings
from archimed.errors import SettingsError


def test_options_are_settings_of_one_source() -> None:
    base = DataSettings(channels=1, folds=2, columns={"id": "name"})
    path, found = own_settings(
        "a/b?image_pattern=Image_{patient}[LR].jpg&mask_pattern={stem}_1stHO.png&channels=3&image_size=[32, 48]"
        "&modalities=pet,ct&columns.patient=who",
        base,
    )
    assert path == "a/b"
    assert found.image_pattern == "Image_{patient}[LR].jpg"
    assert found.mask_pattern == "{stem}_1stHO.png"
    assert (found.channels, found.image_size, found.folds) == (3, (32, 48), 2)
    assert found.modalities == ("pet", "ct")
    assert found.columns == {"id": "name", "patient": "who"}


def test_a_pattern_that_is_no_yaml_is_plain_text() -> None:
    assert own_settings("a?image_pattern=*.png", DataSettings())[1].image_pattern == "*.png"


@pytest.mark.parametrize("source", ["phantom:cells?cases=20&size=16", "plain.csv"])
def test_sources_without_options_stay(source: str) -> None:
    assert own_settings(source, DataSettings()) == (source, DataSettings())


def test_a_path_with_a_question_mark_stays_a_path(tmp_path: Path) -> None:
    odd = tmp_path / "who?.csv"
    odd.touch()
    assert own_settings(str(odd), DataSettings())[0] == str(odd)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a?imagepattern=x", "got 'imagepattern=x'. Did you mean image_pattern?"),
        ("a?folds=3", "got 'folds=3'"),
        ("a?channels", "got 'channels'"),
        ("a?channels=2", "After . of a: channels: input should be 1 or 3; got 2. Correct it."),
    ],
)
def test_what_is_no_option_is_refused(source: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        own_settings(source, DataSettings())
    assert "\n" not in str(error.value)


def test_two_forms_are_read_in_one_run(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (30, 12, 12, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "set.npz",
        **{
            f"{split}_{what}": images[:10] if what == "images" else np.arange(10)[:, None] % 2
            for split in ("train", "val", "test")
            for what in ("images", "labels")
        },
    )
    settings = DataSettings()
    assert load_dataset(str(tmp_path / "set.npz"), settings, 0).task.channels == 3
    found = load_dataset(f"{tmp_path / 'set.npz'}?channels=1&image_size=16", settings, 0)
    assert (found.name, found.task.channels, found.task.image_size) == ("set", 1, (16, 16))
    assert load_dataset(f"{tmp_path / 'set.npz'}?image_size=16", settings, 0, 8).task.image_size == (8, 8)
