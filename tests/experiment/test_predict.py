"""Answers for images without labels: the same as evaluation gave, whatever form the images come in."""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

import archimed
from archimed.errors import ArchimedError
from archimed.evaluation.temperature import fit_temperature, tempered
from archimed.experiment.networks import load_network
from archimed.experiment.predict_stage import Question, predict_run
from archimed.experiment.progress import Silent
from archimed.runs import NetworkFolder
from tests.cli.command import command
from tests.experiment.tiny import COMMON, tiny_run

LABELS = ("mass", "calm")


def ask(run: Path, *images: Path | str, out: Path | None = None, **asked: Any) -> dict[str, Any]:
    return predict_run(run, Question(tuple(map(str, images)), **asked), out, Silent())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluated(run: Path, network: str = "mstf-nas", place: str = "fold0.seed0") -> dict[str, float]:
    rows = rows_of(run / "networks" / network / place / "predictions.csv")
    return {row["case"]: float(row["probability_1"]) for row in rows}


def answered(document: dict[str, Any]) -> dict[str, float]:
    return {case["case"]: case["probabilities"]["1"] for case in document["cases"]}


@pytest.fixture(scope="module")
def pictures(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images of the finished run as PNG files, named by their cases."""
    folder = tmp_path_factory.mktemp("pictures")
    with np.load(grey) as arrays:
        for number, image in enumerate(arrays["test_images"]):
            Image.fromarray(image).save(folder / f"test-{number:05d}.png")
    return folder


def test_own_cases_are_answered_as_evaluation_did(finished: Path, grey: Path, tmp_path: Path) -> None:
    own = evaluated(finished)
    document = ask(finished, grey, out=tmp_path / "out", calibrated=False)
    found = answered(document)
    assert len(found) == 32  # those of training too
    assert {case: found[case] for case in own} == pytest.approx(own, abs=1e-6)
    assert document["calibration"] == "none"
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == document
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    told = ["predicted", "probability_0", "probability_1", "calibration", "caution"]
    assert [*rows[0]] == ["case", "image", *told, "error"]
    assert [row["predicted"] for row in rows] == [str(int(value > 0.5)) for value in found.values()]
    other = answered(ask(finished, grey, network="random-search", calibrated=False))
    theirs = evaluated(finished, "random-search")
    assert {case: other[case] for case in theirs} == pytest.approx(theirs, abs=1e-6)


def test_the_form_of_images_does_not_matter(finished: Path, pictures: Path, tmp_path: Path) -> None:
    own = {case: value for case, value in evaluated(finished).items() if case.startswith("test")}
    files = sorted(pictures.iterdir())
    table = tmp_path / "cases.csv"
    table.write_text("id,image,scanner\n" + "".join(f"{file.stem},{file},A\n" for file in files))
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, images=np.stack([np.asarray(Image.open(file)) for file in files]))
    for images in (files, [pictures], [table]):
        found = answered(ask(finished, *images, calibrated=False))
        assert found == pytest.approx(own, abs=1e-6)
    by_place = answered(ask(finished, arrays, calibrated=False))
    assert [*by_place.values()] == pytest.approx([*own.values()], abs=1e-6)
    nested = tmp_path / "tree" / "a"
    nested.mkdir(parents=True)
    (nested / "x.png").write_bytes(files[0].read_bytes())
    (tmp_path / "tree" / "x.png").write_bytes(files[1].read_bytes())
    twice = ask(finished, tmp_path / "tree", calibrated=False)
    assert [case["case"] for case in twice["cases"]] == ["x", "x-2"]
    assert [*answered(twice).values()] == pytest.approx([own["test-00000"], own["test-00001"]], abs=1e-6)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds and two seeds."""
    source = "phantom:lesions2d?cases=80&size=16"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
        out = tmp_path_factory.mktemp("several") / "run"
        return tiny_run(source, out, data__folds=2, repeats=2, training__epochs=1)


def test_folds_and_seeds_answer_by_their_mean_and_are_calibrated_on_validation(several: Path, tmp_path: Path) -> None:
    source = "phantom:lesions2d?cases=80&size=16"
    raw = ask(several, source, calibrated=False)
    assert len(raw["members"]) == 4
    alone = [ask(several, source, calibrated=False, members=(name,)) for name in raw["members"]]
    name = raw["classes"][1]

    def column(document: dict[str, Any]) -> np.ndarray:
        return np.array([case["probabilities"][name] for case in document["cases"]])

    assert column(raw) == pytest.approx(np.mean([column(one) for one in alone], axis=0), abs=1e-6)
    held_out: dict[str, list[float]] = {}
    truth: dict[str, int] = {}
    for member in raw["members"]:
        for row in rows_of(several / "networks" / "mstf-nas" / member / "predictions.csv"):
            if row["split"] == "validation":
                held_out.setdefault(row["case"], []).append(float(row[f"probability_{name}"]))
                truth[row["case"]] = raw["classes"].index(row["label"])
    given = np.array([np.mean(held_out[case]) for case in truth])
    temperature = fit_temperature("binary", np.array([*truth.values()]), np.stack([1 - given, given], axis=1))
    document = ask(several, source, out=tmp_path / "out.csv")
    assert document["temperature"] == pytest.approx(temperature, rel=1e-4)
    expected = tempered("binary", np.stack([1 - column(raw), column(raw)], 1), document["temperature"])[:, 1]
    assert column(document) == pytest.approx(expected, abs=1e-6)
    assert {row["calibration"] for row in rows_of(tmp_path / "out.csv")} == {
        f"temperature {document['temperature']:.4g}"
    }


def test_flips_are_the_mean_over_mirror_images(finished: Path, pictures: Path) -> None:
    file = min(pictures.iterdir())
    stored = load_network(NetworkFolder(finished / "networks" / "mstf-nas" / "fold0.seed0"))
    image = torch.from_numpy(np.asarray(Image.open(file)).copy())[None, None]
    views = [image, image.flip(2), image.flip(3), image.flip((2, 3))]
    with torch.no_grad():
        expected = torch.stack([stored.network(stored.normalise(view)).softmax(1)[0, 1] for view in views]).mean()
    found = answered(ask(finished, file, calibrated=False, flips=True))
    assert [*found.values()] == pytest.approx([float(expected)], abs=1e-6)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two labels; its folder has the table."""
    folder = tmp_path_factory.mktemp("labels")
    rng = np.random.default_rng(0)
    lines = ["image,split,label_mass,label_calm"]
    for case in range(48):
        image = rng.integers(0, 100, (12, 12), dtype=np.uint8)
        image[3:9, 3:9] += np.uint8(120 * (case % 2))
        Image.fromarray(image).save(folder / f"{case}.png")
        lines.append(f"{case}.png,{('train', 'val', 'test')[case % 3]},{case % 2},{1 - case % 2}")
    (folder / "cases.csv").write_text("\n".join(lines))
    return tiny_run(folder / "cases.csv", folder / "run", method="random-search", data__cache=False)


def test_labels_are_given_by_the_thresholds_of_validation(labels: Path) -> None:
    folder = labels / "networks" / "random-search" / "fold0.seed0"
    chosen = json.loads((folder / "metrics.json").read_text())["thresholds"]
    document = ask(labels, labels.parent / "cases.csv")
    assert document["thresholds"] == chosen
    own = {row["case"]: row for row in rows_of(folder / "predictions.csv")}
    assert len(document["cases"]) == 48
    for case in document["cases"]:
        if row := own.get(case["case"]):
            expected = [name for name in LABELS if float(row[f"probability_{name}"]) > chosen[name]]
            assert case["predicted"] == expected
    said = command("predict", str(labels), str(labels.parent / "0.png"), "--quiet")
    assert said.stdout.startswith("case,image,predicted_mass,predicted_calm,probability_mass,probability_calm,")


@pytest.fixture(scope="module")
def organs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny U-Net on volumes of several sizes in an order of axes of their own; its folder has the files."""
    folder = tmp_path_factory.mktemp("organs")
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / "data" / part).mkdir(parents=True)
    for number in range(10):
        shape = (12 + number % 3, 14, 16)
        truth = np.zeros(shape, np.uint8)
        truth[3:9, 4:10, 5:12] = 1
        affine = np.array([[0, 0, 1.5, 0], [-1, 0, 0, 5], [0, 2, 0, 0], [0, 0, 0, 1.0]])
        values = (truth * 100 + rng.integers(0, 30, shape)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(values, affine), folder / "data" / "images" / f"{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(truth, affine), folder / "data" / "labels" / f"{number}.nii.gz")
    settings = COMMON | {
        "space.name": "unet",
        "space.width": 2,
        "training.batch_size": 4,
        "training.epochs": 6,
        "training.patch_size": 16,
        "search.candidates": 1,
        "search.batch_size": 2,
        "data.cache": False,
    }
    return archimed.run("random-search", folder / "data", folder / "run", settings=settings)


def test_masks_have_the_scores_that_evaluation_found(organs: Path, tmp_path: Path) -> None:
    document = ask(organs, organs.parent / "data", out=tmp_path / "masks")
    own = rows_of(organs / "networks" / "random-search" / "fold0.seed0" / "predictions.csv")
    for row in own:
        number = int(row["case"].removeprefix("case-")) - 1
        case = document["cases"][number]
        found = nibabel.load(tmp_path / "masks" / case["mask"])
        truth = nibabel.load(organs.parent / "data" / "labels" / f"{number}.nii.gz")
        assert found.shape == truth.shape
        assert np.array_equal(found.affine, truth.affine)
        mask, wanted = np.asarray(found.dataobj), np.asarray(truth.dataobj)
        assert int(mask.sum()) == int(row["answered_size"]) == case["pixels"]["foreground"]
        if row["dice"]:
            assert 2 * (mask & wanted).sum() / (mask.sum() + wanted.sum()) == pytest.approx(float(row["dice"]))
        assert case["millilitres"]["foreground"] == pytest.approx(mask.sum() * 3 / 1000)
    assert len(document["cases"]) == 10
    whole = command("predict", str(organs), str(organs.parent / "data"), "--quiet")
    assert whole.code == 2
    assert "--out DIR" in whole.stderr


def test_images_unlike_the_runs_are_told(finished: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((12, 12), 255, np.uint8)).save(tmp_path / "white.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 2, (12, 12), dtype=np.uint8)).save(tmp_path / "dark.png")
    document = ask(finished, tmp_path / "white.png", tmp_path / "dark.png")
    assert "span only 255 to 255" in document["cases"][0]["caution"] or "outside" in document["cases"][0]["caution"]
    assert "unlike those of the run" in document["cautions"][-1]


def test_what_cannot_be_answered_is_said_in_one_line(finished: Path, pictures: Path, tmp_path: Path) -> None:
    file = str(min(pictures.iterdir()))
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(tmp_path / "rgb.png")
    Image.fromarray(np.zeros((12, 12), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.float32), np.eye(4)), tmp_path / "volume.nii")
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.csv").touch()
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "experiment.yaml").write_text((finished / "experiment.yaml").read_text())
    for words, told in (
        ((str(finished), str(tmp_path / "rgb.png")), "1 channels"),
        ((str(finished), str(tmp_path / "deep.png")), "uint16"),
        ((str(finished), str(tmp_path / "broken.png")), "broken.png"),
        ((str(finished), str(tmp_path / "none.png")), "no file or folder"),
        ((str(finished), str(tmp_path / "volume.nii")), "flat images"),
        ((str(finished), str(tmp_path / "empty")), "has none"),
        ((str(finished),), "none is given"),
        ((str(finished), file, "--network", "resnet99"), "'resnet99'"),
        ((str(finished), file, "--members", "fold7.seed0"), "fold0.seed0"),
        ((str(finished), file, "--dataset", "other"), "needs no name"),
        ((str(finished), file, "--out", str(tmp_path / "there.csv")), "there already"),
        ((str(finished), "--modality", f"pet={file}"), "image"),
        ((str(finished), "--modality", "pet"), "NAME=FILE"),
        ((str(unfinished), file), "is not. Go on with"),
        ((str(tmp_path / "nothing"), file), "experiment.yaml"),
    ):
        said = command("predict", *words, "--quiet")
        assert (said.code, said.stdout) == (2, ""), words
        assert told in said.stderr.splitlines()[-1]
        assert said.stderr.count("archimed: ") == 1
    said = command("predict", str(finished), f"{tmp_path / 'rgb.png'}?channels=1", "--quiet", "--json")
    assert said.code == 0, said.stderr
    assert json.loads(said.stdout)["cases"][0]["case"] == "rgb"


