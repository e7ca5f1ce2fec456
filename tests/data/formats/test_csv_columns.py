import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from archimed.data.formats.csv_table import list_csv
from archimed.data.listing import Listing, Modality
from archimed.data.problems import Problems
from archimed.data.settings import DataSettings
from archimed.errors import DataError
from tests.data.formats.damage import assert_listed_or_refused, damaged

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Writes a table of lists of fields, the header first; gives its path."""

    def write(*rows: list[str]) -> Path:
        path = tmp_path / "cases.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return path

    return write


def listed(path: Path, problems: Problems | None = None, **settings: object) -> Listing:
    return list_csv(path, DataSettings(**settings), problems or Problems(strict=True))  # type: ignore[arg-type]


def test_modalities_are_columns_and_their_kinds_are_guessed(tmp_path: Path, table: Table) -> None:
    path = table(
        ["image_CT", "image_pet_SUV", "image_T1", "image_probe", "label", "patient"],
        ["a/ct", "a/pet.nii.gz", "../t1.nii", "/x/p.png", "sick", "A"],
    )
    found = listed(path)
    assert [(one.name, one.kind) for one in found.modalities] == [
        *(("CT", "ct"), ("pet_SUV", "pet"), ("T1", "mr"), ("probe", None)),
    ]
    (entry,) = found.entries
    assert entry.images == (tmp_path / "a/ct", tmp_path / "a/pet.nii.gz", tmp_path / "../t1.nii", Path("/x/p.png"))
    assert (entry.label, entry.mask, entry.case.patient, entry.case.file) == ("sick", None, "A", None)
    assert found.patients_known
    assert "'A'" not in repr(found.entries)


def test_modalities_are_picked_and_put_in_order(tmp_path: Path, table: Table) -> None:
    path = table(["image_ct", "image_pet", "label"], ["c.nii", "p.nii", "1"])
    found = listed(path, modalities=("pet", "ct"))
    assert found.entries[0].images == (tmp_path / "p.nii", tmp_path / "c.nii")
    found = listed(path, modalities=("pet",))
    assert found.modalities == (Modality("pet", "pet"),)
    assert found.entries[0].case.file == tmp_path / "p.nii"
    with pytest.raises(DataError, match=r"has ct, pet, not 'pett'\. Did you mean 'pet'"):
        listed(path, modalities=("pett",))
    for wrong in ((), ("ct", "ct")):
        with pytest.raises(DataError, match="at least one modality, and each once"):
            listed(path, modalities=wrong)


def test_cases_without_a_modality_are_flaws_or_left_out(table: Table) -> None:
    path = table(["image_ct", "image_pet", "label"], ["a", "b", "1"], ["c", "", "0"], ["", "nan", "0"], ["d", "e", "0"])
    problems = Problems(strict=False)
    assert len(listed(path, problems).entries) == 2
    assert [problem.fatal for problem in problems.found] == [True, True]
    assert "line 3 of cases.csv has no pet" in problems.found[0].message
    problems = Problems(strict=True)
    found = listed(path, problems, missing_modality="drop")
    assert [entry.case.id for entry in found.entries] == ["case-00001", "case-00004"]
    assert problems.cautions == ("2 of 4 cases were left out because they lack a modality (pet in 2, ct in 1).",)
    with pytest.raises(DataError, match="none of the 1"):
        listed(table(["image", "label"], ["", "1"]), missing_modality="drop")


def test_columns_of_other_names_and_templates(tmp_path: Path, table: Table) -> None:
    path = table(["Patient ID", "site", "mets", "label"], ["S 1", "x", "1", "ignored"], ["S 2", "y", "0", "ignored"])
    (tmp_path / "S 1").mkdir()
    (tmp_path / "S 1" / "ct-x.nii").touch()
    columns = {
        "patient": "Patient ID",
        "label": "mets",
        "image_ct": "{Patient ID}/ct-{site}.nii",
        "image_pt": "{Patient ID}/pt.nii",
        "region": "{Patient ID}/{ site }.nii",
        "id": "{site}-{Patient ID}",
    }
    found = listed(path, columns=columns, modalities=("ct",))
    assert [entry.images for entry in found.entries] == [(tmp_path / "S 1/ct-x.nii",), (tmp_path / "S 2/ct-y.nii",)]
    first = found.entries[0]
    assert (first.region, first.label, first.case.id) == (tmp_path / "S 1/x.nii", "1", "x-S 1")
    assert found.patients_known
    problems = Problems(strict=True)
    kept = listed(path, problems, columns=columns, modalities=("ct",), missing_modality="drop").entries
    assert [entry.case.id for entry in kept] == ["x-S 1"]  # the other file of the template does not exist
    assert problems.cautions == ("1 of 2 cases were left out because they lack a modality (ct in 1).",)


def test_label_columns_make_a_multi_label_task(table: Table) -> None:
    path = table(["image", "Mass", "label_Edema", "Rare", "label"], ["a", "1", "", "", "x"], ["b", "0.0", "1", "", "y"])
    problems = Problems(strict=True)
    found = listed(path, problems, label_columns=("Mass", "label_Edema", "Rare"))
    assert found.label_names == ("Mass", "Edema", "Rare")
    first, second = (entry.label for entry in found.entries)
    assert isinstance(first, tuple)
    assert first[0] == 1.0
    assert math.isnan(first[1])
    assert isinstance(second, tuple)
    assert second[:2] == (0.0, 1.0)
    assert problems.cautions == ("No case knows label 'Rare': nothing can be learnt about it.",)


def test_masks_and_what_stands_beside_them(tmp_path: Path, table: Table) -> None:
    path = table(["image", "mask", "label"], ["a.png", "a_m.png", "x"])
    with pytest.raises(
        DataError, match=r"both label and mask.*--set data.columns.mask= .*--set data.columns.region=mask"
    ):
        listed(path)
    for columns in ({"label": ""}, {"mask": "mask"}):
        (entry,) = listed(path, columns=columns).entries
        assert (entry.mask, entry.label) == (tmp_path / "a_m.png", None)
    for columns in ({"mask": ""}, {"label": "label"}, {"mask": "", "region": "mask"}):
        (entry,) = listed(path, columns=columns).entries
        assert (entry.mask, entry.label) == (None, "x")
        assert entry.region == (tmp_path / "a_m.png" if "region" in columns else None)
    with pytest.raises(DataError, match=r"needs a mask; line 2 of cases\.csv has none"):
        listed(table(["image", "mask"], ["a.png", ""]))


def test_grades_are_told_by_numbers(table: Table) -> None:
    def graded(*names: str) -> Listing:
        return listed(table(["image", "label"], *(["a", name] for name in names)), ordinal=True)

    assert graded("0", "2", "1").ordinal
    assert graded("grade 9", "grade 10", "grade 11").ordinal
    assert graded("4A", "4B", "5").ordinal
    with pytest.raises(DataError, match="at least three; cases has 2"):
        graded("0", "1")
    for names in (("low", "medium", "high"), ("1 low", "2 medium", "high"), ("b 1", "a 2", "c 3")):
        with pytest.raises(DataError, match="Number the classes"):
            graded(*names)
    with pytest.raises(DataError, match="one class per case"):
        listed(table(["image", "mask"], ["a", "b"]), ordinal=True)


BAD: list[tuple[dict[str, object], str]] = [
    ({"columns": {"patients": "id"}}, "got 'patients'. Did you mean 'patient'"),
    ({"columns": {"image_": "image"}}, "knows the roles"),
    ({"columns": {"patient": "Patient"}}, "data.columns.patient names columns .* Did you mean 'patient ID'"),
    ({"columns": {"image": "images/{imag}"}}, "not 'imag'. Did you mean 'image'"),
    ({"columns": {"image": "{}.png"}}, "not ''"),
    ({"columns": {"image": ""}}, "needs the column `image`"),
    ({"columns": {"label": ""}}, "has neither"),
    ({"columns": {"label": "label", "mask": "site"}}, "both label and mask"),
    ({"label_columns": ("sit",)}, "data.label_columns names columns .* Did you mean 'site'"),
    ({"label_columns": ("site",), "columns": {"label": "label"}}, "both label and label_site"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_columns_are_one_clear_line(table: Table, settings: dict[str, object], message: str) -> None:
    path = table(["image", "label", "site", "patient ID"], ["a.png", "x", "1", "2"])
    with pytest.raises(DataError, match=message) as error:
        listed(path, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "rows",
    [
        [["image", "label"], ["a\nb.png", "x"]],
        [["image", "label"], ["a.png", "x\x00"]],
        [["image", "lab\nel"], ["a.png", "x"]],
        [["image", "label"], ["a" * 300, "x"]],
        [["image", "label"], ["a/" * 3000, "x"]],
        [["image", "label"], ["a.png", "9" * 5000]],
        [["image", "image_ct", "label"], ["a.png", "b.png", "x"]],
        [["image", "label"] + ["extra"] * 900, ["a.png"] * 902],
    ],
)
def test_strange_text_is_one_clear_line(table: Table, rows: list[list[str]]) -> None:
    with pytest.raises(DataError) as error:
        listed(table(*rows))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_path_of_an_unknown_user_is_a_name(tmp_path: Path, table: Table) -> None:
    (entry,) = listed(table(["image", "label"], ["~nobody-at-all/a.png", "x"])).entries
    assert entry.images == (tmp_path / "~nobody-at-all/a.png",)


def test_damaged_tables_are_listed_or_refused(table: Table) -> None:
    path = table(
        ["image_ct", "image_pet", "label_a", "label_b", "patient", "split", "fold", "lesion_area", "id"],
        *(["c.nii", "p.nii", "0", "1", "A", "train", "1.0", "0.5", f"i{row}"] for row in range(4)),
    )
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        path.write_bytes(damaged(whole, rng))
        strict = bool(rng.random() < 0.5)
        for settings in ({}, {"columns": {"image": "{id}/{patient}.png"}, "ordinal": strict}):
            assert_listed_or_refused(list_csv, path, DataSettings(**settings), strict)  # type: ignore[arg-type]
