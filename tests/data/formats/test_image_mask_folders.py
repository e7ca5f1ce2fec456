import os
from pathlib import Path

import pytest

from archimed.data.formats.class_folders import list_class_folders
from archimed.data.formats.image_mask_folders import list_masks, usual_patterns
from archimed.data.listing import Listing
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.data.source import lister_of
from archimed.errors import DataError


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    """Two children's eyes, left and right, with masks of two observers; the files are empty."""
    for child in ("2", "10"):
        for name in (f"Image_{child}{side}{end}" for side in "LR" for end in (".jpg", "_1st.png", "_2nd.png")):
            put(tmp_path / "eyes" / name)
    return tmp_path / "eyes"


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def listed(folder: Path, images: str | None, masks: str | None, problems: Problems | None = None) -> Listing:
    settings = DataSettings(image_pattern=images, mask_pattern=masks)
    return list_masks(folder, settings, problems or Problems(strict=True))


def pairs(found: Listing, folder: Path) -> list[tuple[str, str]]:
    return [
        (one.images[0].relative_to(folder).as_posix(), one.mask.relative_to(folder).as_posix())
        for one in found.entries
        if one.images[0] and one.mask
    ]


def test_images_and_masks_side_by_side(eyes: Path) -> None:
    found = listed(eyes, "*.jpg", "{stem}_1st.png")
    assert pairs(found, eyes) == [
        *(("Image_2L.jpg", "Image_2L_1st.png"), ("Image_2R.jpg", "Image_2R_1st.png")),
        *(("Image_10L.jpg", "Image_10L_1st.png"), ("Image_10R.jpg", "Image_10R_1st.png")),
    ]
    assert (found.name, found.source_kind, found.patients_known) == ("eyes", "masks", False)
    assert [entry.case.patient for entry in found.entries] == [f"case-0000{n}" for n in range(1, 5)]


@pytest.mark.parametrize("pattern", ["Image_{patient}[LR].jpg", "./Image_{patient}?.jpg", "*_{patient}[!A-K].jpg"])
def test_the_pattern_may_tell_the_patient(eyes: Path, pattern: str) -> None:
    found = listed(eyes, pattern, "{stem}_1st.png")
    assert [entry.case.patient for entry in found.entries] == ["2", "2", "10", "10"]
    assert found.patients_known


def test_folders_of_their_own(tmp_path: Path) -> None:
    for path in ("images/a.b.nii.gz", "masks/a.b.nii.gz", "masks/a.b_lesion.png", "images/.hidden.nii.gz"):
        put(tmp_path / path)
    image = "images/a.b.nii.gz"
    assert pairs(listed(tmp_path, "images/*.nii.gz", "masks/{name}"), tmp_path) == [(image, "masks/a.b.nii.gz")]
    assert pairs(listed(tmp_path, "images/*", "masks/{stem}_lesion.png"), tmp_path) == [(image, "masks/a.b_lesion.png")]


