"""`archimed explain` on small finished runs: files, figures in the report, geometry, privacy, and what is refused."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from archimed.errors import DataError, RunError, SettingsError
from archimed.experiment import tune_stage
from archimed.experiment.explain_stage import explain_run
from archimed.experiment.progress import Silent
from tests.experiment.tiny import tiny_run, write_npz

AFFINE = np.array([[0.0, 2.0, 0.0, -30.0], [-1.5, 0.0, 0.3, 12.0], [0.0, 0.2, 3.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def explain(run: Path, cases: str | None = None, network: str | None = None, out: Path | None = None) -> dict[str, Any]:
    folder = explain_run(run, cases, network, out, Silent())
    document: dict[str, Any] = json.loads((folder / "maps.json").read_text())
    return document


@pytest.fixture
def own(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may write to."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_is_explained_in_its_folder_and_its_report(own: Path) -> None:
    document = explain(own)
    folder = own / "explained" / "mstf-nas"
    assert document["network"] == "mstf-nas"
    assert document["deletion"]["cases"] == 8
    assert document["deletion"]["verdict"] in {"faithful", "misleading", "undecided"}
    for case in document["cases"]:
        assert case["split"] == "test"
        assert case["truth"][0] in case["why"]
        for one in case["maps"]:
            heat = nibabel.load(folder / one["heat_map"])
            assert heat.shape == (1, 12, 12)
            assert "do not tell where it lies" in one["grid"]
            assert one["elsewhere"] + sum(part["mean"] for part in one["maps"]) == pytest.approx(one["logit"], abs=1e-4)
            for panel in one["panels"]:
                with Image.open(folder / panel["file"]) as picture:
                    assert picture.size == (panel["width"], panel["height"])
    page, report = (folder / "explain.html").read_text(), (own / "report.html").read_text()
    for text in (page, report):
        assert "data:image/png;base64," in text
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert document["cases"][0]["case"] in text
    assert 'id="maps"' in report
    again = explain(own)
    assert again == document


def test_a_network_is_explained_at_the_image_size_it_was_tuned_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tune_stage.make_trial

    def small_is_best(*arguments: Any) -> dict[str, Any]:
        line = make(*arguments)
        return line | {"value": float(line["settings"]["image_size"] == 8)}

    monkeypatch.setattr(tune_stage, "make_trial", small_is_best)
    settings = {"tune__trials": 6, "tune__image_sizes": "8", "tune__batch_sizes": "8"}
    run = tiny_run(write_npz(tmp_path / "grey.npz"), tmp_path / "run", method="random-search", **settings)
    document = explain(run)
    heat = nibabel.load(run / "explained" / "random-search" / document["cases"][0]["maps"][0]["heat_map"])
    assert heat.shape == (1, 8, 8)


def test_right_and_wrong_answers_of_each_class_are_picked(own: Path) -> None:
    document = explain(own)
    with (own / "networks" / "mstf-nas" / "fold0.seed0" / "predictions.csv").open(newline="") as file:
        lines = {line["case"]: line for line in csv.DictReader(file) if line["split"] == "test"}
    names = [name for name in next(iter(lines.values())) if name.startswith("probability_")]
    right = [line["label"] == max(names, key=lambda name: float(line[name]))[12:] for line in lines.values()]
    kinds = {(line["label"], correct) for line, correct in zip(lines.values(), right, strict=True)}
    assert len(document["cases"]) == len(kinds)


def test_named_cases_of_another_network_elsewhere(finished: Path, tmp_path: Path) -> None:
    split = json.loads((finished / "splits.json").read_text())["folds"][0]
    file = tmp_path / "cases.txt"
    file.write_text(f"{split['train'][0]}\n{split['test'][2]}\n")
    before = sorted(path for path in finished.rglob("*"))
    document = explain(finished, str(file), "random-search", tmp_path / "out")
    assert [(case["case"], case["split"]) for case in document["cases"]] == [
        (split["train"][0], "train"),
        (split["test"][2], "test"),
    ]
    assert document["network"] == "random-search"
    assert sorted(path for path in finished.rglob("*")) == before


def test_what_cannot_be_explained_is_refused_in_a_line(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--cases names cases .* but no 'nobody'"):
        explain(finished, "nobody", None, tmp_path / "a")
    with pytest.raises(SettingsError, match="names none"):
        explain(finished, " , ", None, tmp_path / "b")
    with pytest.raises(RunError, match=r"trained: .*mstf-nas.*; got 'resnet99'"):
        explain(finished, None, "resnet99", tmp_path / "c")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(RunError, match="new or empty"):
        explain(finished, None, None, tmp_path / "full")
    assert not (tmp_path / "a").exists()


def test_a_run_on_other_data_is_refused(tmp_path: Path) -> None:
    data = write_npz(tmp_path / "grey.npz")
    run = tiny_run(data, tmp_path / "run")
    write_npz(data, test_value=255)
    with pytest.raises(RunError, match="keeps to the data it began with"):
        explain(run)


def test_a_run_that_is_not_evaluated_is_refused(own: Path) -> None:
    (own / "summary.json").unlink()
    with pytest.raises(RunError, match="used once it is evaluated"):
        explain(own)


def write_volumes(folder: Path, shape: tuple[int, int, int] = (14, 10, 12)) -> Path:
    """Oblique NIfTI volumes of two classes; a bright block tells which."""
    rng = np.random.default_rng(3)
    lines = ["image,label,split"]
    for number in range(24):
        values = rng.normal(0, 1, shape).astype(np.float32)
        label = number % 2
        if label:
            values[8:12, 2:6, 2:6] += 4
        image = nibabel.Nifti1Image(values, AFFINE)
        nibabel.save(image, folder / f"volume{number}.nii.gz")
        lines.append(
            f"volume{number}.nii.gz,{label},{('train', 'train', 'train', 'validation', 'test')[number // 2 % 5]}"
        )
    table = folder / "cases.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def test_heat_maps_of_volumes_lie_on_the_grid_of_their_files(tmp_path: Path) -> None:
    table = write_volumes(tmp_path)
    settings = {"data__spacing_mm": 2.0, "data__image_size": [12, 10, 10], "data__fit": "crop-or-pad"}
    run = tiny_run(table, tmp_path / "run", **settings)
    document = explain(run)
    assert document["cases"]
    for case in document["cases"]:
        assert len(case["maps"][0]["slices"]) == 12
        for one in case["maps"]:
            heat = nibabel.load(run / "explained" / "mstf-nas" / one["heat_map"])
            assert one["grid"] == "the grid of the input file"
            assert heat.shape == (14, 10, 12)
            assert np.allclose(heat.affine, AFFINE, atol=1e-4)
            values = np.asarray(heat.dataobj)
            at = np.linalg.inv(AFFINE) @ [*one["hottest"]["mm"], 1]
            near = tuple(np.clip(np.rint(at[:3]).astype(int), 0, np.array(values.shape) - 1))
            assert values[near] >= np.quantile(values[values != 0], 0.9)  # of what the network saw


def test_pictures_of_dicom_are_only_drawn_when_asked_for(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from archimed.experiment import sources

    load = sources.load_dataset

    def from_dicom(*arguments: Any, **settings: Any) -> Any:
        dataset = load(*arguments, **settings)
        return replace(dataset, cases=tuple(replace(case, from_dicom=True) for case in dataset.cases))

    monkeypatch.setattr(sources, "load_dataset", from_dicom)
    document = explain(own)
    folder = own / "explained" / "mstf-nas"
    assert not list(folder.glob("*.png"))
    assert list(folder.glob("*.nii.gz"))
    assert all(not case["pictured"] for case in document["cases"])
    assert "may show who the patient is" in (folder / "explain.html").read_text()
    text = (own / "experiment.yaml").read_text()
    (own / "experiment.yaml").write_text(text.replace("pictures: auto", "pictures: always"))
    assert all(case["pictured"] for case in explain(own)["cases"])
