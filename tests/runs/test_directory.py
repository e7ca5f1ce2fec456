import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archimed.errors import RunError
from archimed.files import append_line, write_json
from archimed.runs import RunDirectory
from archimed.runs.differences import first_difference

DOCUMENT: dict[str, Any] = {
    "archimed": "1",
    "method": "mstf-nas",
    "sources": ("a.npz",),
    "seed": 0,
    "training": {"epochs": 3, "initial_weights": None},
    "machine": {"threads": None, "workers": 1},
}


def changed(**settings: Any) -> dict[str, Any]:
    return {**DOCUMENT, **settings}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_the_names_of_the_public_surface(run: RunDirectory) -> None:
    folder = run.network("resnet18", 2, 7)
    names = {
        run.experiment: "experiment.yaml",
        run.environment: "environment.json",
        run.data: "data.json",
        run.splits: "splits.json",
        run.candidates: "search/candidates.jsonl",
        run.selected: "search/selected.json",
        run.summary: "summary.json",
        run.report: "report.html",
        folder.architecture: "networks/resnet18/fold2.seed7/architecture.json",
        folder.weights: "networks/resnet18/fold2.seed7/weights.safetensors",
        folder.epochs: "networks/resnet18/fold2.seed7/epochs.jsonl",
        folder.predictions: "networks/resnet18/fold2.seed7/predictions.csv",
        folder.metrics: "networks/resnet18/fold2.seed7/metrics.json",
    }
    assert {str(path.relative_to(run.path)) for path in names} == set(names.values())
    assert all(str(path.relative_to(run.path)) == name for path, name in names.items())


def test_settings_come_back_as_plain_values(run: RunDirectory) -> None:
    run.begin(DOCUMENT)
    assert run.read_experiment() == {**DOCUMENT, "sources": ["a.npz"]}


def test_a_new_an_empty_and_the_same_run_may_begin(run: RunDirectory) -> None:
    run.check(DOCUMENT)
    run.path.mkdir()
    run.check(DOCUMENT)
    (run.path / ".lock").touch()
    run.check(DOCUMENT)
    run.begin(DOCUMENT)
    run.check(DOCUMENT)


@pytest.mark.parametrize("settings", [{"archimed": "2"}, {"machine": {"threads": 2, "workers": 4}}])
def test_version_and_machine_do_not_make_another_run(run: RunDirectory, settings: dict[str, Any]) -> None:
    run.begin(DOCUMENT)
    run.begin(changed(**settings))
    assert run.read_experiment()["machine"] == DOCUMENT["machine"]  # what was recorded at the start stays


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"seed": 1}, "its seed is 0, not 1"),
        ({"training": {"epochs": 4, "initial_weights": None}}, "its training.epochs is 3, not 4"),
        ({"sources": ["b.npz"]}, "its sources is ['a.npz'], not ['b.npz']"),
    ],
)
def test_the_folder_of_another_run_is_refused_and_the_difference_told(
    run: RunDirectory, settings: dict[str, Any], told: str
) -> None:
    run.begin(DOCUMENT)
    before = run.experiment.read_bytes()
    with pytest.raises(RunError) as caught:
        run.begin(changed(**settings))
    assert told in str(caught.value)
    assert str(run.path) in str(caught.value)
    assert run.experiment.read_bytes() == before


@pytest.mark.parametrize("settings", [{"extra": 1}, {"training": {"epochs": 3, "initial_weights": None, "extra": 1}}])
def test_a_run_of_another_version_is_told_apart_from_another_run(run: RunDirectory, settings: dict[str, Any]) -> None:
    wanted = changed(**settings)
    for began, goes_on in ((DOCUMENT, wanted), (wanted, DOCUMENT)):
        run.write_experiment(began)
        with pytest.raises(RunError, match=r"settings were others \((training\.)?extra\)\. Go on with the version"):
            run.check(goes_on)


def test_a_folder_of_other_files_is_refused(run: RunDirectory) -> None:
    run.path.mkdir()
    (run.path / "thesis.docx").touch()
    with pytest.raises(RunError, match="holds other files"):
        run.begin(DOCUMENT)
    assert sorted(path.name for path in run.path.iterdir()) == ["thesis.docx"]


