"""What is wrong on the user's side ends in exit code 2, one line that names it and says what to do, and no folder."""

import csv
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import Said, command
from tests.experiment.tiny import TINY, command_line_settings, tiny_run, write_npz

TRACE = re.compile(r"Traceback|File \"|\bat 0x")


def run_on(data: str | Path, out: Path, *words: str, method: str = "mstf-nas") -> Said:
    settings = command_line_settings(TINY)
    return command("run", method, "--data", str(data), "--out", str(out), *settings, *words)


def check_refused(said: Said, *told: str) -> None:
    """Exit code 2, nothing on stdout, and one last line with everything in `told`."""
    assert said.code == 2, said.stderr
    assert said.stdout == ""
    assert not TRACE.search(said.stderr)
    *progress, last = said.stderr.splitlines()
    assert not [line for line in progress if line.startswith("archimed:")]
    assert last.startswith("archimed: ")
    for text in told:
        assert text in last
    assert len(last) < 600


def pixels(seed: int, size: tuple[int, int] = (16, 16), channels: int = 0) -> np.ndarray:
    shape = (*size, channels) if channels else size
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Table:
    """A folder of 24 PNG images of 12 patients, two classes, and the CSV table that lists them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        for number in range(24):
            Image.fromarray(pixels(number)).save(folder / f"{number:02d}.png")
            label = ("benign", "malignant")[number // 2 % 2]
            self.rows.append({"image": f"{number:02d}.png", "label": label, "patient": f"P{number // 2:02d}"})

    def image(self, number: int) -> Path:
        return self.folder / f"{number:02d}.png"

    def write(self) -> Path:
        path = self.folder / "cases.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        return path


@pytest.fixture
def table(tmp_path: Path) -> Table:
    (tmp_path / "images").mkdir()
    return Table(tmp_path / "images")


def truncate(table: Table) -> None:
    table.image(5).write_bytes(table.image(5).read_bytes()[:200])


def overwrite(table: Table) -> None:
    table.image(5).write_bytes(b"This is not an image.")


def empty(table: Table) -> None:
    table.image(5).write_bytes(b"")


def corrupt_the_pixels(table: Table) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\x00" * 40)  # 16 rows of 17 bytes are due
    table.image(5).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def remove(table: Table) -> None:
    table.image(5).unlink()


def make_a_folder(table: Table) -> None:
    table.image(5).unlink()
    table.image(5).mkdir()


def rename_column(old: str, new: str) -> Callable[[Table], None]:
    def damage(table: Table) -> None:
        table.rows = [{(new if key == old else key): value for key, value in row.items()} for row in table.rows]

    return damage


def set_field(row: int, **values: Any) -> Callable[[Table], None]:
    def damage(table: Table) -> None:
        table.rows[row].update(values)

    return damage


def set_all(**values: Sequence[Any]) -> Callable[[Table], None]:
    def damage(table: Table) -> None:
        for name, several in values.items():
            for number, row in enumerate(table.rows):
                row[name] = several[number % len(several)]

    return damage


def all_of_one_class(table: Table) -> None:
    for row in table.rows:
        row["label"] = "benign"


def class_absent_from_training(table: Table) -> None:
    for number, row in enumerate(table.rows):
        row["split"] = ("train", "validation", "test")[number // 4 % 3]
        if row["split"] == "train":
            row["label"] = "benign"


def patient_in_two_splits(table: Table) -> None:
    for number, row in enumerate(table.rows):
        row["split"] = ("train", "validation", "test")[number // 4 % 3]
    table.rows[1]["split"] = "test"


def other_size(table: Table) -> None:
    Image.fromarray(pixels(5, (20, 16))).save(table.image(5))


def other_channels(table: Table) -> None:
    Image.fromarray(pixels(5, channels=3)).save(table.image(5))


def nan_pixels(table: Table) -> None:
    import tifffile

    for number in range(24):
        image = pixels(number).astype(np.float32)
        if number == 5:
            image[3, 3] = np.nan
        tifffile.imwrite(table.folder / f"{number:02d}.tif", image)
        table.rows[number]["image"] = f"{number:02d}.tif"


BAD_TABLES = {
    "truncated image": (truncate, ["05.png"]),
    "no image": (overwrite, ["05.png"]),
    "empty image": (empty, ["05.png"]),
    "corrupt pixels": (corrupt_the_pixels, ["05.png"]),
    "missing image": (remove, ["05.png"]),
    "a folder for an image": (make_a_folder, ["05.png"]),
    "no image column": (rename_column("image", "imagge"), ["cases.csv", "`image`", "imagge"]),
    "no label column": (rename_column("label", "lable"), ["cases.csv", "`label`", "Did you mean 'lable'"]),
    "label missing": (set_field(5, label=""), ["line 7 of cases.csv", "label"]),
    "label that does not parse": (set_field(5, label="0.37"), ["line 7 of cases.csv", "'0.37'"]),
    "labels that are measurements": (set_all(label=[f"grade {k}" for k in range(24)]), ["24 different"]),
    "multi-label that does not parse": (
        lambda table: (rename_column("label", "label_a")(table), set_field(5, label_a="maybe")(table)),
        ["line", "'maybe'", "label 'a'"],
    ),
    "one class only": (all_of_one_class, ["two classes", "benign"]),
    "class absent from training": (class_absent_from_training, ["'malignant'", "train"]),
    "NaN pixels": (nan_pixels, ["05.tif", "NaN"]),
    "mixed sizes": (other_size, ["05.png", "data.image_size"]),
    "mixed channels": (other_channels, ["05.png", "data.channels"]),
    "patient in two splits": (patient_in_two_splits, ["patient", "line 2 of cases.csv", "line 3 of cases.csv"]),
    "patient missing": (set_field(5, patient=""), ["line 7 of cases.csv", "patient"]),
    "unknown split": (set_all(split=["train", "tset"]), ["line 3 of cases.csv", "'tset'"]),
    "lesion area in pixels": (set_all(lesion_area=["212"]), ["lesion_area", "'212'"]),
    "an id twice": (set_all(id=["a", "b"]), ["'a'", "unique"]),
}


@pytest.mark.parametrize("damage", BAD_TABLES)
def test_a_bad_table_is_refused_by_run_and_told_by_check(table: Table, tmp_path: Path, damage: str) -> None:
    spoil, told = BAD_TABLES[damage]
    if damage.startswith("multi-label"):
        for number, row in enumerate(table.rows):
            row["label"] = str(number // 2 % 2)
    spoil(table)
    path = table.write()
    check_refused(run_on(path, tmp_path / "new" / "run"), *told)
    assert not (tmp_path / "new").exists()
    checked = command("data", "check", str(path))
    assert checked.code == 2
    [errors] = [[line for line in checked.stdout.splitlines() if line.startswith("ERROR")]]
    assert any(all(text in line for text in told) for line in errors)


def test_a_sound_table_is_accepted(table: Table, tmp_path: Path) -> None:
    path = table.write()
    assert command("data", "check", str(path)).code == 0
    said = run_on(path, tmp_path / "run", "--set", "training.epochs=1")
    assert said.code == 0, said.stderr
    assert "Report:" in said.stdout


def test_a_class_absent_from_the_test_is_a_caution_not_an_error(table: Table, tmp_path: Path) -> None:
    for number, row in enumerate(table.rows):
        row["split"] = ("train", "validation", "test")[number // 8]
        if row["split"] == "test":
            row["label"] = "benign"
    said = run_on(table.write(), tmp_path / "run", "--set", "training.epochs=1")
    assert said.code == 0, said.stderr
    assert "'malignant' does not occur in test" in said.stdout


def bad_npz(path: Path, **arrays: np.ndarray) -> Path:
    with np.load(write_npz(path)) as archive:
        content = dict(archive) | arrays
    np.savez(path, **{name: array for name, array in content.items() if array.size})  # type: ignore[arg-type]
    return path


def test_damaged_npz_files_are_named(tmp_path: Path) -> None:
    cut = write_npz(tmp_path / "cut.npz")
    cut.write_bytes(cut.read_bytes()[:3000])
    check_refused(run_on(cut, tmp_path / "run"), "cut.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    check_refused(run_on(tmp_path / "text.npz", tmp_path / "run"), "text.npz")
    missing = bad_npz(tmp_path / "missing.npz", train_labels=np.array([]))
    check_refused(run_on(missing, tmp_path / "run"), "missing.npz", "lacks train_labels")
    pickled = bad_npz(tmp_path / "pickled.npz", train_labels=np.array([{}] * 16, dtype=object))
    check_refused(run_on(pickled, tmp_path / "run"), "pickled.npz")
    holes = bad_npz(tmp_path / "holes.npz", train_images=np.full((16, 12, 12), np.nan, dtype=np.float32))
    check_refused(run_on(holes, tmp_path / "run"), "holes.npz", "NaN")
    fractions = bad_npz(tmp_path / "fractions.npz", train_labels=np.full((16, 1), 0.5))
    check_refused(run_on(fractions, tmp_path / "run"), "fractions.npz", "whole")
    one = bad_npz(tmp_path / "one.npz", **{f"{s}_labels": np.zeros((n, 1), int) for s, n in SPLITS.items()})
    check_refused(run_on(one, tmp_path / "run"), "two classes")
    assert not (tmp_path / "run").exists()


SPLITS = {"train": 16, "val": 8, "test": 8}


@pytest.mark.parametrize("method", ["mstf-nas", "random-search"])
def test_masks(tmp_path: Path, method: str) -> None:
    said = command("run", method, "--data", "phantom:vessels?cases=20&size=32", "--out", str(tmp_path / "run"))
    check_refused(said, "classify whole images", "masks of background, vessel", "mixsearch")
    assert not (tmp_path / "run").exists()


def test_class_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_refused(run_on(tmp_path / "empty", tmp_path / "run"), str(tmp_path / "empty"))
    (tmp_path / "one" / "only").mkdir(parents=True)
    for number in range(12):
        Image.fromarray(pixels(number)).save(tmp_path / "one" / "only" / f"{number}.png")
    check_refused(run_on(tmp_path / "one", tmp_path / "run"), "two classes", "only")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "training.epoch=3"], ["'training.epoch'", "did you mean training.epochs?"]),
        (["--set", "trainig.epochs=3"], ["did you mean training.epochs?"]),
        (["--set", "space.widht=8"], ["did you mean space.width?"]),
        (["--set", "space.name=multiscale"], ["multiscale", "multiscale_cell"]),
        (["--set", "search.indicators=naswot,synflo"], ["'synflo'", "synflow"]),
        (["--set", "search.objectives=-mac,naswot"], ["mac"]),
        (["--set", "training.epochs=0"], ["training.epochs", "0"]),
        (["--set", "training.epochs=many"], ["training.epochs", "'many'"]),
        (["--set", "training.learning_rate=-1"], ["training.learning_rate"]),
        (["--set", "space.width=7"], ["space.width", "7"]),
        (["--set", "space.stem_stride=3"], ["space.stem_stride", "3"]),
        (["--set", "data.normalisation=minmax"], ["data.normalisation", "'minmax'"]),
        (["--set", "epochs"], ["key=value", "'epochs'"]),
        (["--set", "training=3"], ["'training'"]),
        (["--set", "method=random-search"], ["'method'"]),
        (["--set", "seed=x"], ["seed", "'x'"]),
        (["--set", "repeats=0"], ["repeats", "0"]),
        (["--set", "budget_seconds=soon"], ["budget", "'soon'"]),
        (["--set", "training.checkpoint_metric=aucc"], ["training.checkpoint_metric", "'aucc'", "auc"]),
        (["--set", "training.initial_weights=absent.safetensors"], ["training.initial_weights", "absent.safetensors"]),
        (["--set", "search.image_size=4"], ["search.image_size", "4"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--seed", "x"], ["--seed", " valid int"]),
        (["--repeats", "0"], ["repeats", "0"]),
        (["--folds", "0"], ["data.folds", "0"]),
        (["--workers", "0"], ["machine.workers", "0"]),
        (["--threads", "0"], ["machine.threads", "0"]),
        (["--device", "tpu"], ["'tpu'", "cpu"]),
        (["--device", "cuda:99"], ["'cuda:99'"]),
        (["--budget", "soon"], ["--budget", "'soon'"]),
        (["--budget", "-3m"], ["--budget", "'-3m'"]),
        (["--preset", "fast"], ["quick", "'fast'"]),
        (["--baselines", "resnet19"], ["'resnet19'", "resnet18"]),
        (["--config", "absent.yaml"], ["--config", "absent.yaml"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_a_bad_setting_is_named_with_the_next_step(tmp_path: Path, words: list[str], told: list[str]) -> None:
    said = run_on(write_npz(tmp_path / "data.npz"), tmp_path / "run", *words)
    check_refused(said, *told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("training: [", ["cannot be read"]),
        ("just text", ["holds none"]),
        ("training: {epoch: 3}", ["did you mean training.epochs?"]),
        ("method: random-search", ["another method"]),
        ("sources: 3", ["sources", "3"]),
        ("space: {name: nowhere}", ["nowhere"]),
    ],
)
def test_a_bad_settings_file_is_named(tmp_path: Path, content: str, told: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    out, config = str(tmp_path / "run"), str(tmp_path / "mine.yaml")
    check_refused(command("run", "mstf-nas", "--out", out, "--config", config), *told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("mstf-nass", "did you mean mstf-nas?"),
        ("randomsearch", "did you mean random-search?"),
        ("zzz", "the methods are mstf-nas"),
        ("absent.py:Mine", "no file absent.py"),
    ],
)
def test_an_unknown_method(tmp_path: Path, method: str, told: str) -> None:
    check_refused(run_on("phantom:lesions2d", tmp_path / "run", method=method), told)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("Mine = 3\n", "Mine"),
        ("class Mine:\n    pass\n", "Mine"),
        ("def Mine():\n    return 3\n", "Mine"),
        ("Other = 3\n", "no 'Mine'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_method_file_without_a_method(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(content)
    check_refused(run_on("phantom:lesions2d", tmp_path / "run", method=f"{tmp_path}/mine.py:Mine"), told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("absent.npz", ["absent.npz"]),
        ("breastmnst", ["breastmnist"]),
        ("phantom:lesions", ["phantom:lesions2d"]),
        ("phantom:lesions2d?cases=5", ["cases=5"]),
        ("phantom:lesions2d?colour=1", ["colour=1"]),
        ("absent.py:data", ["absent.py"]),
    ],
)
def test_data_that_are_not_there(tmp_path: Path, data: str, told: list[str]) -> None:
    check_refused(run_on(data, tmp_path / "run"), *told)
    assert not (tmp_path / "run").exists()


def test_no_data_and_several_data(tmp_path: Path) -> None:
    check_refused(command("run", "mstf-nas", "--out", str(tmp_path / "run")), "--data")
    one = str(write_npz(tmp_path / "data.npz"))
    check_refused(run_on(one, tmp_path / "run", "--data", one), "one --data")
    assert not (tmp_path / "run").exists()


def test_an_output_folder_that_is_not_ours(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "data.npz")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    check_refused(run_on(data, tmp_path / "thesis"), "other files", "thesis")
    check_refused(run_on(data, data), "other files", "data.npz")
    check_refused(run_on(data, data / "below"), "data.npz")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.tex"]
    run = tiny_run(data, tmp_path / "run", training__epochs=1)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    check_refused(run_on(data, run), "another", "training.epochs is 1, not 2", "--out")
    check_refused(run_on(data, run, "--seed", "4", "--set", "training.epochs=1"), "seed is 0, not 4")
    check_refused(run_on("phantom:lesions2d", run, "--set", "training.epochs=1"), "sources")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_data_that_changed_under_a_run(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "data.npz")
    run = tiny_run(data, tmp_path / "run", training__epochs=1)
    write_npz(tmp_path / "data.npz", test_value=3)
    check_refused(command("resume", str(run)), "checksum", "data.json")
    data.unlink()
    check_refused(command("resume", str(run)), "data.npz")


@pytest.mark.parametrize("verb", ["resume", "search", "train", "evaluate", "report"])
def test_a_folder_without_a_run(tmp_path: Path, verb: str) -> None:
    check_refused(command(verb, str(tmp_path / "absent")), "experiment.yaml", "archimed run METHOD")
    assert not (tmp_path / "absent").exists()
    (tmp_path / "empty").mkdir()
    check_refused(command(verb, str(tmp_path / "empty")), "experiment.yaml")
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("experiment.yaml", "method: mstf-nas\n"),
        ("experiment.yaml", "method: ["),
        ("data.json", "{"),
        ("search/selected.json", "[1, 2"),
        ("search/candidates.jsonl", "rubbish\nrubbish\n"),
        ("networks/mstf-nas/fold0.seed0/training.json", "{"),
        ("networks/mstf-nas/fold0.seed0/architecture.json", ""),
        ("networks/mstf-nas/fold0.seed0/weights.safetensors", "rubbish"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(grey: Path, tmp_path: Path, name: str, content: str) -> None:
    run = tiny_run(grey, tmp_path / "run", training__epochs=1, evaluation__baselines="none")
    if name.endswith("candidates.jsonl"):
        (run / "search" / "selected.json").unlink()  # else the search is complete, and its log is only read at the end
    (run / name).write_text(content)
    check_refused(command("resume", str(run)), Path(name).name if "yaml" not in name else "settings")


def test_stages_out_of_order(grey: Path, tmp_path: Path) -> None:
    import shutil

    run = tiny_run(grey, tmp_path / "run", training__epochs=1)
    (run / "summary.json").unlink()
    check_refused(command("report", str(run)), "summary.json", "archimed evaluate")
    shutil.rmtree(run / "networks")
    check_refused(command("evaluate", str(run)), "trained", "archimed resume")
    (run / "search" / "selected.json").unlink()
    check_refused(command("train", str(run)), "search", "archimed resume")


def test_external_data_of_another_task(grey: Path, tmp_path: Path) -> None:
    run = tiny_run(grey, tmp_path / "run", training__epochs=1)
    out = str(tmp_path / "external")
    others = {
        "classes": write_npz(tmp_path / "classes.npz", classes=4),
        "channels": write_npz(tmp_path / "channels.npz", channels=3),
    }
    check_refused(command("evaluate", str(run), "--data", str(others["classes"]), "--out", out), "kind of task")
    check_refused(command("evaluate", str(run), "--data", str(others["channels"]), "--out", out), "channels")
    check_refused(command("evaluate", str(run), "--data", str(grey)), "--data and --out")
    check_refused(command("evaluate", str(run), "--data", "absent.npz", "--out", out), "absent.npz")
    assert not (tmp_path / "external").exists()
    check_refused(command("evaluate", str(run), "--data", str(grey), "--out", str(run)), "holds files")


@pytest.mark.parametrize("words", [["runn"], ["list", "colours"], ["data", "describe", "phantom:lesions2d"], ["run"]])
def test_a_wrong_command_line(words: list[str]) -> None:
    check_refused(command(*words), "archimed --help")
