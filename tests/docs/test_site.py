"""The site holds every page, and builds without a warning and without anything from elsewhere where MkDocs is there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GENERATED = {"contributing.md"}  # by docs/_site/hooks.py
LOADED = re.compile(r"""<(?:link|script|img|iframe)[^>]+(?:href|src)=["']?(https?:)?//""")


def pages_of(nav: list[Any]) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from pages_of(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert {*pages_of(nav)} == pages | GENERATED


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="the extra docs is not installed")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    said = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
    for page in (tmp_path / "site").rglob("*.html"):
        found = LOADED.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page.name} loads {found[0] if found else ''}"
    assert (tmp_path / "site" / "examples" / "own_indicator.html").is_file()
