import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archimed.data.formats.datalist import list_datalist
from archimed.data.listing import Listing, Modality
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from tests.data.formats.damage import assert_listed_or_refused, damaged, wrong_typed

MASKS = {
    "name": "Liver",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "liver", "2": "tumour"},
    "numTraining": 2,
    "training": [
        {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
        {"image": "b.mha", "label": "/m/b.mha"},
    ],
    "test": ["./imagesTs/c.nii.gz"],
}
CLASSES = {
    "training": [
        {"image": ["f.nii", "t1.nii"], "label": 1, "fold": 0, "patient": "Doe^Jane"},
        {"image": ["g.nii", "t1.nii"], "label": 0.0, "fold": 1, "patient": 17},
    ],
    "modality": ["FLAIR", "T1"],
}


def listed(tmp_path: Path, content: Any, problems: Problems | None = None, **settings: object) -> Listing:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    return list_datalist(path, DataSettings(**settings), problems or Problems(strict=True))  # type: ignore[arg-type]


def changed(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(content)), **values}


def test_decathlon(tmp_path: Path) -> None:
    problems = Problems(strict=True)
    found = listed(tmp_path, MASKS, problems)
    assert (found.name, found.source_kind, found.patients_known) == ("Liver", "datalist", False)
    assert found.modalities == (Modality("CT", "ct"),)
    assert found.mask_names == ("background", "liver", "tumour")
    assert [entry.images[0] for entry in found.entries] == [tmp_path / "imagesTr/a.nii.gz", tmp_path / "b.mha"]
    assert [entry.mask for entry in found.entries] == [tmp_path / "labelsTr/a.nii.gz", Path("/m/b.mha")]
    assert {entry.case.split for entry in found.entries} == {None}
    assert problems.cautions == ("1 test entries of list.json have no label and were left out.",)


def test_stacked_modalities_classes_folds_and_patients(tmp_path: Path) -> None:
    found = listed(tmp_path, {**CLASSES, "dataroot": "../x"})
    assert found.modalities == (Modality("FLAIR", "mr"), Modality("T1", "mr"))
    assert found.entries[0].images == (tmp_path / "../x/f.nii", tmp_path / "../x/t1.nii")
    assert [entry.label for entry in found.entries] == ["1", "0"]
    assert [entry.case.fold for entry in found.entries] == ["0", "1"]
    assert [entry.case.patient for entry in found.entries] == ["Doe^Jane", "17"]
    assert found.patients_known
    assert "Doe" not in repr(found)
    unnamed = changed(CLASSES)
    del unnamed["modality"]
    assert [one.name for one in listed(tmp_path, unnamed).modalities] == ["image 1", "image 2"]
    picked = listed(tmp_path, CLASSES, modalities=("T1",))
    assert picked.entries[0].images == (tmp_path / "t1.nii",)


def test_lists_of_labels(tmp_path: Path) -> None:
    content = {"training": [{"image": "a.png", "label": [0, 1, None]}, {"image": "b.png", "label": [1.0, 0, 1]}]}
    found = listed(tmp_path, content)
    assert found.label_names == ("label 1", "label 2", "label 3")
    label = found.entries[0].label
    assert isinstance(label, tuple)
    assert label[:2] == (0.0, 1.0)
    assert math.isnan(label[2])
    assert listed(tmp_path, {**content, "labels": ["x", "y", "z"]}).label_names == ("x", "y", "z")
    assert listed(tmp_path, {**content, "labels": {"0": "x", "1": "y", "2": "z"}}).label_names == ("x", "y", "z")
    with pytest.raises(DataError, match="names 1, and its entries have 3"):
        listed(tmp_path, {**content, "labels": ["x"]})


def test_parts_are_the_official_splits(tmp_path: Path) -> None:
    part = [{"image": "a.png", "label": "benign"}, {"image": "b.png", "label": "malignant"}]
    found = listed(tmp_path, {"training": part, "validation": part, "testing": [*part, {"image": "c.png"}]})
    assert [entry.case.split for entry in found.entries] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    with_folds = [{**part[0], "fold": 0}, {**part[1], "fold": 1}]
    problems = Problems(strict=True)
    found = listed(tmp_path, {"training": with_folds, "validation": part}, problems)
    assert {entry.case.fold for entry in found.entries} == {None}
    assert "the folds are not" in problems.cautions[0]
    found = listed(tmp_path, {"training": with_folds, "test": part})
    assert [entry.case.fold for entry in found.entries] == ["0", "1", None, None]


