"""TensorBoard and MLflow get what the run's logs hold, once, and nothing that tells of cases."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from archimed.errors import SettingsError
from archimed.experiment.progress import Silent
from archimed.experiment.tracking import Tracked, Tracking
from archimed.runs import RunDirectory
from archimed.runs.points import Point, RunPoints, tracked_settings
from tests.cli.command import command
from tests.experiment.tiny import TINY, command_line_settings, lines, read, result_of, tiny_run, write_npz

Points = dict[tuple[str, str], list[tuple[int, float]]]  # series and name -> (step, value) in order


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("Doe^John") / "grey.npz")


@pytest.fixture(scope="module")
def tracked_run(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run tracked by both, stopped after its search and gone on with in a second process."""
    folder = tmp_path_factory.mktemp("tracked")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    run = tiny_run(grey, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.tracking.SECONDS_BETWEEN_LOOKS", 0.0)
        for words in (["train", str(run), "--fresh"], ["resume", str(run)]):
            said = command(*words, "--tensorboard", "--mlflow", uri)
            assert (said.code, said.stderr.count("failed and hears")) == (0, 0), said.stderr
    return run


def tensorboard_points(run: Path) -> Points:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: Points = {}
    for file in (run / "tensorboard").rglob("events.*"):
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            series = str(file.parent.relative_to(run / "tensorboard"))
            found.setdefault((series, tag), []).extend((one.step, one.value) for one in events.Scalars(tag))
    return found


def mlflow_run(run: Path) -> tuple[Any, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("archimed")
    (found,) = client.search_runs([experiment.experiment_id])
    return client, found


def expected(run: Path) -> Iterator[tuple[str, str, int, float]]:
    for line in lines(run / "search" / "candidates.jsonl"):
        for name, value in line["measurements"].items():
            yield "candidates/mstf-nas/fold0.seed0", name, line["number"], value
    for line in lines(run / "networks" / "mstf-nas" / "fold0.seed0" / "epochs.jsonl"):
        yield "train/mstf-nas/fold0.seed0", "train_loss", line["epoch"], line["train_loss"]
        yield "train/mstf-nas/fold0.seed0", "validation/auc", line["epoch"], line["validation"]["auc"]
    network = read(run / "summary.json")["networks"]["mstf-nas"]
    yield "result/mstf-nas", "test/accuracy", 0, network["test"]["accuracy"]["value"]


def test_both_hold_what_the_logs_hold_and_nothing_twice(tracked_run: Path) -> None:
    client, found = mlflow_run(tracked_run)
    events = tensorboard_points(tracked_run)
    wanted = list(expected(tracked_run))
    assert len(wanted) > 20
    for series, name, step, value in wanted:
        assert [one for at, one in events[series, name] if at == step] == [pytest.approx(value, rel=1e-6)]
        history = client.get_metric_history(found.info.run_id, f"{series}/{name}")
        assert [one.value for one in history if one.step == step] == [pytest.approx(value)]
    assert all(len({step for step, _ in points}) == len(points) for points in events.values())
    assert found.info.status == "FINISHED"
    assert found.data.params["training.epochs"] == "2"


def test_nothing_tells_of_cases_or_paths(tracked_run: Path, grey: Path) -> None:
    _, found = mlflow_run(tracked_run)
    told = repr(found.data.params) + repr(found.data.tags) + (tracked_run / "tracking.json").read_text()
    told += "".join(file.read_bytes().decode("latin-1") for file in (tracked_run / "tensorboard").rglob("events.*"))
    told += (tracked_run.parent / "mlflow.db").read_bytes().decode("latin-1")
    splits = read(tracked_run / "splits.json")["folds"][0]
    for word in (*splits["train"], *splits["test"], "Doe^John", grey.name):
        assert not re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w.-])", told), word


def test_tracking_changes_no_result(tracked_run: Path, grey: Path, tmp_path: Path) -> None:
    assert result_of(tracked_run) == result_of(tiny_run(grey, tmp_path / "run"))


