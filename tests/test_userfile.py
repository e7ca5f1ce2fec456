from pathlib import Path

import pytest

from archimed.errors import SettingsError
from archimed.userfile import is_user_object, load_object


@pytest.mark.parametrize(
    ("name", "answer"),
    [("mine.py:Space", True), ("/a/b/mine.py:Space", True), ("mstf-nas", False), ("mine.py", False), ("a:b", False)],
)
def test_the_form_of_a_user_object(name: str, answer: bool) -> None:
    assert is_user_object(name) is answer


def test_an_object_is_loaded_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("VALUE = {'a': 3}\n")
    assert load_object(f"{tmp_path}/mine.py:VALUE") == {"a": 3}


def test_dataclasses_in_the_file_work(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass, field\n"
        "from typing import ClassVar\n"
        "@dataclass(frozen=True)\nclass Mine:\n    name: ClassVar[str] = 'mine'\n    x: int = 3\n"
    )
    assert load_object(f"{tmp_path}/mine.py:Mine")().x == 3


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        (None, "absent.py:Mine", "there is no file"),
        ("x = 1\n", "mine.py:Mine", "has no 'Mine'"),
        ("import not_installed_anywhere\n", "mine.py:Mine", "ModuleNotFoundError"),
        ("1 / 0\n", "mine.py:Mine", "ZeroDivisionError"),
        ("def (:\n", "mine.py:Mine", "SyntaxError"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str | None, name: str, complaint: str) -> None:
    if content is not None:
        (tmp_path / "mine.py").write_text(content)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_object(f"{tmp_path}/{name}")
    assert str(tmp_path) in str(caught.value)
