"""Drawn files of every format, whole, with odd headers, and damaged: read rightly, or refused in one short line."""

from pathlib import Path

import pytest

from tests.trust.fuzz import try_property
from tests.trust.properties import BYTE_TARGETS, IMAGE_TARGETS

EXAMPLES = 25  # of each; `python -m tests.trust fuzz` tries as many as there is time for


@pytest.mark.parametrize("name", IMAGE_TARGETS)
def test_a_drawn_image_is_read_rightly_or_refused(tmp_path: Path, name: str) -> None:
    tally = try_property(IMAGE_TARGETS[name], tmp_path, EXAMPLES)
    assert tally["read"]
    assert tally["refused"]


@pytest.mark.parametrize("name", BYTE_TARGETS)
def test_a_damaged_list_of_cases_or_run_is_read_or_refused(tmp_path: Path, name: str) -> None:
    assert try_property(BYTE_TARGETS[name], tmp_path, EXAMPLES)["refused"]
