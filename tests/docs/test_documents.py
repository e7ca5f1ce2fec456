"""The documents agree with the code: commands parse, examples run, links lead somewhere, lists are complete."""

import ast
import inspect
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import archimed
from archimed.errors import ArchimedError
from archimed.files import read_json, read_lines
from tests.cli.command import command
from tests.docs.settings_table import PAGE, page
from tests.experiment.tiny import COMMON, SEARCH, command_line_settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.number}"


def blocks(*languages: str) -> list[Block]:
    return [
        Block(path, number, language, text)
        for path in PAGES
        for number, (language, text) in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), start=1)
        if language in languages
    ]


def commands(block: Block) -> Iterator[list[str]]:
    """The arguments of every archimed command of a block."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words and Path(words[0]).name == "archimed":
            yield words[1:]


COMMANDS = [(block, arguments) for block in blocks("bash", "console") for arguments in commands(block)]


@pytest.fixture(scope="module")
def own_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples of one's own parts."""
    folder = tmp_path_factory.mktemp("own parts")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def run_of_the_page(own_parts: Path) -> Path:
    """The run that extending.md begins, made small, after which the page's Python was executed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(own_parts)
        patch.setattr("sys.path", [*__import__("sys").path])
        words = next(given for block, given in COMMANDS if block.page.name == "extending.md" and given[0] == "run")
        said = command(*words, *command_line_settings({**SEARCH, **COMMON}), "--quiet")
        assert (said.code, said.stderr) == (0, "")
        for block in blocks("python"):
            if block.page.name == "extending.md":
                exec(compile(block.text, str(block), "exec"), {"__name__": "example"})  # noqa: S102
    return own_parts / "runs" / "mine"


def parsed(arguments: list[str]) -> tuple[list[str], Mapping[str, Any]]:
    """Verb and parameters of a command line, parsed and not executed."""
    from typer.main import get_command

    from archimed.cli.app import app

    command: Any = get_command(app)
    verb: list[str] = []
    rest = list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        verb.append(rest.pop(0))
        assert verb[-1] in command.commands, f"archimed {' '.join(verb)} is no command"
        command = command.commands[verb[-1]]
    if "--help" in rest or hasattr(command, "commands"):
        return verb, {}
    return verb, command.make_context(" ".join(verb), rest).params


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 30
    assert {"run", "resume", "evaluate", "data", "doctor"} <= {arguments[0] for _, arguments in COMMANDS}


@pytest.mark.parametrize(
    ("block", "arguments"), COMMANDS, ids=[f"{block} {shlex.join(arguments)}" for block, arguments in COMMANDS]
)
def test_every_command_is_one_that_archimed_takes(
    block: Block,  # noqa: ARG001 - in the test's name
    arguments: list[str],
    own_parts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from archimed.cli.data import data_settings
    from archimed.experiment.budget import parse_budget
    from archimed.experiment.layers import resolve

    monkeypatch.chdir(own_parts)
    verb, given = parsed(arguments)
    if given.get("budget"):
        parse_budget(given["budget"])
    if verb == ["run"] and given["config"] is None:
        experiment = resolve(
            given["method"], given["preset"], None, given["assignments"] or [], {"sources": given["data"]}
        )
        check_baselines(given["baselines"] or experiment.evaluation.baselines)
    elif verb[0] == "data" and "assignments" in given:
        data_settings(given["assignments"])


def check_baselines(names: str) -> None:
    """Raise unless data of some kind have all of these baselines."""
    from archimed.methods.baselines import baseline_names
    from archimed.task import ImagingTask

    pet_ct = ImagingTask("binary", ("no", "yes"), 2, (24, 24, 24), ("CT", "PET"))
    masks = ImagingTask("segmentation", ("background", "organ"), 1, (32, 32))
    refused = []
    for task in (pet_ct, masks):
        try:
            baseline_names(names, task=task)
            return
        except ArchimedError as error:
            refused.append(error)
    raise refused[0]


def test_a_wrong_baseline_would_be_noticed() -> None:
    with pytest.raises(ArchimedError, match="resnet19"):
        check_baselines("resnet18,resnet19")


@pytest.mark.parametrize(
    "wrong",
    ["run mstf-nas --data x.csv --outt RUN", "run mstf-nas --out RUN --preset", "serch RUN", "list everything"],
)
def test_a_wrong_command_would_be_noticed(wrong: str) -> None:
    with pytest.raises(Exception, match=r"such option|requires an argument|is no command|is not one of"):
        parsed(wrong.split())


@pytest.mark.parametrize("setting", ["training.epoch=3", "space.name=darts_sell", "search.indicators=naswott"])
def test_a_wrong_setting_would_be_noticed(setting: str) -> None:
    from archimed.experiment.layers import resolve

    with pytest.raises(ArchimedError):
        resolve("mstf-nas", "default", None, [setting], {"sources": ["phantom:lesions2d"]})


def test_the_page_of_settings_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "Write it anew: python -m tests.docs.settings_table"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{path.name} links to {target}, which does not exist"
        if heading:
            titles = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, f"{path.name} links to {target}, a heading that does not exist"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_uses_the_interface_as_it_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("archimed."):
            function: Any = archimed
            for name in ast.unparse(node.func).split(".")[1:]:
                function = getattr(function, name)
            keywords = {str(keyword.arg): None for keyword in node.keywords}
            inspect.signature(function).bind(*node.args, **keywords)


def test_every_example_of_extending_runs(run_of_the_page: Path) -> None:
    assert (run_of_the_page / "report.html").is_file()
    assert read_json(run_of_the_page / "summary.json")["chosen"] == "cheapest"


def test_the_example_of_an_npz_file_is_one(own_parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archimed.data.settings import DataSettings
    from archimed.data.source import load_dataset

    monkeypatch.chdir(own_parts)
    example = next(block for block in blocks("python") if "savez" in block.text)
    exec(compile(example.text, str(example), "exec"), {})  # noqa: S102
    assert len(load_dataset("mine.npz", DataSettings(), 0).cases) == 100


def test_every_file_of_a_run_is_in_the_page(run_of_the_page: Path) -> None:
    text = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
    for path in run_of_the_page.rglob("*"):
        shown = path.name if path.parent.name not in {"figures", "tables"} else f"{path.parent.name}/*{path.suffix}"
        assert path.is_dir() or shown in text, f"docs/run-directory.md does not tell of {path.name}"


def test_every_key_of_a_run_is_in_the_page(run_of_the_page: Path) -> None:
    text = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
    network = next(run_of_the_page.glob("networks/*/*"))
    summary = read_json(run_of_the_page / "summary.json")
    chosen = summary["networks"][summary["chosen"]]
    documents: list[Any] = [
        yaml.safe_load((run_of_the_page / "experiment.yaml").read_text(encoding="utf-8")),
        *(read_json(run_of_the_page / name) for name in ("environment.json", "data.json", "splits.json")),
        read_json(run_of_the_page / "data.json")["task"],
        read_lines(run_of_the_page / "search" / "candidates.jsonl")[0],
        read_json(run_of_the_page / "search" / "selected.json"),
        read_json(run_of_the_page / "search" / "selected.json")["selected"][0],
        *(read_json(network / name) for name in ("architecture.json", "training.json", "metrics.json")),
        read_json(network / "architecture.json")["normalisation"],
        read_lines(network / "epochs.jsonl")[0],
        *(summary, summary["seconds"], chosen, chosen["repeats"][0], chosen["test"]),
        *(chosen["test"]["accuracy"], summary["calibration"][summary["chosen"]], summary["operating_point"]),
    ]
    for document in documents:
        for key in document:
            assert re.search(rf"\b{key}\b", text), f"docs/run-directory.md does not tell of the key {key}"
