"""Every verb does its job: results on stdout, progress on stderr, `--json` for programs."""

import json
from pathlib import Path

import pytest
import yaml

from archimed.methods import METHODS
from archimed.spaces import SPACES
from tests.cli.command import command
from tests.experiment.tiny import TINY, command_line_settings, lines, read, result_of, tiny_run

SETTINGS = command_line_settings(TINY)


@pytest.fixture(scope="module")
def run(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests do not change what it holds."""
    return tiny_run(grey, tmp_path_factory.mktemp("verbs") / "run")


def test_run_and_the_same_command_again(grey: Path, tmp_path: Path, run: Path) -> None:
    out = tmp_path / "run"
    words = ["run", "mstf-nas", "--data", str(grey), "--out", str(out), *SETTINGS]
    said = command(*words)
    assert said.code == 0
    stages = [line for line in said.stderr.splitlines() if not line.startswith(" ")]
    assert stages == ["read data", "search: mstf-nas", "train: mstf-nas (1 of 1)", "evaluate", "report"]
    assert f"Report: {out / 'report.html'}" in said.stdout
    assert "mstf-nas" in said.stdout
    assert result_of(out) == result_of(run)  # the Python interface and the command line are one engine
    before = result_of(out)
    again = command(*words)
    assert again.code == 0
    assert "train:" not in again.stderr
    assert result_of(out) == before


def test_the_commands_own_options_are_settings(grey: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = command(
        *("run", "random-search", "--data", str(grey), "--out", str(out), "--seed", "7", "--repeats", "2"),
        *("--baselines", "macs", "--threads", "1", "--device", "cpu", "--quiet", "--json"),
        *("--set", "search.candidates=3", "--set", "training.epochs=1", "--set", "space.width=4"),
        *("--set", "machine.precision=float32", "--set", "machine.memory_format=contiguous"),
    )
    assert said.code == 0
    assert said.stderr == ""
    assert json.loads(said.stdout) == read(out / "summary.json")
    document = yaml.safe_load((out / "experiment.yaml").read_text())
    assert (document["method"], document["seed"], document["repeats"]) == ("random-search", 7, 2)
    assert document["evaluation"]["baselines"] == "macs"
    assert (document["machine"]["threads"], document["machine"]["device"]) == (1, "cpu")
    assert {line["seed"] for line in lines(out / "search" / "candidates.jsonl")} == {7, 8}


def test_a_dry_run_writes_nothing(grey: Path, tmp_path: Path) -> None:
    words = ["run", "mstf-nas", "--data", str(grey), "--out", str(tmp_path / "run"), *SETTINGS, "--dry-run"]
    said = command(*words, "--baselines", "random-search")
    assert said.code == 0
    assert "12 candidates" in said.stdout  # 6 of each search
    assert "nothing run yet" in said.stdout
    for name in ("mstf-nas", "random-search", "memory", "disk"):
        assert name in said.stdout
    told = json.loads(command(*words, "--json").stdout)
    assert told["candidates"] == 6
    assert told["search_seconds"] > 0
    assert set(told["epoch_seconds"]) == {"mstf-nas"}
    assert not (tmp_path / "run").exists()


def test_stage_by_stage(grey: Path, tmp_path: Path, run: Path) -> None:
    out = tmp_path / "run"
    tiny_run(grey, out)
    expected = result_of(out)
    for verb in ("search", "train"):
        said = command(verb, str(out), "--fresh")
        assert said.code == 0, said.stderr
        assert "No results yet" in said.stdout
    assert not (out / "summary.json").exists()
    for verb in ("evaluate", "report"):
        assert command(verb, str(out)).code == 0
    assert "No results yet" not in command("resume", str(out)).stdout
    assert result_of(out) == expected == result_of(run)


def test_a_report_needs_no_data(grey: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.npz"
    moved.write_bytes(grey.read_bytes())
    out = tiny_run(moved, tmp_path / "run", training__epochs=1)
    moved.unlink()
    (out / "report.html").unlink()
    assert command("report", str(out)).code == 0
    assert (out / "report.html").exists()


def test_external_validation(grey: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "external"
    before = result_of(run)
    said = command("evaluate", str(run), "--data", str(grey), "--out", str(out), "--json")
    assert said.code == 0, said.stderr
    summary = json.loads(said.stdout)
    assert summary == read(out / "summary.json")
    assert summary["networks"]["mstf-nas"]["test_of_the_run"] == before["summary"]["networks"]["mstf-nas"]["test"]
    assert len((out / "mstf-nas" / "fold0.seed0" / "predictions.csv").read_text().splitlines()) == 33  # every case
    assert result_of(run) == before


@pytest.mark.parametrize(
    ("kind", "known"),
    [
        ("methods", [*METHODS]),
        ("spaces", [*SPACES]),
        ("indicators", ["naswot", "jacob_cov", "synflow", "log_synflow", "fisher", "grad_norm", "snip", "grasp"]),
        ("indicators", ["zen_score", "parameters", "macs"]),
        ("strategies", ["nsga2", "random_search"]),
        ("datasets", ["breastmnist", "pneumoniamnist", "phantom:lesions2d"]),
        ("settings", ["space.stem_stride", "search.population_size", "training.initial_weights", "data.folds"]),
    ],
)
def test_lists_name_everything(kind: str, known: list[str]) -> None:
    told = command("list", kind)
    assert told.code == 0
    rows = json.loads(command("list", kind, "--json").stdout)
    assert {*known} <= {row["name"] for row in rows}
    assert all(row["summary"] for row in rows)
    names = [line.split()[0] for line in told.stdout.splitlines()]
    assert names == [row["name"] for row in rows]


def test_settings_of_another_method() -> None:
    names = {
        row["name"] for row in json.loads(command("list", "settings", "--method", "random-search", "--json").stdout)
    }
    assert "search.candidates" in names
    assert "search.generations" not in names


def test_every_setting_listed_can_be_set() -> None:
    from archimed.experiment.layers import default_document, overlay

    rows = json.loads(command("list", "settings", "--json").stdout)
    document = default_document("mstf-nas")
    for row in rows:
        overlay(document, {row["name"]: None})
    assert len(rows) > 30


def test_doctor_finds_this_installation_well() -> None:
    said = command("doctor")
    parts = [line.split()[:2] for line in said.stdout.splitlines()]
    assert [name for _, name in parts] == [
        *("python", "torch", "monai", "torchvision", "memory", "disk", "cache", "speed", "network")
    ]
    assert said.code == (0 if all(state == "ok" for state, _ in parts) else 2)
    assert {name: state for state, name in parts}["network"] == "ok"


def test_describe_writes_sheets_and_a_fingerprint(grey: Path, run: Path, tmp_path: Path) -> None:
    said = command("data", "describe", str(grey), "--out", str(tmp_path / "sheets"))
    assert said.code == 0
    assert read(tmp_path / "sheets" / "data.json") == read(run / "data.json")
    assert all(Path(line).exists() for line in said.stdout.splitlines())


def test_check_as_json(grey: Path) -> None:
    told = json.loads(command("data", "check", str(grey), "--json").stdout)
    assert told["fatal"] is False
    assert told["data"]["cases"] == 32
