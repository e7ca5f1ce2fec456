import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from archimed.data.arrays import Arrays
from archimed.data.dataset import Case, Dataset, Fold
from archimed.data.normalisation import Normalisation
from archimed.experiment import picture_files
from archimed.experiment.networks import StoredNetwork
from archimed.experiment.picture_files import Answer, PicturedCase, write_pictures
from archimed.experiment.pictures import dice_by_case, masks_of, mean_dice, picture_cases, ranked
from archimed.task import ImagingTask
from archimed.training.machine import Machine

TASK = ImagingTask("segmentation", ("background", "core", "rim"), 1, (16, 16))


class TwoExits(nn.Module):
    """Logits that depend on the brightness; the last exit answers with the classes in another order."""

    def exits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.cat([images, 50 * images - 1, 0.5 - images], dim=1)
        return logits, 300 * logits.flip(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.exits(images)[-1]


@pytest.mark.parametrize("side", [16, 8])
def test_every_exit_answers_as_if_it_were_alone(side: int) -> None:
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    network, normalise = TwoExits(), Normalisation(1.0, (0.0,), (1.0,))
    stored = StoredNetwork(network, replace(TASK, image_size=(side, side)), normalise)
    found = masks_of(Arrays.of(image), stored, Machine(1), every_exit=True)
    for mask, logits in zip(found, network.exits(image), strict=True):
        assert torch.equal(mask, logits[0].argmax(0).to(torch.uint8))
    (last,) = masks_of(Arrays.of(image), stored, Machine(1), every_exit=False)
    assert torch.equal(last, found[-1])


def test_best_median_and_worst_are_picked_by_dice() -> None:
    assert ranked({"a": 0.5, "b": 0.9, "c": 0.1, "d": 0.7, "e": 0.2}) == {"b": "best", "a": "median", "c": "worst"}
    assert ranked({"a": 0.5, "b": 0.5}) == {"a": "best", "b": "worst"}
    assert ranked({"a": 0.5}) == {"a": "only"}
    assert ranked({}) == {}


def test_dice_of_a_case_is_the_mean_over_its_classes(tmp_path: Path) -> None:
    lines = ["case,split,class,dice,jaccard", "x,test,core,0.5,0.3", "y,test,core,1,1", "x,test,rim,0.7,0.5"]
    lines += ["y,test,rim,,", "z,test,core,,", "z,test,rim,,", "w,validation,core,1,1"]
    (tmp_path / "predictions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert dice_by_case(tmp_path / "predictions.csv") == {"x": pytest.approx(0.6), "y": 1.0}


def test_mean_dice_leaves_out_what_is_nowhere() -> None:
    truth, answer = torch.zeros(2, 4, 4, dtype=torch.uint8)
    assert mean_dice(answer, truth, 3) is None
    truth[0, :2], answer[0, 1:3] = 1, 1
    assert mean_dice(answer, truth, 3) == pytest.approx(0.5)
    answer[3] = 2
    assert mean_dice(answer, truth, 3) == pytest.approx(0.25)


def cases(count: int, shape: Sequence[int], classes: int, exits: int = 3, dtype: Any = np.int16) -> list[PicturedCase]:
    rng = np.random.default_rng(0)
    truth = np.zeros(shape, np.uint8)
    for number in range(1, classes + 1):
        truth[..., 4 * number : 4 * number + 12, 8:24] = number
    ranks = ("best", "median", "worst")
    return [
        PicturedCase(
            dataset="set",
            rank=ranks[number % 3],
            case=f"case-{number}",
            cases=9,
            image=rng.integers(0, 256, (3 if dtype is np.uint8 else 1, *shape)).astype(dtype),
            truth=truth,
            spacing_mm=None,
            answers=(
                *(Answer("mix", place, exits, np.roll(truth, place, -1), 0.5) for place in range(1, exits + 1)),
                Answer("unet", 1, 1, truth * 0, None),
            ),
        )
        for number in range(count)
    ]


def test_the_files_are_those_that_the_facts_name(tmp_path: Path) -> None:
    folder = tmp_path / "cases"
    folder.mkdir()
    (folder / "old.png").touch()
    write_pictures(folder, cases(3, (6, 32, 40), 2), {"set": ("background", "core", "rim")})
    facts = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    assert facts["datasets"]["set"] == {
        "style": "outlines",
        "classes": ["core", "rim"],
        "colours": ["#e69f00", "#56b4e9"],
    }
    named = [panel["file"] for case in facts["cases"] for panel in case["panels"]]
    assert {path.name for path in folder.iterdir()} == {"cases.json", *named}
    assert len(set(named)) == len(named)
    for case in facts["cases"]:
        assert [panel["shows"] for panel in case["panels"]] == ["image", "truth", *["answer"] * 4]
        assert [panel["exit"] for panel in case["panels"][2:]] == [1, 2, 3, 1]
        assert (case["slice"], case["slices"]) == (1, 6)
        for panel in case["panels"]:
            assert Image.open(folder / panel["file"]).size == (panel["width"], panel["height"])


def test_pictures_that_are_large_are_drawn_smaller(tmp_path: Path) -> None:
    write_pictures(tmp_path / "cases", cases(9, (300, 300), 1), {"set": ("background", "core")})
    files = list((tmp_path / "cases").glob("*.png"))
    assert len(files) == 45
    assert picture_files.MOST_BYTES / 3 < sum(file.stat().st_size for file in files) <= picture_files.MOST_BYTES


def test_pictures_of_an_earlier_evaluation_go(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "old.png").touch()
    write_pictures(tmp_path / "cases", [], {})
    assert not (tmp_path / "cases").exists()


def segmentation(from_dicom: bool) -> Dataset:
    truth = torch.zeros(3, 16, 16, dtype=torch.uint8)
    truth[:, 4:12, 4:12] = 1
    cases = tuple(Case(f"case-{row}", f"case-{row}", from_dicom=from_dicom) for row in range(3))
    images = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    ids = tuple(case.id for case in cases)
    return Dataset(
        "set",
        "csv",
        TASK,
        cases,
        Arrays.of(images),
        torch.ones(3, 3),
        Arrays.of(truth),
        (Fold(ids[:1], ids[1:2], ids),),
    )


@pytest.mark.parametrize(
    ("from_dicom", "setting", "pictured"),
    [(False, "auto", True), (True, "auto", False), (True, "always", True), (False, "never", False)],
)
def test_images_from_dicom_are_pictured_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_dicom: bool, setting: str, pictured: bool
) -> None:
    dataset = segmentation(from_dicom)
    stored = StoredNetwork(TwoExits(), TASK, Normalisation(1.0, (0.0,), (1.0,)))
    monkeypatch.setattr("archimed.experiment.pictures.load_network", lambda *_: stored)
    lines = ["case,split,class,dice", *(f"case-{row},test,core,0.{row}" for row in range(3))]
    (tmp_path / "predictions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = SimpleNamespace(predictions=tmp_path / "predictions.csv")
    every: Any = [
        SimpleNamespace(selection=SimpleNamespace(network=name, space=None), repeat=0, folder=folder)
        for name in ("mixsearch", "random-search", "unet", "dynunet")
    ]
    method = SimpleNamespace(name="mixsearch")
    experiment = SimpleNamespace(method=method, evaluation=SimpleNamespace(pictures=setting))
    run = SimpleNamespace(path=tmp_path)
    bench: Any = SimpleNamespace(run=run, experiment=experiment, machine=Machine(1), data_of=lambda _: dataset)
    picture_cases(bench, every)
    path = tmp_path / "figures" / "cases" / "cases.json"
    assert path.exists() == pictured
    if pictured:
        found = json.loads(path.read_text(encoding="utf-8"))["cases"]
        assert [(case["case"], case["rank"]) for case in found] == [
            ("case-2", "best"),
            ("case-1", "median"),
            ("case-0", "worst"),
        ]
        assert {panel["network"] for panel in found[0]["panels"]} == {None, "mixsearch", "unet"}
