import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archimed.data.dataset import Dataset
from archimed.data.settings import DataSettings
from archimed.data.source import load_dataset
from archimed.errors import DataError

LABELS = {"Mass": "1010101010", "Edema": "0110011001", "Rare": "0000000001"}


def table(folder: Path, prefix: str, unknown: tuple[int, ...] = ()) -> str:
    """Ten images and three labels, which the cases `unknown` lack."""
    for case in range(10):
        Image.fromarray(np.full((8, 8), 20 * case, dtype=np.uint8)).save(folder / f"{case}.png")
    with (folder / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *(f"{prefix}{name}" for name in LABELS), "grade"])
        for case in range(10):
            values = ["" if case in unknown else digits[case] for digits in LABELS.values()]
            writer.writerow([f"{case}.png", *values, "x"])
    return str(folder / "cases.csv")


def read(source: str, *labels: str) -> Dataset:
    return load_dataset(source, DataSettings(labels=labels, cache=False), seed=0)


@pytest.mark.parametrize("prefix", ["label_", ""])
def test_the_labels_that_are_named_are_used_in_that_order(tmp_path: Path, prefix: str) -> None:
    found = read(table(tmp_path, prefix), "Edema", "Mass")
    assert found.task.class_names == ("Edema", "Mass")
    assert found.target.T.tolist() == [[float(digit) for digit in LABELS[name]] for name in ("Edema", "Mass")]


def test_labels_of_any_source_can_be_chosen() -> None:
    found = read("phantom:xray?cases=40&size=16", "Effusion", "Edema")
    whole = read("phantom:xray?cases=40&size=16")
    kept = [whole.rows([case.id for case in found.cases])]
    columns = [whole.task.class_names.index(name) for name in ("Effusion", "Edema")]
    np.testing.assert_array_equal(found.target, whole.target[kept[0]][:, columns])


def test_cases_without_a_known_label_are_left_out_and_counted(tmp_path: Path) -> None:
    found = read(table(tmp_path, "label_", unknown=(2, 5)))
    assert [case.origin for case in found.cases] == [f"line {n + 2} of cases.csv" for n in (0, 1, 3, 4, 6, 7, 8, 9)]
    assert [int(image.flatten()[0]) for image in found.images] == [20 * n for n in (0, 1, 3, 4, 6, 7, 8, 9)]
    assert "2 of 10 cases are left out, as none of their labels is known (Mass, Edema, Rare)." in found.notes
    assert {case for fold in found.folds for case in (*fold.train, *fold.validation, *fold.test)} == {
        case.id for case in found.cases
    }


def test_a_source_of_which_no_label_is_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of none of the 10 cases of cases is any of Mass, Edema, Rare"):
        read(table(tmp_path, "label_", unknown=tuple(range(10))))


@pytest.mark.parametrize(
    ("source", "labels", "words"),
    [
        ("phantom:xray?cases=20&size=16", ("Oedema",), r"has Cardiomegaly, .*, not 'Oedema'\. Did you mean 'Edema'"),
        ("phantom:xray?cases=20&size=16", ("Edema", "Edema"), "'Edema' is named twice"),
        ("phantom:lesions2d?cases=20&size=16", ("Edema",), "lesions2d is a binary task"),
    ],
)
def test_other_names_are_refused(source: str, labels: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(source, *labels)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.labels names columns of the table; .* not 'Maas'\. Did you mean"):
        read(table(tmp_path, ""), "Maas")