def test_other_keys(tmp_path: Path) -> None:
    content = {"training": [{"img": "a.png", "seg": "m.png", "subject": "S", "label": 3}]}
    found = listed(tmp_path, content, columns={"image": "img", "mask": "seg", "label": "none", "patient": "subject"})
    assert (found.entries[0].mask, found.entries[0].case.patient) == (tmp_path / "m.png", "S")
    with pytest.raises(DataError, match="Did you mean 'patient'"):
        listed(tmp_path, content, columns={"patent": "subject"})
    with pytest.raises(DataError, match=r"data\.label_columns is for tables"):
        listed(tmp_path, content, label_columns=("a",))


def test_a_word_is_a_class_unless_it_is_a_file(tmp_path: Path) -> None:
    content = {"training": [{"image": "a.png", "label": "drawn"}]}
    assert listed(tmp_path, content).entries[0].label == "drawn"
    (tmp_path / "drawn").touch()
    assert listed(tmp_path, content).entries[0].mask == tmp_path / "drawn"


def test_missing_modalities(tmp_path: Path) -> None:
    content = changed(CLASSES)
    content["training"][1]["image"][0] = None
    with pytest.raises(DataError, match=r"train entry 2 of list.json has no FLAIR"):
        listed(tmp_path, content)
    assert len(listed(tmp_path, content, missing_modality="drop").entries) == 1


E = {"image": "a.png", "label": 1}
BAD: list[tuple[Any, str]] = [
    ([], "must be an object in braces"),
    ({}, "has a list 'training'"),
    ({"channel_names": {}}, "name the folder"),
    ({"training": {}}, "must be a list in brackets"),
    ({"training": []}, "has none"),
    ({"training": ["a.png"]}, "train entry 1 of list.json has 'a.png'"),
    ({"training": [{"image": 3, "label": 1}]}, "The image must be a text"),
    ({"training": [{"image": [[]], "label": 1}]}, "The image must be a text"),
    ({"training": [{"image": [], "label": 1}]}, "empty list"),
    ({"training": [{"image": "a.png"}]}, "needs a label"),
    ({"training": [{**E, "label": True}]}, "a number, a word or a path; .* has True"),
    ({"training": [{**E, "label": 0.37}]}, "Group the values"),
    ({"training": [{**E, "label": [2]}]}, "0, 1 or empty"),
    ({"training": [{**E, "label": []}]}, "an empty one"),
    ({"training": [{**E, "label": {}}]}, "a number, a word or a path"),
    ({"training": [E, {**E, "label": "m.png"}]}, "entry 1 of list.json has 1 images and a class and .* a mask"),
    ({"training": [E, {**E, "image": ["a", "b"]}]}, "2 images and a class"),
    ({"training": [{**E, "id": "x"}, {**E, "id": "x"}]}, "repeats 'x'"),
    ({"training": [{**E, "fold": [1]}]}, "'fold' must be a text or a whole number"),
    ({"training": [{**E, "image": "a\nb.png"}]}, "control character"),
    ({"training": [{**E, "image": "\ud800"}]}, "control character"),
    ({"training": [E], "test": [E], "testing": [E]}, "under another word"),
    ({"training": [E], "dataroot": 3}, "`dataroot` must be a text"),
    ({"training": [E], "modality": {"0": "CT", "2": "PET"}}, "without gaps"),
    ({"training": [E], "modality": {"0": 1}}, "numbered 0, 1, 2"),
    ({"training": [{**E, "image": ["a", "b"]}], "modality": ["CT"]}, "names 1, and its entries have 2"),
    ({"training": [{**E, "image": ["a", "b"]}], "modality": ["CT", "CT"]}, "different names"),
    (changed(MASKS, labels={"0": "background"}), "names 1 in all"),
    (changed(MASKS, labels={"background": 0, "a": [1, 2]}), "whole numbers"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_lists_are_one_clear_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        listed(tmp_path, content)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b'{"training":' * 20_000,
        b'{"training": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"training": [], "training": []}',
        b'{"training": ' + b"9" * 5000 + b"}",
        b'{"training": [{"image": "a", "label": ' + b"9" * 4000 + b"}]}",
        b'{"training": [{"image": "a", "label": 1e999}]}',
    ],
)
def test_no_json_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        list_datalist(path, DataSettings(), Problems(strict=True))
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("content", [MASKS, CLASSES])
def test_damaged_lists_are_listed_or_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "list.json"
    whole = json.dumps(content).encode()
    for number in range(300):
        text = json.dumps(wrong_typed(content, rng)).encode() if number % 2 else damaged(whole, rng)
        path.write_bytes(text)
        assert_listed_or_refused(list_datalist, path, DataSettings(), strict=number % 3 == 0)
