"""Canaries in every text of the data; every byte that a run, its report, its maps and the cache write is searched."""

import base64
import gzip
import io
import json
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import archimed
from tests.cli.command import command
from tests.data.test_privacy import BIRTH, CANARY, CASES, UID, pixels, write_dicom_files, write_table
from tests.experiment.tiny import TINY, command_line_settings
from tests.trust.canaries import found_in

WORDS = (CANARY, BIRTH, UID)
SETTINGS = command_line_settings(TINY)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIMED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ARCHIMED_CONFIG", str(tmp_path / "config"))


def hide(word: bytes, form: str) -> bytes:
    """A word as it may lie in a file."""
    inner = b"before " + word + b" after"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", inner)
    return {
        "plain": inner,
        "wide": word.decode().upper().encode("utf-16-be"),
        "gzip": b"xx" + gzip.compress(inner),
        "zlib": b"xx" + zlib.compress(inner),
        "base64": b"data:" + base64.b64encode(inner),
        "address": base64.urlsafe_b64encode(inner + b"\xff\xfe\xfb"),
        "archive": archive.getvalue(),
        "all": base64.b64encode(gzip.compress(base64.b64encode(zlib.compress(inner)))),
    }[form]


@pytest.mark.parametrize("form", ["plain", "wide", "gzip", "zlib", "base64", "address", "archive", "all"])
def test_the_search_finds_a_word_in_every_form(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "secret").write_bytes(hide(CANARY.encode(), form))
    (tmp_path / "in" / "empty").write_bytes(hide(b"nothing", form))
    assert found_in(tmp_path / "in", WORDS) == ["secret"]


def test_the_search_looks_into_pictures(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Comment", f"seen {CANARY}", zip=True)
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "in" / "a.png", pnginfo=notes)
    assert found_in(tmp_path / "in", WORDS) == ["a.png"]


def test_nothing_made_of_dicom_names_a_patient(tmp_path: Path) -> None:
    source, run = write_dicom_files(tmp_path / "data"), tmp_path / "run"
    words = [
        ["run", "mstf-nas", "--data", str(source), "--out", str(run), *SETTINGS],
        ["report", str(run)],
        ["explain", str(run), "--out", str(tmp_path / "maps")],
        ["evaluate", str(run), "--data", str(source), "--out", str(tmp_path / "elsewhere")],
        ["data", "describe", str(source), "--out", str(tmp_path / "look")],
        ["report", str(tmp_path)],
    ]
    for one in words:
        said = command(*one)
        assert said.code == 0, said.stderr
        told = (said.stdout + said.stderr).replace(str(tmp_path), "")
        assert not [word for word in (*WORDS, "Jane") if word in told]
    assert (run / "report.html").exists()
    written = [path for path in tmp_path.iterdir() if path.name not in ("data", "config")]
    assert len(written) >= 5
    for path in written:
        found = found_in(path, WORDS) if path.is_dir() else found_in_file(path)
        assert found == [], path.name


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of DICOM files with canaries, and their folder beside it."""
    folder = tmp_path_factory.mktemp("plain")
    source = write_dicom_files(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARCHIMED_CACHE", str(folder / "cache"))
        patch.setenv("ARCHIMED_CONFIG", str(folder / "config"))
        archimed.run("mstf-nas", str(source), folder / "run", settings=TINY)
    return folder / "run"


@pytest.mark.parametrize("form", ["pt2", "onnx", "source", "bundle"])
def test_no_export_names_a_patient(plain_run: Path, tmp_path: Path, form: str) -> None:
    said = command("export", str(plain_run), "--format", form, "--out", str(tmp_path / "export"))
    assert said.code == 0, said.stderr
    assert any((tmp_path / "export").rglob("*"))
    assert found_in(tmp_path / "export", WORDS) == []
    told = (said.stdout + said.stderr).replace(str(tmp_path), "").replace(str(plain_run), "")
    assert not [word for word in WORDS if word in told]


def test_answers_name_files_as_you_do_and_tell_nothing_that_is_in_them(plain_run: Path, tmp_path: Path) -> None:
    [named, *_] = sorted((plain_run.parent / "data" / f"{CANARY}-ward").iterdir())
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "scan.dcm").write_bytes(named.read_bytes())
    before = {path: path.read_bytes() for path in plain_run.rglob("*") if path.is_file()}
    said = command("predict", str(plain_run), str(tmp_path / "asked" / "scan.dcm"), "--out", str(tmp_path / "answers"))
    assert said.code == 0, said.stderr
    assert found_in(tmp_path / "answers", WORDS) == []
    assert "scan" in (tmp_path / "answers" / "predictions.csv").read_text()
    for folder in ("cache", "config"):
        assert found_in(tmp_path / folder, WORDS) == []
    said = command("predict", str(plain_run), str(named), "--out", str(tmp_path / "named"))
    assert said.code == 0, said.stderr
    answers = (tmp_path / "named" / "predictions.csv").read_text()
    assert CANARY in answers  # by the name that was typed, without which no answer could be told from another
    assert CANARY not in answers.replace(str(named), "").replace(named.stem, "")
    assert {path: path.read_bytes() for path in plain_run.rglob("*") if path.is_file()} == before


def found_in_file(path: Path) -> list[str]:
    return [name for name in found_in(path.parent, WORDS) if name == path.name]


def write_nifti(folder: Path) -> Path:
    """Volumes with canaries in every text field of the header, and in an extension."""
    names = [f"{CANARY}/{CANARY}_{row:02d}.nii.gz" for row in range(CASES)]
    (folder / CANARY).mkdir(parents=True)
    for row, name in enumerate(names):
        image = nibabel.Nifti1Image(pixels(row, (6, 12, 12)).astype(np.int16), np.diag([1.0, 1.0, 2.0, 1.0]))
        header = image.header
        for field in ("descrip", "aux_file", "intent_name", "db_name"):
            header[field] = CANARY.encode()
        header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{CANARY} {BIRTH}".encode()))
        nibabel.save(image, folder / name)
    return write_table(folder, names)


def test_nothing_made_of_nifti_names_a_patient(tmp_path: Path) -> None:
    source = write_nifti(tmp_path / "data")
    said = command("data", "describe", str(source), "--out", str(tmp_path / "look"))
    assert said.code == 0, said.stderr
    assert json.loads((tmp_path / "look" / "data.json").read_text())["cases"]
    assert any((tmp_path / "cache").rglob("*"))
    for folder in ("look", "cache"):
        assert found_in(tmp_path / folder, WORDS) == []
