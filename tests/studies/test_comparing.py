"""Comparisons of made-up runs: what is put together, what is refused, what is found, and the files that tell it."""

import csv
import json
import re

import numpy as np
import pytest
from scipy import stats

from archimed.errors import RunError, SettingsError
from archimed.experiment.progress import Silent
from archimed.studies.comparing import Asked, compare_runs
from archimed.task import ImagingTask
from tests.studies.made_runs import CASES, TRUTH, made_run


def compared(runs, out, **asked):
    return compare_runs(runs, out, Asked(**asked), Silent())


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Two methods with five seeds each, the baseline in both runs, and a third network."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        made_run(folder / "zen", "zen-nas", {"zen-nas": 0.9, "resnet50": 0.7, "random-search": 0.75}),
        made_run(folder / "darts", "darts", {"darts": 0.71, "resnet50": 0.7}, space__name="darts_cell"),
    ]


@pytest.fixture(scope="module")
def document(three, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    return compared(three, out, all_pairs=True), out


def test_methods_are_compared_with_resnet50_in_the_metrics_of_the_task(document):
    found, _ = document
    assert found["reference"] == "resnet50"
    assert found["metrics"] == ["auc", "accuracy"]
    assert [(row["metric"], row["network"]) for row in found["comparisons"]] == [
        ("auc", "zen-nas"),
        ("auc", "darts"),
        ("accuracy", "zen-nas"),
        ("accuracy", "darts"),
    ]
    assert found["test_cases"] == len(CASES)


def test_a_clear_difference_is_found_and_none_where_there_is_none(document):
    found, _ = document
    zen, darts = found["comparisons"][2:]
    assert zen["beyond_noise"]
    assert zen["rank_beyond_noise"]
    assert zen["delta"] == 1.0
    assert zen["effect"] == "large"
    assert not darts["beyond_noise"]
    assert found["verdict"][0] == "2 of 4 comparisons with ResNet-50 show a difference beyond the noise."
    assert any(re.match(r"Accuracy: Zen-NAS is better than ResNet-50 beyond the noise", s) for s in found["verdict"])
    assert any(re.match(r"Accuracy: DARTS is inside the noise of ResNet-50", s) for s in found["verdict"])


def test_the_baseline_of_two_runs_with_equal_answers_counts_once(document):
    found, _ = document
    assert found["networks"]["resnet50"]["seeds"] == [0, 1, 2, 3, 4]
    assert found["networks"]["resnet50"]["runs"] == ["zen"]
    assert (
        "resnet50 of seeds 0, 1, 2, 3 and 4 is in zen and in darts, with the same answers: it counts once."
        in found["notes"]
    )


def test_all_pairs_are_those_of_scipy_and_come_with_a_warning(document):
    found, _ = document
    pairs = found["all_pairs"]
    names = pairs["networks"]
    i, j = names.index("darts"), names.index("random-search")
    scores = [found["networks"][names[k]]["by_seed"]["auc"] for k in (i, j)]
    assert pairs["p"]["auc"][i][j] == pytest.approx(stats.mannwhitneyu(*scores, method="exact").pvalue)
    assert pairs["pairs"] == 6
    assert pairs["smallest_p_holm"] == pytest.approx(12 / 252)


def test_seeds_of_several_runs_are_repeats_of_one_network(tmp_path, document):
    shares = {"zen-nas": 0.9, "resnet50": 0.7}
    runs = [made_run(tmp_path / f"seed{seed}", "zen-nas", shares, seeds=[seed]) for seed in range(5)]
    found = compared(runs, tmp_path / "out")
    assert found["networks"]["zen-nas"]["seeds"] == [0, 1, 2, 3, 4]
    together = document[0]["networks"]["zen-nas"]["test"]["accuracy"]["value"]
    assert found["networks"]["zen-nas"]["test"]["accuracy"]["value"] == pytest.approx(together)


def test_runs_with_other_settings_are_other_networks_and_it_is_said(tmp_path):
    runs = [
        made_run(tmp_path / "short", "darts", {"darts": 0.8, "resnet50": 0.7}, seeds=[0, 1]),
        made_run(tmp_path / "long", "darts", {"darts": 0.8, "resnet50": 0.7}, seeds=[0, 1], training__epochs=30),
    ]
    found = compared(runs, tmp_path / "out", reference="resnet50 (training.epochs=3)")
    assert list(found["networks"]) == [
        *("darts (training.epochs=3)", "darts (training.epochs=30)"),
        *("resnet50 (training.epochs=3)", "resnet50 (training.epochs=30)"),
    ]
    assert found["notes"][0] == (
        "darts counts as 2 networks, because settings differ: training.epochs is 3 in short and 30 in long."
    )
    assert any(
        note.startswith("DARTS (training.epochs=30) and ResNet-50 (training.epochs=3) were") for note in found["notes"]
    )
    with pytest.raises(SettingsError, match=r"'resnet50' is resnet50 \(training.epochs=3\) and"):
        compared(runs, tmp_path / "out", reference="resnet50")


def test_a_random_search_beside_another_method_is_another_network(tmp_path):
    runs = [
        made_run(tmp_path / name, name, {name: 0.8, "random-search": 0.75, "resnet18": 0.7}, seeds=[0, 1])
        for name in ("zen-nas", "random-search")
    ]
    found = compared(runs, tmp_path / "out")
    assert "random-search (beside zen-nas)" in found["networks"]
    assert "random-search (as a method)" in found["networks"]
    assert found["reference"] == "resnet18"


def test_the_cautions_tell_of_single_seeds_few_seeds_and_larger_networks(tmp_path):
    once = made_run(tmp_path / "once", "darts", {"darts": 0.8, "resnet18": 0.7}, seeds=[0])
    found = compared([once], tmp_path / "out")
    assert any("trained once" in note for note in found["notes"])
    thrice = made_run(tmp_path / "thrice", "darts", {"darts": 1.0, "resnet18": 0.5}, seeds=[0, 1, 2])
    found = compared([thrice], tmp_path / "out")
    assert any("cannot reach 0.05" in note and "0.100 at best" in note for note in found["notes"])
    assert "cannot go below 0.100" in found["verdict"][1]


def test_cases_of_one_patient_are_drawn_together(tmp_path):
    patients = {case: f"p{number // 10}" for number, case in enumerate(CASES)}
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 12).repeat(10)
    widths = []
    for name, known in (("known", patients), ("unknown", None)):
        run = made_run(
            tmp_path / name, "darts", {"darts": 0.9, "resnet18": 0.7}, seeds=[0], patients=known, truth=truth
        )
        row = compared([run], tmp_path / f"out-{name}", metrics=("sensitivity",))["comparisons"][0]
        widths.append(row["high"] - row["low"])
    assert widths[0] != widths[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"cases": [*CASES[:-1], "other"]},
            r"same test cases; one and two differ: 120 and 120 .* 119 of them the same",
        ),
        ({"cases": CASES[:-20], "truth": TRUTH[:-20]}, "120 and 100 test cases"),
        ({"task": ImagingTask("multi-class", ("a", "b"), 1, (28, 28))}, "same task; one and two differ: binary and"),
        ({"task": ImagingTask("binary", ("no", "yes"), 1, (28, 28))}, "same labels; one and two differ: benign, mal"),
        ({"truth": 1 - TRUTH}, "same true labels; one and two differ: in 120 of 120"),
    ],
)
def test_runs_that_test_something_else_are_refused(tmp_path, change, message):
    shares = {"darts": 0.8, "resnet18": 0.7}
    runs = [
        made_run(tmp_path / "one", "darts", shares, seeds=[0]),
        made_run(tmp_path / "two", "darts", shares, seeds=[1], **change),
    ]
    with pytest.raises(RunError, match=message) as refused:
        compared(runs, tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_other_patients_under_the_same_ids_are_refused(tmp_path):
    shares = {"darts": 0.8, "resnet18": 0.7}
    runs = [
        made_run(tmp_path / name, "darts", shares, seeds=[0], patients={case: f"{name}{case}" for case in CASES})
        for name in ("one", "two")
    ]
    with pytest.raises(RunError, match="test case case-000 is of another patient"):
        compared(runs, tmp_path / "out")


def test_unfinished_runs_and_other_folders_are_refused_with_the_next_step(tmp_path):
    run = made_run(tmp_path / "run", "darts", {"darts": 0.8, "resnet18": 0.7}, seeds=[0])
    with pytest.raises(RunError, match="given twice"):
        compared([run, run / ".." / "run"], tmp_path / "out")
    with pytest.raises(RunError, match=r"holds an experiment.yaml; .*nothing has none"):
        compared([run, tmp_path / "nothing"], tmp_path / "out")
    with pytest.raises(RunError, match="Choose another --out"):
        compared([run], run)
    (run / "summary.json").unlink()
    with pytest.raises(RunError, match=r"Go on with: archimed resume .*run$"):
        compared([run], tmp_path / "out")


def test_a_wrong_reference_or_metric_is_refused_with_those_there_are(tmp_path):
    run = made_run(tmp_path / "run", "darts", {"darts": 0.8, "resnet18": 0.7}, seeds=[0])
    with pytest.raises(SettingsError, match="darts, resnet18; got 'resnet19'"):
        compared([run], tmp_path / "out", reference="resnet19")
    with pytest.raises(SettingsError, match="Did you mean 'accuracy'"):
        compared([run], tmp_path / "out", metrics=("acuracy",))
    alone = made_run(tmp_path / "alone", "darts", {"darts": 0.8}, seeds=[0])
    with pytest.raises(SettingsError, match="--reference NAME"):
        compared([alone], tmp_path / "out")


def test_a_network_that_lacks_a_fold_is_left_out_and_it_is_said(tmp_path):
    run = made_run(tmp_path / "run", "darts", {"darts": 0.8, "resnet18": 0.7, "macs": 0.7}, seeds=[0])
    (run / "networks/macs/fold0.seed0/predictions.csv").unlink()
    found = compared([run], tmp_path / "out")
    assert "macs is left out: it was not tested in fold 0." in found["notes"]
    assert list(found["networks"]) == ["darts", "resnet18"]


def test_the_page_is_one_offline_file_that_holds_what_was_found(document):
    found, out = document
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert "Zen-NAS and DARTS against ResNet-50 on breast" in page
    for sentence in found["verdict"]:
        assert sentence.replace("'", "&#39;") in page
    assert "http" not in re.sub(r"<meta http-equiv|xmlns=\S+", "", page)
    assert "<script" not in page
    assert json.loads((out / "comparison.json").read_text()) == found


def test_figures_and_tables_are_files_too(document):
    found, out = document
    names = {path.name for path in out.rglob("*") if path.is_file()}
    assert {"difference_auc.svg", "seeds_accuracy.svg", "all_pairs_auc.csv", "comparisons.csv", "networks.csv"} <= names
    with (out / "tables" / "comparisons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["p_holm"]) for row in rows] == [row["p_holm"] for row in found["comparisons"]]


def test_the_same_runs_give_the_same_bytes(three, document, tmp_path):
    again = tmp_path / "again"
    compared(three, again, all_pairs=True)
    for name in ("comparison.json", "compare.html"):
        assert (again / name).read_bytes() == (document[1] / name).read_bytes()
