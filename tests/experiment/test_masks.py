"""A segmentation goes through the same stages as all tasks: trained, scored, summarised, validated on other data."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import archimed
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError
from archimed.evaluation.masks import MASK_METRICS
from archimed.evaluation.overlap import dice, overlap_counts
from archimed.experiment.answering import distance_unit, spacing_of
from archimed.experiment.external import validate_externally, with_classes
from archimed.experiment.mask_summary import in_one_unit
from archimed.experiment.networks import load_network
from archimed.experiment.progress import Silent
from archimed.runs import NetworkFolder
from archimed.task import ImagingTask
from tests.experiment.tiny import COMMON, read

CELLS = "phantom:cells?cases=20&size=24"
SETTINGS = COMMON | {
    "space.name": "unet",
    "space.width": 2,
    "training.batch_size": 4,
    "training.epochs": 1,
    "search.candidates": 1,
    "search.batch_size": 2,
    "repeats": 2,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny U-Net, two seeds; tests only read it."""
    return archimed.run("random-search", CELLS, tmp_path_factory.mktemp("masks") / "run", settings=SETTINGS)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_case_and_class_is_scored_as_the_network_answers(run: Path) -> None:
    folder = run / "networks" / "random-search" / "fold0.seed0"
    stored = load_network(NetworkFolder(folder))
    dataset = load_dataset(CELLS, DataSettings(), seed=0)
    ids = dataset.folds[0].test
    lines = [line for line in rows_of(folder / "predictions.csv") if line["split"] == "test"]
    assert [(line["case"], line["class"]) for line in lines] == [
        (case, name) for case in ids for name in ("cytoplasm", "nucleus")
    ]
    part = dataset.subset(ids)
    assert part.masks is not None
    with torch.no_grad():
        answers = stored.network(stored.normalise(part.images.all())).argmax(1)
    scores = [dice(overlap_counts(answer, mask, 3))[1:] for answer, mask in zip(answers, part.masks, strict=True)]
    assert [float(line["dice"]) for line in lines] == pytest.approx(torch.cat(scores).tolist())
    assert [int(line["true_size"]) for line in lines[:2]] == [int((part.masks[0] == k).sum()) for k in (1, 2)]
    measured = read(folder / "metrics.json")
    assert measured["distance_unit"] == "pixels"
    assert measured["test"]["dice"] == pytest.approx(np.mean([float(line["dice"]) for line in lines]))


def test_the_summary_has_intervals_over_cases_and_classes(run: Path) -> None:
    summary = read(run / "summary.json")
    network = summary["networks"]["random-search"]
    for split in ("validation", "test"):
        assert set(network[split]) == set(MASK_METRICS)
        cell = network[split]["dice"]
        assert cell["low"] <= cell["value"] <= cell["high"]
        classes = network["classes"][split]
        assert list(classes) == ["cytoplasm", "nucleus"]
        assert cell["value"] == pytest.approx(np.mean([one["dice"]["value"] for one in classes.values()]))
    assert set(network["left_out"]["nucleus"]) == {"cases", "absent", "missed", "invented"}
    assert network["left_out"]["nucleus"]["cases"] == 8  # four test cases, two seeds
    assert (summary["lesion_size"], summary["calibration"], summary["operating_point"]) == (None, {}, None)
    told = " ".join(summary["cautions"])
    assert "With 4 test images every interval is too narrow" in told
    assert "accuracy" not in told
    assert (run / "report.html").exists()
    assert rows_of(run / "tables" / "classes.csv")[0]["class"] == "cytoplasm"


def test_masks_are_validated_on_other_data_of_another_size(run: Path, tmp_path: Path) -> None:
    summary = validate_externally(run, "phantom:cells?cases=20&size=40", tmp_path / "out", Silent())
    assert json.loads(json.dumps(summary)) == read(tmp_path / "out" / "summary.json")
    network = summary["networks"]["random-search"]
    assert network["left_out"]["nucleus"]["cases"] == 40
    assert list(network["classes"]) == ["test"]
    assert network["test_of_the_run"]["dice"] == read(run / "summary.json")["networks"]["random-search"]["test"]["dice"]
    lines = rows_of(tmp_path / "out" / "random-search" / "fold0.seed1" / "predictions.csv")
    assert len(lines) == 40
    assert {line["split"] for line in lines} == {"external"}
    assert sum(int(line["true_size"]) for line in lines[:2]) > 24 * 24 * 0.05


def test_a_network_of_masks_refuses_data_without_them(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kind of task"):
        validate_externally(run, "phantom:lesions2d?cases=20&size=24", tmp_path / "out", Silent())


def test_masks_of_fewer_classes_get_the_numbers_of_the_network() -> None:
    found = load_dataset(CELLS, DataSettings(), seed=0)
    assert found.masks is not None
    trained = ImagingTask("segmentation", ("background", "debris", "cytoplasm", "nucleus"), 1, (24, 24))
    met = with_classes(found, trained)
    assert met.masks is not None
    assert met.task.class_names == trained.class_names
    expected = torch.tensor([0, 2, 3], dtype=torch.uint8)[found.masks[0].long()]
    assert torch.equal(met.masks[0], expected)
    assert met.target[:, 1].sum() == 0
    assert torch.equal(met.target[:, 2:], found.target[:, 1:])
    other = dataclasses.replace(found.task, class_names=("background", "vessel", "nerve"))
    assert with_classes(found, other) is found


def test_distances_in_two_units_have_no_mean() -> None:
    cells = {"dice": {"value": 0.5, "low": 0.4, "high": 0.6}, "hausdorff_95": {"value": 3.0, "low": 2.0, "high": 4.0}}
    same = in_one_unit([{"distance_unit": "mm"}] * 2, test=cells)
    assert same == {"test": cells, "distance_unit": "mm"}
    mixed = in_one_unit([{"distance_unit": "mm"}, {"distance_unit": "pixels"}], test=cells)
    assert set(mixed) == {"test"}
    assert mixed["test"]["hausdorff_95"]["value"] is None
    assert mixed["test"]["dice"] == cells["dice"]
    assert in_one_unit([{}, {}], test=cells) == {"test": cells}  # no masks


def test_distances_are_in_millimetres_only_if_the_whole_data_set_tells_its_spacing() -> None:
    found = load_dataset(CELLS, DataSettings(), seed=0)
    ids = [case.id for case in found.cases[:2]]
    assert distance_unit(found) == "pixels"
    spaced = dataclasses.replace(found, spacing=((0.5, 0.25),) * len(found.cases))
    assert distance_unit(spaced) == "mm"
    assert spacing_of(spaced, ids) == [(0.5, 0.25)] * 2
    partly = dataclasses.replace(found, spacing=((0.5, 0.25), *[None] * (len(found.cases) - 1)))
    assert distance_unit(partly) == "pixels"
    assert spacing_of(partly, ids) == [None, None]
