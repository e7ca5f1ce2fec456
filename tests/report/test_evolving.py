"""The report of a search by weight sharing: its figures hold what the log says, and its table the front in MB."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from archimed.genotype import describe
from archimed.report import write_report
from archimed.report.evolving import evolved, evolves, individuals_of, path_logs
from archimed.report.figures.evolution import Individual, PathLog, evolution_figures, potential_line
from archimed.report.reading import read_run
from archimed.spaces import space_settings
from archimed.spaces.mbconv_stages import MbconvStagesSpace
from tests.report.conftest import WriteRun

SPACE = MbconvStagesSpace(blocks=(1, 1), widths=(4, 6))
PATHS = [describe((gene, 7 - gene), SPACE.choices) for gene in range(6)]
PLACE = {"search": "mstf-nas", "fold": 0, "seed": 0}


def line(path: int, generation: int, accuracy: float, **named: Any) -> dict[str, Any]:
    measured = {"accuracy": accuracy, "potential": 0.02, "size": 1.0 + path, "loss": 0.5}
    told = {"generation": generation, "genotype": PATHS[path], "measurements": measured, "seconds": 0.5}
    return {**PLACE, **told, "number": 0, "dropped": None, **named}


CANDIDATES = [
    *(line(path, 0, 0.4 + path / 100) for path in range(4)),
    *(line(path, 1, 0.5 + path / 10) for path in range(4)),
    line(4, 1, 0.0, measurements={}, dropped="no memory"),
    *(line(path, 2, 0.6 + path / 10) for path in (0, 1, 2, 3)),
    line(5, 0, 0.55, search="random-search"),
]
EPOCHS = [
    {**PLACE, "epoch": 1, "warm_up": True, "weight_loss": 0.7, "seconds": 2.5},
    *(
        {**PLACE, "epoch": 2 + k, "generation": k, "accuracy_best": 0.9, "survivors": [0], "seconds": 2}
        for k in range(3)
    ),
    *(
        {
            **PLACE,
            "finalist": rank,
            "generation": 2,
            "genotype": PATHS[path],
            "shared": {"accuracy": 0.6 + path / 10, "potential": 0.0512, "size": 1.0 + path},
            "validation": {"auc": 0.7 + path / 10},
            "best_epoch": 2,
            "seconds": 3.0,
        }
        for rank, path in enumerate((3, 1))
    ),
]


@pytest.fixture
def folder(tmp_path: Path, write_run: WriteRun, wanted: Any) -> Path:
    found = write_run(tmp_path / "run", wanted())
    chosen = {"network": "mstf-nas", "fold": 0, "seed": 0, "genotype": PATHS[3], "space": space_settings(SPACE)}
    search = found / "search"
    (search / "selected.json").write_text(
        json.dumps({"rule": "the best", "selected": [{**chosen, "measurements": {}}]})
    )
    (search / "candidates.jsonl").write_text("".join(json.dumps(one) + "\n" for one in CANDIDATES))
    (search / "epochs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in EPOCHS))
    return found


def test_a_search_by_weight_sharing_has_its_own_section(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    assert "Accuracy against size by generation" in page
    assert "scored without training" not in page
    for name in ("paths_size", "paths_band", "paths_history"):
        assert (folder / "figures" / f"{name}.svg").exists()
    assert not (folder / "tables" / "mixture.csv").exists()
    rows = list(csv.reader((folder / "tables" / "finalists.csv").open()))
    assert rows[1][:5] == ["1", "4.00", "0.900", "0.0512", "1.000"]
    assert [row[-1] for row in rows[1:]] == ["chosen", ""]
    counts = list(csv.reader((folder / "tables" / "searches.csv").open()))
    assert counts[1][3:] == ["4", "5", "13", "1", "21"]  # epochs, paths, measurements, dropped, 13 * .5 + 14.5 seconds
    assert counts[2][4:6] == ["1", "1"]
    epochs = list(csv.reader((folder / "tables" / "search_epochs.csv").open()))
    assert len(epochs) == 1 + 4  # finalists are no epochs


def test_the_log_holds_every_measurement_and_the_band_is_that_of_the_paper(folder: Path) -> None:
    ((log, finalists),) = path_logs(read_run(folder))
    assert len(log.individuals) == 12  # the dropped one is passed over
    assert len(log.rivals) == 1
    assert [one.accuracy for one in log.history(log.chosen)] == pytest.approx([0.43, 0.8, 0.9])
    # accuracies .5 .6 .7 .8: percentiles 30 and 70 at .59 and .71; the same of the next generation
    assert log.band_height == pytest.approx(0.12)
    assert len(finalists) == 2
    drawn = evolution_figures(log, "")
    assert drawn[0].body.count("h0") == 12 + 1
    assert drawn[0].body.count("the chosen network") == 1
    assert drawn[2].body.count('class="dots s') == 2


def test_the_line_of_the_potential_is_least_squares() -> None:
    history = [Individual("a", x, y, 0.0, 1.0) for x, y in ((1, 0.2), (2, 0.5), (6, 0.5))]
    (left, low), (right, high) = potential_line(history)
    assert (left, right) == (1, 6)
    assert (high - low) / 5 == pytest.approx(0.3 / 7)
    assert (low + high) / 2 == pytest.approx(0.4 + 0.3 / 7 * 0.5)  # through the mean (3, .4)
    assert potential_line(history[:1]) == []


def test_one_generation_and_damaged_lines_draw_nothing(folder: Path, write_run: WriteRun, wanted: Any) -> None:
    assert evolution_figures(PathLog("random-search", "", (Individual("a", 0, 0.5, 0.0, 1.0),), (), "a"), "") == []
    assert individuals_of([{"measurements": {"accuracy": "no"}}, {}]) == ()
    other = write_run(folder.parent / "other", wanted())
    assert not evolves(read_run(other))
    assert evolved(read_run(other)) == []
