"""`archimed export` end to end: files that answer as the run does in a process without archimed, or nothing at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import archimed
from archimed.errors import RunError, SettingsError
from archimed.experiment import export_stage
from archimed.experiment.export_stage import BORDERED, export_run
from archimed.experiment.progress import Silent
from archimed.export.checks import Difference, ExportError
from tests.cli.command import command
from tests.experiment.tiny import COMMON, read


def export(run: Path, form: str, out: Path, network: str | None = None) -> dict[str, Any]:
    return export_run(run, form, out, network, Silent())


def test_a_source_is_proven_on_the_runs_own_cases(finished: Path, tmp_path: Path) -> None:
    said = command("export", str(finished), "--format", "source", "--out", str(tmp_path / "out"), "--json", "--quiet")
    assert said.code == 0, said.stderr
    document = json.loads(said.stdout)
    assert document == read(tmp_path / "out" / "export.json")
    assert (document["network"], document["proven_on"]) == ("mstf-nas", "8 test cases")
    assert {one["of"] for one in document["differences"]} == {"logits", "probabilities in predictions.csv"}
    assert all(one["largest"] <= 1e-4 for one in document["differences"])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {*document["files"], "MODEL_CARD.md", "README.md", "export.json"}
    trained = finished / "networks" / "mstf-nas" / "fold0.seed0"
    modes = {path.stat().st_mode for folder in (tmp_path / "out", trained) for path in folder.iterdir()}
    assert len(modes) == 1  # also of the weights, which safetensors writes for their owner alone
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images of two sizes, both smaller than the patch; its folder has the data."""
    folder = tmp_path_factory.mktemp("masks")
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / "data" / part).mkdir(parents=True)
    for number in range(12):
        side = 16 + 4 * (number % 2)
        mask = np.zeros((side, side), np.uint8)
        mask[4:12, 3:10] = 1
        image = rng.integers(0, 100, (side, side), dtype=np.uint8) + 150 * mask
        Image.fromarray(image.astype(np.uint8)).save(folder / "data" / "images" / f"{number}.png")
        Image.fromarray(mask).save(folder / "data" / "masks" / f"{number}.png")
    settings = {"space.name": "unet", "space.width": 2, "search.candidates": 1, "search.batch_size": 2}
    training = {"training.patch_size": 32, "training.batch_size": 4, "data.cache": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
        return archimed.run(
            "random-search", str(folder / "data"), folder / "run", settings=COMMON | settings | training
        )


def test_a_graph_that_makes_masks_has_the_size_of_the_largest_image(
    masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_stage, "same_outputs", lambda *_: Difference("logits", 0.0, 2))
    document = export(masks, "pt2", tmp_path / "out")
    differences = {one["of"]: one for one in document["differences"]}
    cases = sum(one["cases"] for name, one in differences.items() if "Dice" in name)
    assert document["proven_on"] == f"{cases} test cases"
    assert differences["Dice in predictions.csv"]["largest"] <= 0.01
    assert differences[BORDERED]["cases"] > 0
    assert read(tmp_path / "out" / "preprocess.json")["patch"] == [20, 20]
    network = torch.export.load(tmp_path / "out" / "model.pt2").module()
    assert network(torch.zeros(1, 1, 20, 20)).shape == (1, 2, 20, 20)
    assert "The graph takes images of 20 x 20 pixels" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_that_answers_otherwise_is_not_written(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_stage, "same_outputs", lambda *_: Difference("logits", 0.0, 8))
    monkeypatch.setattr(
        export_stage, "answers_outside", lambda _form, _folder, cases, _masks: dict.fromkeys(cases, np.array([2.0, 3]))
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "export.json").write_text("{}")
    with pytest.raises(ExportError, match=r"probabilities in predictions.csv differ"):
        export(finished, "source", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "export.json"]  # the export before is as it was


def test_without_the_runs_data_noise_is_the_proof(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_stage, "same_outputs", lambda *_: Difference("logits", 0.0, 10))
    run = shutil.copytree(finished, tmp_path / "run")
    text = (run / "experiment.yaml").read_text()
    (run / "experiment.yaml").write_text(text.replace("grey.npz", "gone.npz"))
    document = export(run, "source", tmp_path / "out")
    assert document["proven_on"].startswith("noise, as ")
    assert [one["of"] for one in document["differences"]] == ["logits"]


def test_what_cannot_be_exported_is_said_before_anything_is_written(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(RunError, match="new, empty or an export"):
        export(finished, "source", tmp_path / "used")
    with pytest.raises(SettingsError, match="'keras'"):
        export(finished, "keras", tmp_path / "out")
    with pytest.raises(RunError, match="'resnet99'"):
        export(finished, "source", tmp_path / "out", "resnet99")
    assert not (tmp_path / "out").exists()
