"""constraints.txt pins what pyproject.toml asks for, and docs/licences.md tells the licence of all of it."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.supply_chain import CONSTRAINTS, COPYLEFT, LICENCES, asked, is_installed, licence_of, version_of

AGAIN = "write both anew: python -m tests.docs.supply_chain"
PINNED = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#"))
ROWS = dict(re.findall(r"^\| (\S+) \| \S+ \| (.+) \| .+ \|$", LICENCES.read_text(), re.MULTILINE))


@pytest.mark.parametrize("text", asked(frozenset({"dev"})))
def test_what_is_asked_for_is_pinned_within_its_range(text: str) -> None:
    requirement = Requirement(text)
    name = canonicalize_name(requirement.name)
    assert name in PINNED, AGAIN
    assert requirement.specifier.contains(PINNED[name]), AGAIN


def test_constraints_name_packages_and_versions_alone() -> None:
    for name, version in PINNED.items():
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version)


def test_every_pinned_package_has_its_licence_told() -> None:
    assert set(PINNED) == set(ROWS) - {"---"} - {"package"}, AGAIN
    for name, told in ROWS.items():
        if name in PINNED and is_installed(name) and version_of(name) == PINNED[name]:
            assert told == licence_of(name), AGAIN


def test_licences_with_conditions_are_named_apart() -> None:
    apart = LICENCES.read_text().partition("## With conditions")[2]
    for name, told in ROWS.items():
        assert (f"- {name} (" in apart) == bool(COPYLEFT.search(told)), name
    assert not [name for name, told in ROWS.items() if re.search(r"\bA?GPL", told)]
