import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from archimed.errors import RunError
from archimed.report import write_report

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x07=1+1"


class Elements(HTMLParser):
    """Collects tags, attributes and ids of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def sections(self) -> list[str]:
        return [value for name, value in self.attributes if name == "id"]


def elements(page: Path) -> Elements:
    found = Elements()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, write_run: Any, wanted: Any) -> Path:
    return write_report(write_run(tmp_path_factory.mktemp("run"), wanted()))


def test_sections_stand_in_the_order_of_the_report(page: Path) -> None:
    order = [
        "networks",
        "lesions",
        "answers",
        "training",
        "search",
        "architecture",
        "data",
        "cost",
        "settings",
        "glossary",
    ]
    assert elements(page).sections == order


def test_the_page_asks_for_nothing_from_outside_and_runs_no_script(page: Path) -> None:
    found = elements(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "use", "image"} & set(found.tags)
    assert all(value.startswith("#") for name, value in found.attributes if name in {"href", "src", "xlink:href"})
    text = page.read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_headline_says_that_a_difference_is_inside_the_noise(page: Path) -> None:
    words = " ".join(" ".join(elements(page).words).split())
    assert "Inside the noise of ResNet-18" in words
    assert re.search(r"MSTF-NAS reached 0\.\d\d AUC \(0\.\d\d–0\.\d\d\)", words)
    assert "trained once" in words


def test_figures_and_tables_lie_beside_the_page(page: Path) -> None:
    figures = {path.stem: path for path in (page.parent / "figures").glob("*.svg")}
    wanted = {
        "forest_auc",
        "lesion_size_1",
        "roc",
        "confusion",
        "calibration",
        "training_resnet18",
        "fronts",
        "seconds",
    }
    assert wanted | {"indicator_naswot", "architecture_block1", "architecture_block3", "cost"} <= set(figures)
    for path in figures.values():
        root = ElementTree.parse(path).getroot()  # noqa: S314 (our own)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in path.read_text(encoding="utf-8")
        assert root.find("{http://www.w3.org/2000/svg}title") is not None
    tables = {path.stem for path in (page.parent / "tables").glob("*.csv")}
    assert {"networks", "repeats", "lesion_size", "candidates", "data", "seconds", "settings", "architecture"} <= tables


def test_the_table_of_networks_holds_the_numbers_of_the_summary(page: Path) -> None:
    summary = json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))
    with (page.parent / "tables" / "networks.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert next(iter(rows)) == summary["chosen"]
    assert set(rows) == set(summary["networks"])
    for name, results in summary["networks"].items():
        for metric, cell in results["test"].items():
            assert float(rows[name][metric]) == cell["value"]
            assert float(rows[name][f"{metric}_high"]) == cell["high"]


def test_all_candidates_are_in_their_table(page: Path) -> None:
    logged = (page.parent / "search" / "candidates.jsonl").read_text(encoding="utf-8").count("\n")
    with (page.parent / "tables" / "candidates.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == logged
    assert {row["dropped"] for row in rows if row["dropped"]} == {"naswot is not finite: two images have equal codes"}


def test_the_same_run_gives_the_same_bytes(page: Path) -> None:
    def content() -> dict[str, bytes]:
        places = [page, *page.parent.glob("figures/*"), *page.parent.glob("tables/*")]
        return {str(path): path.read_bytes() for path in places}

    before = content()
    write_report(page.parent)
    assert content() == before


def test_hostile_names_stay_words(tmp_path: Path, write_run: Any, wanted: Any) -> None:
    run = write_run(
        tmp_path,
        wanted(
            class_names=(HOSTILE, "</svg><script>1</script>"),
            cautions=(HOSTILE,),
            extra={"data": HOSTILE, "operating_point": {"rule": HOSTILE, "test": {"accuracy": {"value": 1.0}}}},
        ),
    )
    data = json.loads((run / "data.json").read_text(encoding="utf-8"))
    (run / "data.json").write_text(json.dumps(data | {"name": HOSTILE, "notes": [HOSTILE], HOSTILE: HOSTILE}), "utf-8")
    with (run / "experiment.yaml").open("a", encoding="utf-8") as file:
        file.write("sources: ['</pre><script>3</script>']\n")
    found = elements(write_report(run))
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert found.tags.count("html") == 1
    for path in (run / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}  # noqa: S314 (our own)
        assert tags <= {"svg", "title", "desc", "style", "rect", "path", "text", "circle", "g"}


def test_a_hostile_network_name_writes_no_file_elsewhere(tmp_path: Path, write_run: Any, wanted: Any) -> None:
    run = write_run(tmp_path / "run", wanted())
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    summary["networks"]["../../evil<b>"] = summary["networks"]["resnet18"]
    (run / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    assert "b" not in elements(write_report(run)).tags
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize(
    ("kind", "names"),
    [("multi-class", tuple("abcdefgh")), ("multi-class", tuple(map(str, range(25)))), ("multi-label", ("x", "y", "z"))],
)
def test_every_kind_of_task_has_its_figures(
    tmp_path: Path, write_run: Any, wanted: Any, kind: str, names: tuple[str, ...]
) -> None:
    run = write_run(tmp_path, wanted(kind=kind, class_names=names, cases=150, lesions=False, seeds=(0, 1)))
    found = elements(write_report(run))
    assert "lesions" not in found.sections
    figures = {path.stem for path in (run / "figures").glob("*.svg")}
    assert {"roc", "calibration"} <= figures
    assert ("confusion" in figures) == (kind == "multi-class" and len(names) <= 20)
    with (run / "tables" / "classes.csv").open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == ["Class", *names]


def test_a_summary_alone_makes_a_report(tmp_path: Path) -> None:
    summary = {"method": "mstf-nas", "networks": {"mstf-nas": {"test": {"accuracy": {"value": 0.9}, "auc": None}}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    found = elements(write_report(tmp_path))
    assert found.sections == ["networks", "data", "cost", "settings", "glossary"]
    assert "No baseline was trained" in " ".join(found.words)
    assert "undefined" in found.words


def test_an_empty_summary_makes_a_report(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    assert write_report(tmp_path).is_file()


def test_a_run_without_results_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no summary\.json\. Run: archimed evaluate"):
        write_report(tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_results_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunError, match=r"summary\.json holds no JSON object"):
        write_report(tmp_path)


def test_a_full_search_fits_in_a_small_file(tmp_path: Path, write_run: Any, wanted: Any) -> None:
    run = write_run(tmp_path, wanted(generations=31, population=40, epochs=100))
    assert write_report(run).stat().st_size < 400_000


def test_a_forest_on_radiomics_features_is_not_said_to_share_the_networks_recipe(
    page: Path, tmp_path: Path, write_run: Any, wanted: Any
) -> None:
    run = write_run(tmp_path, wanted())
    summary = json.loads((run / "summary.json").read_text())
    summary["networks"]["radiomics"] = next(iter(summary["networks"].values()))
    (run / "summary.json").write_text(json.dumps(summary))
    write_report(run)
    exception = "but for the forest on radiomics features"
    assert exception in (run / "report.html").read_text(encoding="utf-8")
    assert exception not in page.read_text(encoding="utf-8")
