from collections.abc import Callable
from pathlib import Path

import pytest

from archimed.data.formats.class_folders import list_class_folders
from archimed.data.listing import Listing
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

MakeImage = Callable[..., str]


def listed(folder: Path, problems: Problems | None = None, **settings: object) -> Listing:
    found = problems or Problems(strict=True)
    return list_class_folders(folder, DataSettings(**settings), found)  # type: ignore[arg-type]


def test_folder_per_class(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(10):
        make_image(f"{'grade 2' if number % 2 else 'grade 10'}/{number}.png", seed=number)
    (tmp_path / "grade 2" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    found = listed(tmp_path)
    assert (found.source_kind, found.patients_known, found.ordinal) == ("folders", False, False)
    assert [entry.label for entry in found.entries] == ["grade 2"] * 5 + ["grade 10"] * 5
    order = [int(entry.case.file.stem) for entry in found.entries if entry.case.file]
    assert order == [1, 3, 5, 7, 9, 0, 2, 4, 6, 8]
    assert found.entries[0].case.origin == "grade 2/1.png"
    assert found.entries[0].images == (tmp_path / "grade 2" / "1.png",)
    dataset = load_dataset(str(tmp_path), DataSettings(), 0)
    assert (dataset.task.kind, dataset.task.class_names) == ("binary", ("grade 2", "grade 10"))
    assert dataset.target.tolist() == [0] * 5 + [1] * 5
    assert len(dataset.folds[0].train) == 6
    assert "patient" in dataset.notes[0]


@pytest.mark.parametrize("validation", ["val", "validation", "Valid"])
def test_split_folders_are_official(tmp_path: Path, make_image: MakeImage, validation: str) -> None:
    for name, count in (("train", 4), (validation, 2), ("test", 2)):
        for number in range(count):
            make_image(f"{name}/{'ab'[number % 2]}/{number}.png", seed=number)
    splits = [entry.case.split for entry in listed(tmp_path).entries]
    assert [splits.count(name) for name in ("train", "validation", "test")] == [4, 2, 2]


def test_volumes_and_series_are_cases(tmp_path: Path) -> None:
    for name in ("a/1.nii.gz", "a/2.NRRD", "b/3.mha", "b/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    dicom = bytes(128) + b"DICM" + bytes(300)
    (tmp_path / "a" / "x").write_bytes(dicom)
    (tmp_path / "b" / "series").mkdir()
    for number in range(3):
        (tmp_path / "b" / "series" / f"{number}").write_bytes(dicom)
    (tmp_path / "a" / "patient 7").mkdir()
    problems = Problems(strict=True)
    found = listed(tmp_path, problems)
    assert [entry.case.origin for entry in found.entries] == ["a/1.nii.gz", "a/2.NRRD", "a/x", "b/3.mha", "b/series"]
    assert [entry.label for entry in found.entries] == ["a", "a", "a", "b", "b"]
    (caution,) = problems.cautions
    assert "1 in a held none" in caution
    assert "patient 7" not in caution  # cautions are kept in runs


def test_grades(tmp_path: Path, make_image: MakeImage) -> None:
    for name in ("0", "1", "2"):
        make_image(f"{name}/a.png")
    assert listed(tmp_path, ordinal=True).ordinal
    make_image("severe/a.png")
    with pytest.raises(DataError, match="Number the classes"):
        listed(tmp_path, ordinal=True)


def test_splits_beside_classes_are_refused(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("train/a/1.png")
    make_image("other/1.png")
    with pytest.raises(DataError, match="holds train beside other"):
        listed(tmp_path)


def test_empty_and_flat_folders_are_refused(tmp_path: Path, make_image: MakeImage) -> None:
    with pytest.raises(DataError, match="one folder per class"):
        listed(tmp_path)
    make_image("1.png")
    with pytest.raises(DataError, match="one folder per class"):
        listed(tmp_path)


def test_settings_of_other_formats_are_refused(tmp_path: Path, make_image: MakeImage) -> None:
    make_image("a/1.png")
    with pytest.raises(DataError, match=r"data\.columns is for tables"):
        listed(tmp_path, columns={"patient": "x"})
    with pytest.raises(DataError, match=r"needs data\.mask_pattern"):
        listed(tmp_path, image_pattern="*.png")
    with pytest.raises(DataError, match="has image, not 'ct'"):
        listed(tmp_path, modalities=("ct",))


def test_single_class_is_refused(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(4):
        make_image(f"a/{number}.png", seed=number)
    with pytest.raises(DataError, match="at least two classes; all 4 cases"):
        load_dataset(str(tmp_path), DataSettings(), 0)


def test_unreadable_image_is_named(tmp_path: Path, make_image: MakeImage) -> None:
    for number in range(6):
        make_image(f"{'ab'[number % 2]}/{number}.png", seed=number)
    (tmp_path / "a" / "2.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match=r"readable; a.2\.png"):
        load_dataset(str(tmp_path), DataSettings(), 0)
