"""Writes constraints.txt and docs/licences.md from what is installed: `python -m tests.docs.supply_chain`.

Both tell of every package that archimed or one of its extras needs, as far as it is installed here.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
CONSTRAINTS, LICENCES = ROOT / "constraints.txt", ROOT / "docs" / "licences.md"
COPYLEFT = re.compile(r"\b[AL]?GPL|EUPL|MPL|Mozilla", re.IGNORECASE)
HEAD = "# Exact versions that the tests run with; `python -m tests.docs.supply_chain` writes them anew.\n"
PAGE = """# Licences of what archimed uses

Written by `python -m tests.docs.supply_chain` from the metadata of the installed packages; versions are those of
[constraints.txt](../constraints.txt). archimed itself is under Apache-2.0 and contains none of this code: all of it is
installed beside it, by pip, from its own authors. Extras come only when asked for: `pip install 'archimed[NAME]'`.

| package | version | licence | needed by |
| --- | --- | --- | --- |
"""
SHARED = """
## With conditions on changed copies (LGPL, EUPL, MPL)

These are used as libraries, unchanged, through their public functions, and each can be replaced by another version of
itself; that is what their licences ask for.

"""


def requirements_of(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What an installed package needs here, with some of its extras."""
    for text in asked(extras) if name == "archimed" else metadata.requires(name) or ():
        requirement = Requirement(text)
        environments: list[dict[str, str]] = [{"extra": extra} for extra in (*extras, "")]
        if requirement.marker is None or any(requirement.marker.evaluate(one) for one in environments):
            yield requirement


def asked(extras: frozenset[str]) -> list[str]:
    """What pyproject.toml asks for, with some extras."""
    project = project_table()
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


def project_table() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def closure(extra: str) -> set[str]:
    """Every installed package that archimed with an extra needs, by canonical name; "" for none."""
    found: set[str] = set()
    waiting: list[tuple[str, frozenset[str]]] = [("archimed", frozenset({extra} - {""}))]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        for requirement in requirements_of(name, extras):
            needed = canonicalize_name(requirement.name)
            key = (needed, frozenset(requirement.extras))
            if key not in seen and is_installed(needed):
                seen.add(key)
                found.add(needed)
                waiting.append(key)
    return found - {"archimed"}


def is_installed(name: str) -> bool:
    """Whether a package is installed here."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def needed_by() -> Mapping[str, str]:
    """Package -> `archimed` if it is needed always, else the extras that bring it."""
    always = closure("")
    found = dict.fromkeys(always, "archimed")
    for extra in project_table()["optional-dependencies"]:
        for name in closure(extra) - always:
            found[name] = f"{found[name]}, {extra}" if name in found else extra
    return dict(sorted(found.items()))


def version_of(name: str) -> str:
    """The version without the part that names a build, such as +cpu."""
    return Version(metadata.version(name)).public


def licence_of(name: str) -> str:
    """What a package's metadata say of its licence, in a few words."""
    facts = metadata.metadata(name)
    if expression := facts.get("License-Expression"):
        return str(expression)
    named = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier") or () if line.startswith("License ::")]
    named = [one for one in named if one != "OSI Approved"]
    text = next((line.strip() for line in str(facts.get("License") or "").splitlines() if line.strip()), "")
    return " and ".join(dict.fromkeys(named)) or (text if 0 < len(text) <= 60 else "see the package")


def constraints() -> str:
    """The content of constraints.txt."""
    return HEAD + "".join(f"{name}=={version_of(name)}\n" for name in needed_by())


def licences() -> str:
    """The content of docs/licences.md."""
    rows = {name: (licence_of(name), needed) for name, needed in needed_by().items()}
    table = "".join(f"| {name} | {version_of(name)} | {told} | {needed} |\n" for name, (told, needed) in rows.items())
    shared = [
        f"- {name} ({told}), needed by {needed}\n" for name, (told, needed) in rows.items() if COPYLEFT.search(told)
    ]
    return PAGE + table + SHARED + "".join(shared)


if __name__ == "__main__":
    CONSTRAINTS.write_text(constraints(), encoding="utf-8")
    LICENCES.write_text(licences(), encoding="utf-8")
