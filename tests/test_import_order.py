"""Imports point up one list; the command line is instant; nothing ever needs torchvision and its like."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "archimed"
VALUES = ("errors", "genotype", "candidate", "task", "batch", "seeding", "files", "userfile", "processor")
ORDER = (
    *("workers", "networks", "spaces", "indicators", "objectives", "strategies", "evaluators", "search", "data"),
    *("training", "evaluation", "methods", "runs", "explain", "report", "export", "experiment", "studies"),
    *("testing", "cli", "__main__"),
)
RANK = dict.fromkeys(VALUES, 0) | {name: rank for rank, name in enumerate(ORDER, start=1)}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.name != "__init__.py")
FORBIDDEN = ("torchvision", "torchmetrics", "lightning", "pytorch_lightning")


def part_of(path: Path) -> str:
    """The first-level name that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_modules(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, those inside functions and for types alone too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = [f"archimed.{alias.name}" for alias in node.names] if module == "archimed" else [module]
            yield from ((node.lineno, name) for name in names)


def violations(part: str, source: str) -> list[str]:
    found = []
    for line, name in imported_modules(source):
        if name.startswith("."):
            found.append(f"line {line} imports {name}: write the whole name")
        elif name.split(".")[0] in FORBIDDEN:
            found.append(f"line {line} imports {name}, which the core never needs")
        elif name.startswith("archimed.") and RANK[name.split(".")[1]] > RANK[part]:
            found.append(f"line {line} of {part} imports {name}, which stands below it")
    return found


def test_every_part_has_a_place() -> None:
    assert {part_of(path) for path in MODULES} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_up(path: Path) -> None:
    # `archimed doctor` looks whether a broken torchvision is there, which is the one reason to name it
    found = violations(part_of(path), path.read_text(encoding="utf-8"))
    assert [one for one in found if not (path.name == "doctor.py" and "torchvision" in one)] == []


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("data", "from archimed.training.loop import train"),
        ("errors", "import archimed.networks.stem"),
        ("networks", "def late():\n    from archimed import spaces\n"),
        ("spaces", "if TYPE_CHECKING:\n    from archimed.cli import main\n"),
        ("runs", "from .directory import RunDirectory"),
        ("data", "import torchvision.transforms"),
    ],
)
def test_a_violation_is_seen(part: str, source: str) -> None:
    assert violations(part, source)


def run_python(source: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=ROOT.parent
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


HEAVY = ("torch", "numpy", "yaml", "scipy", "sklearn", "monai", "matplotlib", "pymoo", "PIL")


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], (*HEAVY, "pydantic")),
        (["run", "--help"], HEAVY),  # Typer itself may import pydantic to read a verb's options
        (["list", "methods"], HEAVY),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str], heavy: tuple[str, ...]) -> None:
    said = run_python(
        "import sys\n"
        "from archimed.cli import main\n"
        f"sys.argv = ['archimed', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        f"print('imported:', [name for name in {heavy!r} if name in sys.modules], code)"
    )
    assert said.splitlines()[-1] == "imported: [] 0"
    assert len(said.splitlines()) > 1


COPIED = ("archimed.export.standalone_bundle",)  # into MONAI bundles, which import MONAI; archimed only reads its text


def test_no_module_tries_to_import_torchvision_or_its_like() -> None:
    said = run_python(
        "import importlib, pkgutil, sys\n"
        f"forbidden = {FORBIDDEN!r}\n"
        "tried = []\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in forbidden:\n"
        "            tried.append(name)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import archimed\n"
        "names = [module.name for module in pkgutil.walk_packages(archimed.__path__, 'archimed.')]\n"
        "for name in names:\n"
        f"    name in {COPIED!r} or importlib.import_module(name)\n"
        "print(len(names) > 100, tried, [name for name in forbidden if name in sys.modules])"
    )
    assert said.strip() == "True [] []"