def test_images_that_cannot_be_used_do_not_stop_the_others(finished: Path, pictures: Path, tmp_path: Path) -> None:
    good = sorted(pictures.iterdir())[:2]
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    table = tmp_path / "cases.csv"
    table.write_text(f"id,image\nlost,lost.png\nfirst,{good[0]}\nbroken,broken.png\nsecond,{good[1]}\n")
    said = command("predict", str(finished), str(table), "--out", str(tmp_path / "out"), "--quiet")
    assert said.code == 2
    told = said.stderr.splitlines()
    assert told[-1] == "archimed: 2 of 4 images cannot be used; the others are answered. Mend those."
    for line, name in zip(told[-3:], ("lost.png", "broken.png"), strict=False):
        assert line.startswith(f"Not answered: {tmp_path / name}: ")
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    assert [row["case"] for row in rows] == ["first", "second", "lost", "broken"]
    assert [bool(row["error"]) for row in rows] == [False, False, True, True]
    assert rows[2]["predicted"] == rows[3]["probability_1"] == ""
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [case["case"] for case in document["failed"]] == ["lost", "broken"]
    alone = answered(ask(finished, *good)).values()
    assert answered(document) == pytest.approx(dict(zip(("first", "second"), alone, strict=True)))
    (tmp_path / "also.png").write_bytes(b"nothing")
    wrong = [str(tmp_path / name) for name in ("also.png", "broken.png")]
    none = command("predict", str(finished), *wrong, "--out", str(tmp_path / "none.csv"), "--quiet")
    assert (none.code, none.stdout, (tmp_path / "none.csv").exists()) == (2, "", False)
    assert none.stderr.startswith("archimed: None of the 2 images can be used. The first: ")


