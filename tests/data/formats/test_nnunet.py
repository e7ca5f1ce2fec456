import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archimed.data.formats.nnunet import list_nnunet
from archimed.data.listing import Listing, Modality
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from tests.data.formats.damage import assert_listed_or_refused, damaged, wrong_typed

DESCRIPTION = {
    "channel_names": {"0": "CT", "1": "PET_SUV"},
    "labels": {"background": 0, "tumour": 1, "node": 2},
    "numTraining": 4,
    "file_ending": ".nii.gz",
}
CASES = ("c2", "c10", "c3", "d_0001")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An nnU-Net folder of four cases with two channels; the files are empty."""
    root = tmp_path / "nnUNet_raw" / "Dataset007_Made"
    for case in CASES:
        for name in (f"imagesTr/{case}_0000", f"imagesTr/{case}_0001", f"labelsTr/{case}"):
            put(root / f"{name}.nii.gz")
    put(root / "imagesTr" / "._c2_0000.nii.gz")
    write(root, DESCRIPTION)
    return root


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write(root: Path, content: Any, name: str = "dataset.json") -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(content))


def described(**values: Any) -> dict[str, Any]:
    return {**DESCRIPTION, **values}


def listed(folder: Path, problems: Problems | None = None, **settings: object) -> Listing:
    return list_nnunet(folder, DataSettings(**settings), problems or Problems(strict=True))  # type: ignore[arg-type]


def names(found: Listing) -> list[str]:
    return [entry.case.origin for entry in found.entries]


def test_cases_channels_and_classes(folder: Path) -> None:
    problems = Problems(strict=True)
    found = listed(folder, problems)
    assert (found.name, found.source_kind, found.patients_known) == ("Dataset007_Made", "nnunet", False)
    assert found.modalities == (Modality("CT", "ct"), Modality("PET_SUV", "pet"))
    assert found.mask_names == ("background", "tumour", "node")
    assert names(found) == ["imagesTr/c2", "imagesTr/c3", "imagesTr/c10", "imagesTr/d_0001"]
    assert found.entries[0].images == (folder / "imagesTr/c2_0000.nii.gz", folder / "imagesTr/c2_0001.nii.gz")
    assert found.entries[3].mask == folder / "labelsTr/d_0001.nii.gz"
    assert [entry.case.id for entry in found.entries] == [f"case-0000{n}" for n in range(1, 5)]
    assert {(entry.case.split, entry.case.fold) for entry in found.entries} == {(None, None)}
    assert problems.cautions == ()
    assert listed(folder, modalities=("PET_SUV",)).entries[0].images == (folder / "imagesTr/c2_0001.nii.gz",)


@pytest.mark.parametrize(
    ("channels", "kinds"),
    [
        ({"0": "T1w", "1": "T2-FLAIR"}, ["mr", "mr"]),
        ({"0": "noNorm", "1": "rescale_to_0_1"}, ["other", "other"]),
        ({"0": "R", "1": "ADC"}, ["other", "mr"]),
        ({"1": "CT", "0": "zscore"}, [None, "ct"]),
    ],
)
def test_kinds_of_channels(folder: Path, channels: dict[str, str], kinds: list[str | None]) -> None:
    write(folder, described(channel_names=channels))
    found = listed(folder)
    assert [one.kind for one in found.modalities] == kinds
    assert [one.name for one in found.modalities] == [channels["0"], channels["1"]]


def test_channels_of_one_name_are_told_apart(folder: Path) -> None:
    write(folder, described(channel_names={"0": "MRI", "1": "MRI"}))
    assert listed(folder).modalities == (Modality("MRI 0", "mr"), Modality("MRI 1", "mr"))


def test_the_first_version_of_the_format(folder: Path) -> None:
    old = {
        "modality": {"0": "CT", "1": "PET"},
        "labels": {"1": "b", "0": "background", "2": "a"},
        "training": [{"image": "x"}],
    }
    write(folder, old)
    found = listed(folder)
    assert found.mask_names == ("background", "b", "a")
    assert len(found.entries) == 4


def test_a_decathlon_folder_is_a_datalist(tmp_path: Path) -> None:
    put(tmp_path / "imagesTr" / "a.nii.gz")
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    write(tmp_path, {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "x"}, "training": [entry]})
    found = listed(tmp_path)
    assert (found.source_kind, found.modalities) == ("datalist", (Modality("MRI", "mr"),))


def test_pictures_may_hold_all_channels(tmp_path: Path) -> None:
    for case in ("a", "b"):
        put(tmp_path / "imagesTr" / f"{case}_0000.png")
        put(tmp_path / "labelsTr" / f"{case}.png")
    rgb = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "road": 1},
        "file_ending": ".png",
    }
    write(tmp_path, rgb)
    assert listed(tmp_path).modalities == (Modality("image", "other"),)


def test_the_official_test_part(folder: Path) -> None:
    for case in ("t1", "t2"):
        for channel in range(2):
            put(folder / "imagesTs" / f"{case}_000{channel}.nii.gz")
    problems = Problems(strict=True)
    assert len(listed(folder, problems).entries) == 4
    assert problems.cautions == ("2 cases of imagesTs have no mask in labelsTs and were left out.",)
    put(folder / "labelsTs" / "t2.nii.gz")
    found = listed(folder)
    assert [entry.case.split for entry in found.entries] == ["train"] * 4 + ["test"]
    assert names(found)[-1] == "imagesTs/t2"
    assert found.entries[-1].case.id == "case-00005"


def test_files_that_dataset_json_lists(folder: Path) -> None:
    listing = {"p": {"images": ["../x/p_ct.nii.gz", "/y/p_pet.nii.gz"], "label": "p_seg.nii.gz"}}
    write(folder, described(dataset=listing, numTraining=1))
    (entry,) = listed(folder).entries
    assert entry.images == (folder / "../x/p_ct.nii.gz", Path("/y/p_pet.nii.gz"))
    assert entry.mask == folder / "p_seg.nii.gz"


def test_incomplete_cases(folder: Path) -> None:
    (folder / "imagesTr" / "c3_0001.nii.gz").unlink()
    put(folder / "labelsTr" / "ghost.nii.gz")
    problems = Problems(strict=False)
    assert names(listed(folder, problems)) == ["imagesTr/c2", "imagesTr/c10", "imagesTr/d_0001"]
    fatal = [problem.message for problem in problems.found if problem.fatal]
    assert len(fatal) == 2
    assert "imagesTr/c3 has no PET_SUV" in fatal[0]
    assert "imagesTr/ghost has no CT" in fatal[1]
    problems = Problems(strict=True)
    assert len(listed(folder, problems, missing_modality="drop").entries) == 3
    assert "numTraining 4, and there are 5" in problems.cautions[0]
    assert "2 of 5 cases were left out" in problems.cautions[1]
    (folder / "labelsTr" / "c2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"c2 of .* has none in labelsTr"):
        listed(folder)


FOLDS = [
    {"train": ["c3", "c10", "d_0001"], "val": ["c2"]},
    {"train": ["c2", "d_0001"], "val": ["c3", "c10"]},
    {"train": ["c2", "c3", "c10"], "val": ["d_0001"]},
]


def test_the_folds_of_splits_final(folder: Path) -> None:
    write(folder, FOLDS, "splits_final.json")
    found = listed(folder)
    assert [(entry.case.origin[9:], entry.case.fold) for entry in found.entries] == [
        *(("c2", "0"), ("c3", "1"), ("c10", "1"), ("d_0001", "2")),
    ]
    assert {entry.case.split for entry in found.entries} == {None}
    put(folder / "imagesTs" / "t_0000.nii.gz")
    put(folder / "imagesTs" / "t_0001.nii.gz")
    put(folder / "labelsTs" / "t.nii.gz")
    found = listed(folder)
    assert [(entry.case.split, entry.case.fold) for entry in found.entries][-2:] == [("train", "2"), ("test", None)]


@pytest.mark.parametrize("by_variable", [False, True])
def test_splits_among_preprocessed_data(folder: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool) -> None:
    place = folder.parent.parent / ("elsewhere" if by_variable else "nnUNet_preprocessed")
    if by_variable:
        monkeypatch.setenv("nnUNet_preprocessed", str(place))
    write(place / folder.name, FOLDS, "splits_final.json")
    assert [entry.case.fold for entry in listed(folder).entries] == ["0", "1", "1", "2"]


def test_a_single_fold_is_an_official_split(folder: Path) -> None:
    write(folder, [{"train": ["c2", "c10"], "val": ["c3"]}], "splits_final.json")
    problems = Problems(strict=True)
    found = listed(folder, problems)
    assert [entry.case.split for entry in found.entries] == ["train", "validation", "train"]
    assert problems.cautions == ("1 cases that splits_final.json does not name were left out.",)


BAD_SPLITS: list[tuple[Any, str]] = [
    ({}, "must be a list"),
    ([], "has none"),
    ([[]], "must be an object"),
    ([{"train": "c2", "val": ["c3"]}], "must be a list"),
    ([{"train": [2], "val": ["c3"]}], "must be a text"),
    ([{"train": ["c2"], "val": []}], "lacks some"),
    ([{"train": ["c2"], "val": ["c2"]}], "has 'c2' twice"),
    ([{"train": ["c2"], "val": ["zz"]}], r"names 'zz', which .* lacks \(1 of 2"),
    ([*FOLDS[:2], {"train": ["d_0001"], "val": ["c2"]}], "has 'c2' in 2 of them"),
    (FOLDS[:2], "has 'd_0001' in 0 of them"),
]


@pytest.mark.parametrize(("content", "message"), BAD_SPLITS)
def test_bad_splits_are_one_clear_line(folder: Path, content: Any, message: str) -> None:
    write(folder, content, "splits_final.json")
    with pytest.raises(DataError, match=message) as error:
        listed(folder)
    assert len(str(error.value).splitlines()) == 1
    assert "splits_final.json" in str(error.value)


def test_folds_that_train_on_less_get_a_caution(folder: Path) -> None:
    write(folder, [{**FOLDS[0], "train": ["c3"]}, *FOLDS[1:]], "splits_final.json")
    problems = Problems(strict=True)
    listed(folder, problems)
    assert "fewer cases" in problems.cautions[0]


BAD: list[tuple[Any, str]] = [
    ([], "must be an object"),
    (described(channel_names={}), "must name the channels"),
    (described(channel_names={"0": "CT"}), "file of channel 0001"),
    (described(channel_names={"0": "CT", "2": "PET"}), "without gaps"),
    (described(channel_names={"0": ["CT"]}), "whole numbers"),
    (described(labels=None), "must be an object"),
    (described(labels=["background", "a"]), "must be an object"),
    (described(labels={"background": 0, "whole": [1, 2]}), "region of several"),
    (described(labels={"background": 0, "a": 1, "ignore": 2}), "'ignore'"),
    (described(labels={"background": 0, "a": 2}), "without gaps"),
    (described(labels={"background": 0, "a": 1, "b": 1}), "1 twice"),
    (described(labels={"background": 0, "a": 1.5}), "whole numbers"),
    (described(labels={"background": 0}), "names 1 in all"),
    (described(labels={"0": "a", "1": "a"}), "different names"),
    (described(labels={f"c{n}": n for n in range(300)}), "names 300 in all"),
    (described(file_ending=".mha"), "in .mha; .* do not"),
    (described(file_ending=3), "must be a text"),
    (described(file_ending="nii"), "the end of file names"),
    (described(dataset=[]), "must be an object"),
    (described(dataset={"p": {"images": "x", "label": "y"}}), "must be a list"),
    (described(dataset={"p": {"images": [1, 2], "label": "y"}}), "must be a text"),
    (described(dataset={"p": {"images": ["a", "b"]}}), "p of .* has none in labelsTr"),
    (described(dataset={}), "training cases with masks"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_descriptions_are_one_clear_line(folder: Path, content: Any, message: str) -> None:
    write(folder, content)
    with pytest.raises(DataError, match=message) as error:
        listed(folder)
    assert len(str(error.value).splitlines()) == 1


def test_settings_for_tables_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.columns is for tables"):
        listed(folder, columns={"patient": "x"})


def test_empty_folders_are_refused(folder: Path) -> None:
    for name in ("imagesTr", "labelsTr"):
        shutil.rmtree(folder / name)
    with pytest.raises(DataError, match="needs training cases"):
        listed(folder)
    (folder / "dataset.json").unlink()
    with pytest.raises(DataError, match="must hold valid JSON"):
        listed(folder)


@pytest.mark.parametrize("name", ["dataset.json", "splits_final.json"])
def test_damaged_json_is_listed_or_refused(folder: Path, name: str) -> None:
    write(folder, FOLDS, "splits_final.json")
    content: Any = described(dataset=None) if name == "dataset.json" else FOLDS
    whole = json.dumps(content).encode()
    rng = np.random.default_rng(0)
    for number in range(300):
        text = json.dumps(wrong_typed(content, rng)).encode() if number % 2 else damaged(whole, rng)
        (folder / name).write_bytes(text)
        assert_listed_or_refused(list_nnunet, folder, DataSettings(), strict=number % 3 == 0)
