"""Pages that lead a new user by the hand are walked: every block is executed in order, with searches made small."""

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.cli.command import command
from tests.experiment.tiny import COMMON, SEARCH, SPACE, command_line_settings

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELLS = {"space.width": 4, "space.num_nodes": 2, "search.epochs": 1, "search.batch_size": 4, "search.warmup_epochs": 0}
STAGES = {"search.candidates": 3, "search.population_size": 2, "search.first_candidates": 2, "search.batch_size": 4}
SMALL = {
    "mstf-nas": {**SPACE, **SEARCH},
    "zen-nas": {**STAGES, "space.stages": 2, "space.most_width": 16, "space.most_layers": 2},
    "mm-nas": {**CELLS, "training.members": 1},
    "mixsearch": {**CELLS, "space.depth": 3, "space.layers": 5, "search.first_depth": 3, "search.first_layers": 5},
}


def walk(page: str, notes: list[str]) -> None:
    """Execute the blocks of a page in the present folder; `notes` takes what each command printed."""
    for language, text in FENCE.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "python" and (named := re.match(r"# (\w+\.py)\n", text)):
            Path(named[1]).write_text(text, encoding="utf-8")
        for line in text.replace("\\\n", " ").splitlines() if language == "bash" else ():
            program, *words = shlex.split(line, comments=True) or [""]
            if program == "python":
                subprocess.run([sys.executable, *words], check=True, timeout=120)
            elif program == "archimed" and words[0] != "doctor":
                small = command_line_settings({**SMALL[words[1]], **COMMON}) if words[0] == "run" else []
                sized = [word for word in words if not word.startswith("data.image_size")]
                said = command(*(words if sized == words else [*words, "--set", "data.image_size=16"]), *small)
                assert said.code == 0, f"{line}: {said.stderr}"
                notes.append(said.stdout)


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(crc32(str(path).encode())).integers(0, 100, (16, 16), dtype=np.uint8)
    pixels[4:9, 4:9] += np.uint8(value)
    Image.fromarray(pixels).save(path)


def volume(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(crc32(str(path).encode())).normal(0, 1, (16, 16, 16))
    voxels[4:9, 4:9, 4:9] += value
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.eye(4)), path)


def table(path: str, header: str, rows: list[str]) -> None:
    Path(path).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def what_users_have() -> None:
    """The files that the quick start speaks of."""
    for number in range(1, 31):
        label, name = ("benign", "malignant")[number % 2], f"{number:03}.png"
        picture(Path("photos") / label / name, 100 * (number % 2))
        picture(Path("scans") / f"0{name}", 100 * (number % 2))
        picture(Path("cells/images") / name, 120)
        mask = np.zeros((16, 16), np.uint8)
        mask[4:9, 4:9] = 1
        Path("cells/masks").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(Path("cells/masks") / name)
        for kind, value in (("volume", 3.0), ("pet", 4.0), ("ct", 2.0)):
            volume(Path(f"p{number:03}/{kind}.nii.gz"), value * (number % 2))
        region = np.zeros((16, 16, 16), np.uint8)
        region[3:12, 3:12, 3:12] = 1
        nibabel.save(nibabel.Nifti1Image(region, np.eye(4)), f"p{number:03}/tumour.nii.gz")
    picture(Path("new/0001.png"), 100)
    numbers = range(1, 31)
    table("cases.csv", "image,label,patient", [f"scans/0{n:03}.png,{'ab'[n % 2]},p{n:03}" for n in numbers])
    table("volumes.csv", "image,label,patient", [f"p{n:03}/volume.nii.gz,{'ab'[n % 2]},p{n:03}" for n in numbers])
    rows = [f"p{n:03}/pet.nii.gz,p{n:03}/ct.nii.gz,{'ab'[n % 2]},p{n:03},p{n:03}/tumour.nii.gz" for n in numbers]
    table("labels.csv", "image_PET,image_CT,label,patient,region", rows)


@pytest.mark.slow
def test_the_tutorial_from_dicom_to_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    notes: list[str] = []
    walk("tutorial.md", notes)
    with Path("inside.csv").open() as file:
        inside = next(csv.DictReader(file))
    with Path("outside.csv").open() as file:
        outside = next(csv.DictReader(file))
    for name in ("probability_clear", "probability_nodule"):
        assert float(outside[name]) == pytest.approx(float(inside[name]), abs=1e-4)


@pytest.mark.slow
def test_the_quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    practice = next(text for language, text in FENCE.findall(tutorial) if text.startswith("# practice.py"))
    exec(compile(practice, "practice.py", "exec"), {})  # noqa: S102 - writes DICOM series
    what_users_have()
    table("series.csv", "image,label,patient", [f"dicom/p{n:03}/CT,{'ab'[n % 2]},p{n:03}" for n in range(1, 31)])
    notes: list[str] = []
    walk("index.md", notes)
    assert sum("Report: " in note for note in notes) >= 7
    assert Path("runs/index.html").is_file()