def test_a_folder_per_patient(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        put(tmp_path / "site" / patient / "scan" / "ct.nii.gz")
        put(tmp_path / "site" / patient / "ct_mask.nii.gz")
    for pattern in ("site/{patient}/scan/ct.nii.gz", "**/{patient}/scan/*.nii.gz", "*/{patient}/**/ct.nii.gz"):
        found = listed(tmp_path, pattern, "site/{patient}/{stem}_mask.nii.gz")
        assert [entry.case.patient for entry in found.entries] == ["p1", "p2"]
    found = listed(tmp_path, "**/scan/*", "{folder}/../{stem}_mask.nii.gz")
    assert [entry.mask.resolve() for entry in found.entries if entry.mask] == [
        tmp_path / "site" / patient / "ct_mask.nii.gz" for patient in ("p1", "p2")
    ]


def test_a_patient_named_twice_must_be_the_same(tmp_path: Path) -> None:
    put(tmp_path / "p1" / "p1.png")
    put(tmp_path / "p1" / "m.png")
    assert listed(tmp_path, "{patient}/{patient}.png", "{patient}/m.png").entries[0].case.patient == "p1"
    put(tmp_path / "p2" / "p1.png")
    assert len(listed(tmp_path, "{patient}/{patient}.png", "{patient}/m.png").entries) == 1


def test_masks_that_the_pattern_finds_are_no_images(tmp_path: Path) -> None:
    for name in ("a.png", "a_mask.png", "b.png", "b_mask.png"):
        put(tmp_path / name)
    assert [one[0] for one in pairs(listed(tmp_path, "*.png", "{stem}_mask.png"), tmp_path)] == ["a.png", "b.png"]
    with pytest.raises(DataError, match="finds none"):
        listed(tmp_path, "*.png", "{name}")


def test_an_image_without_a_mask_is_a_flaw(eyes: Path) -> None:
    (eyes / "Image_2R_1st.png").unlink()
    problems = Problems(strict=False)
    assert len(listed(eyes, "*.jpg", "{stem}_1st.png", problems).entries) == 3
    (problem,) = problems.found
    assert problem.fatal
    assert "Image_2R.jpg has none" in problem.message


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ("*.jpg", None, "need both patterns"),
        (None, "{stem}.png", "need both patterns"),
        ("", "", "need both patterns"),
        ("*.tif", "{stem}.png", "finds none"),
        ("*.jpg", "{stem}.png", "none of the 4 images"),
        ("*.jpg", "{stam}.png", r"got \{stam\}. Did you mean 'stem'"),
        ("*.jpg", "{patient}.png", r"got \{patient\}"),
        ("{stem}.jpg", "{stem}.png", r"data.image_pattern knows \{patient\}; got \{stem\}"),
        ("/*.jpg", "{stem}.png", "a path below the folder"),
        (".", "{stem}.png", "data.image_pattern"),
        ("..", "{stem}.png", "data.image_pattern|data.mask_pattern"),
        ("a**b/*.jpg", "{stem}.png", "a path below the folder"),
        ("[", "{stem}.png", "finds none"),
        ("Image_{patient}[.jpg", "{stem}.png", "finds none"),
        ("*.jpg", "a\n{stem}.png", "control character"),
        ("*.jpg", "{stem}" * 100, "too long"),
    ],
)
def test_bad_patterns_are_one_clear_line(eyes: Path, images: str | None, masks: str | None, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        listed(eyes, images, masks)
    assert len(str(error.value).splitlines()) == 1


def test_names_that_cannot_be_shown_are_refused(eyes: Path) -> None:
    put(eyes / os.fsdecode(b"Image_\xff\n.jpg"))
    with pytest.raises(DataError, match="control character") as error:
        listed(eyes, "*.jpg", "{stem}_1st.png")
    str(error.value).encode()


def test_masks_without_an_image_are_told_by_their_number_and_never_by_name(eyes: Path) -> None:
    (eyes / "Image_10L.jpg").unlink()
    problems = Problems(strict=True)
    assert len(listed(eyes, "*.jpg", "{stem}_1st.png", problems).entries) == 3
    (told,) = problems.cautions
    assert told.startswith("1 of the files that data.mask_pattern finds belong to no image")
    assert "Image_10L" not in told


@pytest.mark.parametrize("masks", ["{stem}_1st.png", "../eyes/{stem}_1st.png", "{folder}/{stem}_2nd.png"])
def test_masks_that_all_have_an_image_are_nothing_to_tell(eyes: Path, masks: str) -> None:
    problems = Problems(strict=True)
    listed(eyes, "*.jpg", masks, problems)
    assert problems.cautions == ()


@pytest.mark.parametrize(
    ("images", "masks", "pattern"),
    [
        ("images/a.png", "masks/a.png", "masks/{name}"),
        ("Images/a.nii.gz", "labels/a.nii.gz", "labels/{name}"),
        ("img/a.jpg", "Masks/a_mask.png", "Masks/{stem}_mask.png"),
        ("images/a.jpg", "masks/b.png", "masks/{name}"),
    ],
)
def test_usual_folders_need_no_patterns(tmp_path: Path, images: str, masks: str, pattern: str) -> None:
    for path in (images, masks, ".git/config", "readme.txt"):
        put(tmp_path / path)
    assert usual_patterns(tmp_path) == (f"{Path(images).parent}/*", pattern)
    if Path(images).stem[0] == Path(masks).stem[0]:
        assert pairs(listed(tmp_path, None, None), tmp_path) == [(images, masks)]
    put(tmp_path / "healthy" / "c.png")
    assert usual_patterns(tmp_path) is None


def test_two_classes_are_not_images_and_masks(tmp_path: Path) -> None:
    for path in ("benign/a.png", "malignant/a.png"):
        put(tmp_path / path)
    assert usual_patterns(tmp_path) is None
    assert lister_of(tmp_path, DataSettings()) is list_class_folders
