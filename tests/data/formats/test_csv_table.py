from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

Rows = list[dict[str, object]]
Write = Callable[..., str]


def load(source: str, **settings: object) -> Dataset:
    return load_dataset(source, DataSettings(**settings), 0)  # type: ignore[arg-type]


def test_table_of_grey_images(tmp_path: Path, table_rows: Rows, write_table: Write) -> None:
    dataset = load(write_table(table_rows))
    assert dataset.task.kind == "binary"
    assert dataset.task.class_names == ("benign", "malignant")
    assert (dataset.task.channels, dataset.task.image_size) == (1, (12, 10))
    assert dataset.target.tolist() == [0, 0, 1, 1] * 3
    assert dataset.images.dtype == torch.uint8
    with Image.open(tmp_path / "images" / "07.png") as image:
        assert np.array_equal(dataset.images[7][0].numpy(), np.asarray(image))
    assert dataset.patients_known
    assert dataset.cases[3].patient == "Doe^Jane1"
    assert [case.id for case in dataset.cases][:2] == ["case-00001", "case-00002"]
    assert dataset.notes == ()


def test_optional_columns(table_rows: Rows, write_table: Write) -> None:
    for number, row in enumerate(table_rows):
        row["split"] = ["train", "Val", "test"][number // 4]
        row["lesion_area"] = 0.25 if number == 5 else ""
        row["id"] = f"scan {number}"
        row["comment"] = "ignored"
    dataset = load(write_table(table_rows))
    (fold,) = dataset.folds
    assert fold.validation == ("scan 4", "scan 5", "scan 6", "scan 7")
    assert dataset.cases[5].lesion_area == 0.25
    assert dataset.cases[6].lesion_area is None
    assert dataset.has_lesion_area


def test_multi_label_with_unknown_labels(table_rows: Rows, write_table: Write) -> None:
    for number, row in enumerate(table_rows):
        del row["label"]
        row["label_edema"] = number % 2
        row["label_mass"] = "" if number == 3 else "1.0" if number % 3 else "0"
    dataset = load(write_table(table_rows))
    assert (dataset.task.kind, dataset.task.class_names) == ("multi-label", ("edema", "mass"))
    assert dataset.target[:, 0].tolist() == [0.0, 1.0] * 6
    assert torch.isnan(dataset.target[3, 1])
    assert torch.isnan(dataset.target).sum() == 1


def test_classes_sort_by_number_and_the_positive_one_can_be_named(table_rows: Rows, write_table: Write) -> None:
    for number, row in enumerate(table_rows):
        row["label"] = ["10.0", "9"][number // 2 % 2]
    path = write_table(table_rows)
    assert load(path).task.class_names == ("9", "10")
    assert load(path, positive_class="9").task.class_names == ("10", "9")
    with pytest.raises(DataError, match=r"positive_class must be one of \['9', '10'\]; got '8'"):
        load(path, positive_class="8")


def test_without_patients_a_caution_says_so(table_rows: Rows, write_table: Write) -> None:
    for row in table_rows:
        del row["patient"]
    dataset = load(write_table(table_rows))
    assert not dataset.patients_known
    assert "one patient's images may lie in several splits" in dataset.notes[0]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_separators_and_byte_order_mark(table_rows: Rows, write_table: Write, delimiter: str) -> None:
    path = Path(write_table(table_rows))
    path.write_text("\ufeff" + path.read_text().replace(",", delimiter) + "\n\n", encoding="utf-8")
    assert len(load(str(path)).cases) == 12


def test_sixteen_bit_and_float_images(tmp_path: Path, table_rows: Rows, write_table: Write) -> None:
    rng = np.random.default_rng(0)
    for row in table_rows:
        row["image"] = str(row["image"]).replace(".png", ".tif")
        tifffile.imwrite(tmp_path / str(row["image"]), rng.integers(0, 65536, (9, 9), dtype=np.uint16))
    dataset = load(write_table(table_rows))
    assert dataset.images.dtype == torch.uint16
    assert dataset.subset(dataset.folds[0].train).images.dtype == torch.uint16
    tifffile.imwrite(tmp_path / str(table_rows[0]["image"]), np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError, match=r"line 2 of cases.csv \(00.tif\) is uint8 and line 3 .* is uint16"):
        load(write_table(table_rows))


def test_mixed_sizes_are_refused_with_the_setting_that_mends_them(
    table_rows: Rows, write_table: Write, make_image: Callable[..., str]
) -> None:
    make_image("images/05.png", size=(14, 9))
    path = write_table(table_rows)
    with pytest.raises(DataError, match=r"12x10 and line 7 of cases.csv \(05.png\) is 14x9 .*--set data.image_size=9"):
        load(path)
    assert load(path, image_size=9).images.all().shape == (12, 1, 9, 9)


def test_mixed_channels_are_refused_with_the_setting_that_mends_them(
    table_rows: Rows, write_table: Write, make_image: Callable[..., str]
) -> None:
    make_image("images/05.png", mode="RGBA")
    path = write_table(table_rows)
    with pytest.raises(DataError, match=r"line 7 of cases.csv \(05.png\) has 3. .*--set data.channels=1"):
        load(path)
    grey = load(path, channels=1)
    assert grey.images.all().shape == (12, 1, 12, 10)
    assert grey.notes == ("In 1 of 12 images the alpha channel was dropped.",)
    colour = load(path, channels=3)
    assert torch.equal(colour.images[0][0], colour.images[0][2])
    luma = colour.images[5].float().mul(torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    assert (grey.images[5][0] - luma).abs().max() <= 0.5


def test_absolute_paths_and_paths_outside_the_folder(tmp_path: Path, table_rows: Rows, write_table: Write) -> None:
    (tmp_path / "sub").mkdir()
    for number, row in enumerate(table_rows):
        row["image"] = str(tmp_path / str(row["image"])) if number % 2 else f"../{row['image']}"
    assert len(load(write_table(table_rows, "sub/cases.csv")).cases) == 12


Spoil = Callable[[Rows], object]
BAD: list[tuple[str, Spoil, str]] = [
    ("missing file", lambda r: r[4].update(image="images/none.png"), r"line 6 of cases.csv names .*none.png"),
    ("no image", lambda r: r[4].update(image=""), "line 6 of cases.csv has no image"),
    ("empty label", lambda r: r[4].update(label=" "), "needs a label; line 6 of cases.csv"),
    ("nan label", lambda r: r[4].update(label="nan"), "needs a label; line 6 of cases.csv"),
    ("measured label", lambda r: r[4].update(label="0.37"), "line 6 of cases.csv has '0.37'"),
    ("one class", lambda r: [x.update(label="benign") for x in r], "all 12 cases of cases are benign"),
    (
        "all labels 0",
        lambda r: [(x.pop("label"), x.update(label_a=0)) for x in r],
        "needs a label that some cases have",
    ),
    ("all differ", lambda r: [x.update(label=f"t{i}") for i, x in enumerate(r)], "12 different ones in 12 cases"),
    ("split word", lambda r: [x.update(split="dev") for x in r], "line 2 of cases.csv has 'dev'"),
    ("half a split", lambda r: [x.update(split="train" if i else "") for i, x in enumerate(r)], "line 2 of cases.csv"),
    ("no patient", lambda r: r[4].update(patient=""), "needs a patient where the column exists; line 6"),
    ("patient twice", lambda r: [x.update(split=["train", "test"][i % 2]) for i, x in enumerate(r)], "same patient"),
    ("area", lambda r: [x.update(lesion_area=35) for x in r], "share of the image from 0 to 1; line 2 .* '35'"),
    ("area text", lambda r: [x.update(lesion_area="big") for x in r], "line 2 of cases.csv has 'big'"),
    ("ids", lambda r: [x.update(id="same") for x in r], "line 3 of cases.csv repeats 'same'"),
    ("image column", lambda r: [x.update(images=x.pop("image")) for x in r], "has label, patient, images.*'images'"),
    ("label column", lambda r: [x.update(Label=x.pop("label")) for x in r], "has neither: .* Did you mean 'Label'"),
    ("both labels", lambda r: [x.update(label_a=1) for x in r], "has both"),
    ("label_ value", lambda r: [(x.pop("label"), x.update(label_a="-1")) for x in r], "line 2 .* '-1' as label 'a'"),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_table_is_one_clear_line(table_rows: Rows, write_table: Write, spoil: Spoil, message: str) -> None:
    spoil(table_rows)
    with pytest.raises(DataError, match=message) as error:
        load(write_table(table_rows))
    assert "\n" not in str(error.value)
    assert "Doe" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has nothing"),
        (b"image,label\n", "at least one row"),
        (b"image,label\n\n\n", "at least one row"),
        (b"image,label\na.png,b,c\n", "line 2 of cases.csv has 3"),
        (b"image,image,label\na,b,c\n", "repeats image"),
        (b"image,label\n\xff\xfe,b\n", "UTF-8"),
        (b'image,label\n"a.png,b\n', "one row per line"),
    ],
)
def test_broken_text_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "cases.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        load(str(tmp_path / "cases.csv"))
    assert "\n" not in str(error.value)


def test_unreadable_image_names_line_and_file(tmp_path: Path, table_rows: Rows, write_table: Write) -> None:
    path = tmp_path / str(table_rows[4]["image"])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"line 6 of cases.csv, .*04.png, is not"):
        load(write_table(table_rows))