def test_masks_are_written_of_the_images_that_can_be_used(organs: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    good = organs.parent / "data" / "images" / "3.nii.gz"
    document = ask(organs, tmp_path / "broken.nii.gz", good, out=tmp_path / "masks")
    assert [case["case"] for case in document["cases"]] == ["3"]
    assert [case["case"] for case in document["failed"]] == ["broken"]
    written = {path.name for path in (tmp_path / "masks").iterdir()}
    assert written == {document["cases"][0]["mask"], "predictions.csv", "predictions.json"}
    rows = rows_of(tmp_path / "masks" / "predictions.csv")
    assert [(row["case"], row["mask"], bool(row["error"])) for row in rows] == [
        ("3", document["cases"][0]["mask"], False),
        ("broken", "", True),
    ]


def test_modalities_come_in_columns_or_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archimed.experiment.pipeline.write_report", lambda folder: folder)
    rng = np.random.default_rng(0)
    lines = ["image_ct,image_pet,region,label"]
    for number in range(20):
        for name in ("ct", "pet"):
            values = rng.normal(40 * (number % 2), 20, (14, 12, 10)).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}{number}.nii")
        inside = np.zeros((14, 12, 10), np.uint8)
        inside[3:11, 2:9, 2:8] = 1
        nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), tmp_path / f"in{number}.nii")
        lines.append(f"ct{number}.nii,pet{number}.nii,in{number}.nii,{number % 2}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    run = archimed.run("mm-nas", tmp_path / "cases.csv", tmp_path / "run", settings=MM)
    rows = {row["case"]: row for row in rows_of(run / "networks" / "mm-nas" / "fold0.seed0" / "predictions.csv")}
    (tmp_path / "new.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    document = ask(run, tmp_path / "new.csv", calibrated=False)
    found = answered(document)
    assert {case: found[case] for case in rows} == pytest.approx(
        {case: float(row["probability_1"]) for case, row in rows.items()}, abs=1e-6
    )
    files = {"PET": tmp_path / "pet3.nii", "ct": tmp_path / "ct3.nii"}
    alone = ask(run, by_modality=files, region=tmp_path / "in3.nii", calibrated=False)
    assert alone["cases"][0]["probabilities"]["1"] == pytest.approx(found["case-00004"], abs=1e-6)
    (tmp_path / "one.csv").write_text("image_ct,region\nct1.nii,in1.nii")
    (tmp_path / "whole.csv").write_text("image_ct,image_pet\nct1.nii,pet1.nii")
    for words, asked, told in (
        (("one.csv",), {}, "fuses|--modality pet=FILE|image_pet"),
        (("whole.csv",), {}, "column `region`"),
        ((), {"by_modality": {"ct": files["ct"]}, "region": tmp_path / "in3.nii"}, "fuses ct, pet"),
        ((), {"by_modality": files}, "--region MASK"),
    ):
        with pytest.raises(ArchimedError, match=told):
            ask(run, *(tmp_path / word for word in words), **asked)


MM = COMMON | {
    "search.epochs": 2,
    "search.warmup_epochs": 1,
    "search.memory": "none",
    "space.num_nodes": 1,
    "space.num_reduction": 1,
    "space.width": 4,
    "space.head": 4,
    "training.epochs": 1,
    "data.image_size": 12,
    "data.cache": False,
}