def test_settings_lose_paths_and_texts_of_the_data() -> None:
    document = {
        "sources": ["/home/Doe/cases.csv"],
        "architecture": "/home/Doe/run",
        "seed": 3,
        "data": {"columns": {"patient": "Doe"}, "folds": 5, "ct_window": [-160, 240], "roi": "Doe"},
        "space": {"name": "/home/Doe/space.py:Mine"},
        "search": {"indicators": ["naswot", "/home/Doe/mine.py:one"]},
        "training": {"initial_weights": "/home/Doe/weights.safetensors", "epochs": 2},
    }
    told = tracked_settings(document)
    assert "Doe" not in repr(told)
    assert told["space.name"] == "space.py:Mine"
    assert told["search.indicators"] == '["naswot", "mine.py:one"]'
    assert (told["seed"], told["data.folds"], told["data.ct_window"]) == ("3", "5", "[-160, 240]")


def test_a_log_that_is_written_anew_is_read_anew_and_gives_no_point_twice(tmp_path: Path) -> None:
    from archimed.files import append_line, write_lines

    run = RunDirectory(tmp_path)
    epochs = run.network("net", 0, 0).epochs
    epochs.parent.mkdir(parents=True)
    points = RunPoints(run)
    assert points.fresh() == []
    append_line(epochs, {"epoch": 1, "train_loss": 0.5, "validation": {"auc": None}})
    assert points.fresh() == [Point("train/net/fold0.seed0", 1, {"train_loss": 0.5})]
    assert points.fresh() == []
    with epochs.open("a") as file:
        file.write('{"epoch": 2, "train_l')  # not whole yet
    assert points.fresh() == []
    write_lines(epochs, [{"epoch": n, "train_loss": 0.5} for n in (1, 2, 3)])
    assert [point.step for point in points.fresh()] == [2, 3]


def test_a_tracker_that_fails_is_let_go_and_the_run_goes_on(tmp_path: Path) -> None:
    class Broken:
        def begin(self, settings: object) -> None: ...

        def write(self, points: object) -> None:  # noqa: ARG002
            raise OSError("disk full")

        def close(self, finished: bool) -> None:  # noqa: ARG002
            raise AssertionError("it was let go")

    class Ear(Silent):
        said = ""

        def say(self, sentence: str) -> None:
            self.said += sentence

    run = RunDirectory(tmp_path)
    run.experiment.write_text(yaml.safe_dump({"seed": 0}))
    run.candidates.parent.mkdir()
    run.candidates.write_text('{"search": "x", "fold": 0, "seed": 0, "number": 0, "measurements": {"macs": 1.0}}\n')
    ear = Ear()
    tracked = Tracked(ear, run, [Broken()])
    tracked.stage("search")
    tracked.close(finished=True)
    assert ear.said == "Broken failed and hears no more of this run, which goes on: OSError: disk full"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("mlruns", "Try --mlflow http://localhost:5000 or --mlflow sqlite:///mlflow.db"),
        ("http://127.0.0.1:9", "could not be reached"),
        ("sqlite:////dev/null/mlflow.db", "could not be reached"),
    ],
)
def test_a_wrong_address_is_told_before_the_work_begins(uri: str, words: str, grey: Path, tmp_path: Path) -> None:
    settings = command_line_settings(TINY)
    said = command("run", "mstf-nas", "--data", str(grey), "--out", str(tmp_path / "run"), *settings, "--mlflow", uri)
    assert said.code == 2
    assert words in said.stderr
    assert said.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("archimed.runs.trackers.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'archimed\[tensorboard\]'"):
        Tracking(tensorboard=True).trackers(RunDirectory(tmp_path))


def test_several_data_sets_are_numbered(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.data.write_text('{"datasets": {"Doe": {}, "Roe": {}}}')
    epochs = run.network("net", 0, 0, "Roe").epochs
    epochs.parent.mkdir(parents=True)
    epochs.write_text('{"epoch": 1, "train_loss": 0.5}\n')
    assert [point.series for point in RunPoints(run).fresh()] == ["train/net/data2.fold0.seed0"]
