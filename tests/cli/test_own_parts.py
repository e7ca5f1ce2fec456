"""Parts of the user's own, named `path/file.py:object`, work wherever the command line takes a part."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.command import command
from tests.experiment.tiny import COMMON, SEARCH, TINY, command_line_settings, lines, read, tiny_run

EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = command_line_settings(TINY)
DATA = "examples/own_data.py:squares"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples, in which commands are typed."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_kinds_in_one_command_and_again(here: Path) -> None:
    words = [
        *("run", "examples/own_method.py:Cheapest", "--data", DATA, "--out", "run"),
        *command_line_settings({**SEARCH, **COMMON}),
        *("--set", "space.name=examples/own_space.py:PlainSpace", "--set", "space.depth=1"),
        *("--set", "search.indicators=examples/own_indicator.py:effective_rank,naswot"),
        *("--set", "search.objectives=-effective_rank,examples/own_objective.py:far_from_budget"),
        *("--set", "search.strategy=examples/own_strategy.py:LocalSearch"),
    ]
    said = command(*words, "--quiet")
    assert (said.code, said.stderr) == (0, "")
    logged = lines(here / "run" / "search" / "candidates.jsonl")
    assert all(set(line["measurements"]) == {"effective_rank", "naswot", "macs", "parameters"} for line in logged)
    assert read(here / "run" / "summary.json")["chosen"] == "cheapest"
    assert "effective_rank" in (here / "run" / "report.html").read_text()
    (here / "run" / "summary.json").unlink()
    assert command(*words, "--quiet").code == 0  # the same command goes on
    assert lines(here / "run" / "search" / "candidates.jsonl") == logged
    resumed = command("resume", "run")
    assert resumed.code == 2
    assert "executes that file, which needs your word" in resumed.stderr


def test_operations_of_a_space_of_ones_own(here: Path) -> None:
    said = command(
        *("run", "random-search", "--data", DATA, "--out", "run", "--quiet", *command_line_settings(COMMON)),
        *("--set", "search.candidates=6", "--set", "search.batch_size=8", "--set", "space.width=4"),
        *("--set", "space.name=examples/own_operation.py:AttentiveCells", "--set", "space.num_cells=3"),
    )
    assert (said.code, said.stderr) == (0, "")
    chosen = [
        value for line in lines(here / "run" / "search" / "candidates.jsonl") for value in line["genotype"].values()
    ]
    assert "channel_attention" in chosen


@pytest.mark.usefixtures("here")
def test_a_correlation_of_ones_own_space_and_indicator() -> None:
    said = command(
        *("correlate", "--space", "examples/own_space.py:PlainSpace", "--data", DATA, "--out", "out", "--quiet"),
        *("--indicators", "examples/own_indicator.py:effective_rank", "--networks", "3", "--epochs", "1"),
        *("--threads", "1", "--json"),
    )
    assert said.code == 0, said.stderr
    assert '"effective_rank"' in said.stdout


@pytest.mark.parametrize("file", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_proves_itself(file: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import runpy

    runpy.run_path(str(here / "examples" / file), run_name="__main__")
    assert "keeps its contract" in capsys.readouterr().out


PLACES = {
    "method": ("run", "{}", "--data", DATA, "--out", "run"),
    "space": ("run", "mstf-nas", "--data", DATA, "--out", "run", "--set", "space.name={}"),
    "indicator": ("run", "mstf-nas", "--data", DATA, "--out", "run", "--set", "search.indicators={}"),
    "objective": ("run", "mstf-nas", "--data", DATA, "--out", "run", "--set", "search.objectives=-macs,{}"),
    "strategy": ("run", "mstf-nas", "--data", DATA, "--out", "run", "--set", "search.strategy={}"),
    "data": ("run", "mstf-nas", "--data", "{}", "--out", "run"),
    "correlate space": ("correlate", "--space", "{}", "--data", DATA, "--out", "run"),
    "correlate indicator": (
        *("correlate", "--space", "darts_cell", "--data", DATA, "--out", "run", "--indicators", "{}"),
    ),
    "data check": ("data", "check", "{}"),
}
MISTAKES = {
    "absent.py:Mine": "there is no file absent.py",
    "mine.py:Absent": "has no 'Absent'",
    "broken.py:Mine": "raised SyntaxError",
    "missing.py:Mine": "raised ModuleNotFoundError",
    "ending.py:Mine": "raised SystemExit",
    "mine.py:number": "",  # an object of the wrong kind: each place says what it takes
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("place", PLACES)
def test_a_bad_file_or_object_is_one_line(place: str, mistake: str, here: Path) -> None:
    (here / "mine.py").write_text("number = 3\n")
    (here / "broken.py").write_text("def (:\n")
    (here / "missing.py").write_text("import not_installed_anywhere\n")
    (here / "ending.py").write_text("import sys\nsys.exit('bye')\n")
    said = command(*(word.format(mistake) for word in PLACES[place]))
    text = said.stderr + said.stdout
    assert said.code == 2, text
    complaints = [line for line in text.splitlines() if mistake.partition(":")[0] in line]
    assert len(complaints) == 1, text
    assert MISTAKES[mistake] in complaints[0]
    assert "Traceback" not in text
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("content", "setting", "complaint"),
    [
        ("def one(probe): return 'high'\n", "search.indicators={}", "dropped"),
        ("def one(candidates): return [1]\n", "search.objectives={}", "finite numbers, one or a row for each"),
        ("def one(candidates): return 1 / 0\n", "search.objectives={}", "raised ZeroDivisionError"),
        ("def one(choices): return None\n", "search.strategy={}", "Take all of them"),
        ("def one(**given): return 3\n", "search.strategy={}", "which lacks one of them"),
        ("def naswot(probe): return 1.0\n", "search.indicators=naswot,{}", "two would be called 'naswot'"),
    ],
)
def test_a_part_that_does_not_do_its_job_is_one_line(content: str, setting: str, complaint: str, here: Path) -> None:
    (here / "mine.py").write_text(content)
    name = "naswot" if "naswot" in content else "one"
    set_it = ("--set", setting.format(f"mine.py:{name}"))
    said = command("run", "mstf-nas", "--data", DATA, "--out", "run", "--quiet", *SETTINGS, *set_it)
    assert said.code == 2, said.stderr
    assert complaint in said.stderr
    assert said.stderr.count("\n") == 1


def test_settings_from_a_file_execute_no_part_that_was_not_typed(here: Path) -> None:
    (here / "evil.py").write_text("from pathlib import Path\nPath('executed').touch()\ndef one(probe): return 1.0\n")
    (here / "settings.yaml").write_text(yaml.safe_dump({"search": {"indicators": ["naswot", "evil.py:one"]}}))
    words = ("run", "mstf-nas", "--data", DATA, "--out", "run", "--config", "settings.yaml", "--quiet", *SETTINGS)
    said = command(*words)
    assert said.code == 2
    assert "settings.yaml names 'evil.py:one'. If you trust it, add --set search.indicators=evil.py:one" in said.stderr
    assert not (here / "executed").exists()
    assert command(*words, "--set", "search.indicators=naswot,evil.py:one").code == 0


def test_a_run_with_an_indicator_of_ones_own_is_opened_without_it(here: Path) -> None:
    run = tiny_run(DATA, here / "run", search__indicators=["naswot", "examples/own_indicator.py:effective_rank"])
    (here / "examples" / "own_indicator.py").write_text("raise SystemExit('executed')\n")
    said = command("explain", str(run), "--cases", "square-000", "--quiet")
    assert said.code == 0, said.stderr