def test_a_file_is_no_folder(run: RunDirectory) -> None:
    run.path.write_text("a file")
    with pytest.raises(RunError, match="holds other files"):
        run.check(DOCUMENT)


@pytest.mark.parametrize("text", ["a: [", "just text", "", "\x00"])
def test_damaged_settings_are_named(run: RunDirectory, text: str) -> None:
    run.path.mkdir()
    run.experiment.write_text(text)
    with pytest.raises(RunError, match=r"damaged: .*experiment\.yaml"):
        run.read_experiment()


def test_no_run_says_how_to_start_one(run: RunDirectory) -> None:
    with pytest.raises(RunError, match="archimed run METHOD"):
        run.read_experiment()


def test_candidates_of_one_search_are_told_apart(run: RunDirectory) -> None:
    run.candidates.parent.mkdir(parents=True)
    keys = [("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1), ("a", 0, 0)]
    for number, (search, fold, seed) in enumerate(keys):
        append_line(run.candidates, {"search": search, "fold": fold, "seed": seed, "number": number})
    assert [line["number"] for line in run.candidate_records("a", 0, 0)] == [0, 4]
    assert run.candidate_records("c", 0, 0) == []


def test_selections_are_empty_before_the_search(run: RunDirectory) -> None:
    assert run.selections() == []
    write_json(run.selected, {"rule": "r", "selected": [{"network": "x"}]})
    assert run.selections() == [{"network": "x"}]


@pytest.fixture
def holder(run: RunDirectory) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run until its input is closed."""
    source = (
        "import sys\nfrom pathlib import Path\nfrom archimed.runs import RunDirectory\n"
        f"with RunDirectory(Path({str(run.path)!r})).locked():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_two_processes_cannot_work_in_one_run(run: RunDirectory, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(RunError, match=f"process {holder.pid} on .* holds"), run.locked():
        pass


def test_the_lock_dies_with_its_process_however_it_ends(run: RunDirectory, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with run.locked():
        pass


def test_a_lock_can_be_taken_again(run: RunDirectory) -> None:
    for _ in range(2):
        with run.locked():
            run.begin(DOCUMENT)


def test_what_a_killed_process_left_half_written_is_removed(run: RunDirectory) -> None:
    (run.path / "networks" / ".fold0.seed0.part").mkdir(parents=True)
    (run.path / "networks" / ".fold0.seed0.part" / "weights.safetensors").touch()
    (run.path / ".summary.json.123.part").touch()
    (run.path / "part").touch()
    with run.locked():
        left = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*"))
    assert left == [".lock", "networks", "part"]


def test_a_folder_in_which_no_run_began_is_removed(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "new" / "runs" / "first")
    with pytest.raises(ZeroDivisionError), run.locked():
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_folders_that_were_there_or_hold_something_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(ZeroDivisionError), RunDirectory(tmp_path / "mine").locked():
        raise ZeroDivisionError
    assert (tmp_path / "mine").is_dir()
    with RunDirectory(tmp_path / "new" / "run").locked():
        (tmp_path / "new" / "of a neighbour").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["of a neighbour"]


def test_a_folder_in_which_a_run_began_stays(run: RunDirectory) -> None:
    with run.locked():
        run.begin(DOCUMENT)
    assert run.experiment.exists()


@pytest.mark.parametrize(
    ("stored", "wanted", "told"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, "its a.c is 2, not 3"),
        ({"a": {"b": 1}}, {"a": 5}, "its a is {'b': 1}, not 5"),
        ({"a": 1}, {}, None),
    ],
)
def test_the_first_difference(stored: object, wanted: object, told: str | None) -> None:
    assert first_difference(stored, wanted) == told


def test_a_folder_in_which_a_process_was_killed_before_its_run_began_is_empty(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for name in (".lock", ".experiment.yaml.123.part"):
        (tmp_path / name).write_text("method: ")
    run.check({"method": "x"})
    with run.locked():
        run.begin({"method": "x"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "experiment.yaml"]
