import base64
import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from archimed.report import write_report
from archimed.report.cases import case_groups, why_no_cases
from archimed.report.reading import read_run
from tests.report.test_report import elements
from tests.report.woven_run import woven_run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(woven_run(tmp_path_factory.mktemp("cases") / "run"))


def words_of(page: Path) -> str:
    return " ".join(" ".join(elements(page).words).split())


def test_pictures_are_embedded_with_what_they_show(page: Path) -> None:
    found = elements(page)
    sources = [value for name, value in found.attributes if name == "src"]
    assert len(sources) == 3 * (1 + 4) + 3 * (1 + 1 + 4)  # image and answers; of several classes the truth too
    assert found.tags.count("img") == len(sources)
    files = {path.read_bytes() for path in (page.parent / "figures" / "cases").glob("*.png")}
    for source in sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) in files
        assert Image.open(io.BytesIO(base64.b64decode(content))).format == "PNG"
    assert [value for name, value in found.attributes if name == "alt" and not value] == []
    words = words_of(page)
    for told in ("Worst of 12 test cases: cells-00002", "MixSearch, output 1 of 3: Dice 0.90", "U-Net: Dice 0.80"):
        assert told in words
    assert "as outlines would hide thin structures" in words
    assert "answer: nucleus" in words
    assert page.stat().st_size < 2_000_000


def test_the_words_are_those_of_masks(page: Path) -> None:
    words = words_of(page)
    for told in (
        "MixSearch reached 0.84 Dice",
        "mark regions in the images of vessels and cells",
        "measured on 24 test cases",
        "lies within 1 pixel of the other one",
        "Mean of data sets",
        "MixSearch on vessels",
        "vessels: Images are synthetic.",
    ):
        assert told in words
    assert "AUC on the test cases" not in words
    assert "hidden" not in words
    with (page.parent / "tables" / "data_sets_dice.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert float(rows["unet"]["cells"]) == pytest.approx(0.84)
    with (page.parent / "tables" / "data_sets.csv").open(encoding="utf-8", newline="") as file:
        assert [row["Patients"] for row in csv.DictReader(file)] == ["20", "not known"]


def test_a_run_of_one_data_set_has_no_columns_of_data_sets(tmp_path: Path) -> None:
    page = write_report(woven_run(tmp_path / "run", ("cells",)))
    words = words_of(page)
    assert "Mean of data sets" not in words
    assert "mark cytoplasm and nucleus in an image" in words
    assert "The classes of the masks" in words


def test_without_pictures_the_page_says_why(tmp_path: Path) -> None:
    folder = woven_run(tmp_path / "run", ("cells",))
    for path in (folder / "figures" / "cases").iterdir():
        path.unlink()
    assert "may show who the patient is" in words_of(write_report(folder))
    settings = folder / "experiment.yaml"
    settings.write_text(settings.read_text("utf-8").replace("pictures: auto", "pictures: never"), "utf-8")
    assert "evaluation.pictures=never asks" in why_no_cases(read_run(folder))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../../../secret.png"),
        ("file", "no.png"),
        ("file", 3),
        ("width", "<script>"),
        ("width", None),
        ("shows", "<script>alert(1)</script>"),
        ("dice", "x"),
        ("network", "<script>alert(1)</script>"),
    ],
)
def test_a_damaged_or_hostile_list_of_pictures_does_no_harm(tmp_path: Path, key: str, value: object) -> None:
    folder = woven_run(tmp_path / "run", ("cells",))
    (tmp_path / "secret.png").write_bytes(b"secret")
    path = folder / "figures" / "cases" / "cases.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["datasets"]["cells"]["colours"] = ["red;}</style>", '#12345"']
    for case in document["cases"]:
        for panel in case["panels"]:
            panel[key] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    found = elements(write_report(folder))
    assert "script" not in found.tags
    assert all(content.startswith("data:image/png;base64,iVBOR") for name, content in found.attributes if name == "src")


@pytest.mark.parametrize(
    "document", [{}, {"cases": 3}, {"cases": [3, {}]}, {"cases": [{"panels": [1]}], "datasets": 2}]
)
def test_a_list_without_pictures_is_none(tmp_path: Path, document: object) -> None:
    folder = woven_run(tmp_path / "run", ("cells",))
    (folder / "figures" / "cases" / "cases.json").write_text(json.dumps(document), encoding="utf-8")
    assert case_groups(read_run(folder)) == []
