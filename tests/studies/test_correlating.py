"""Correlations on tiny networks: what is drawn and trained, resumed, degenerate, and told."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from archimed.data.dataset import Dataset
from archimed.errors import RunError, SettingsError
from archimed.experiment.progress import Silent
from archimed.studies import correlating
from archimed.studies.agreements import agreement_notes, agreement_words
from archimed.studies.correlating import correlate
from archimed.studies.correlation_settings import resolve_correlation
from tests.experiment.tiny import lines, without_seconds, write_npz

TINY = {
    "space.width": 4,
    "space.num_cells": 3,
    "search.networks": 4,
    "search.batch_size": 8,
    "search.indicators": ["naswot", "synflow"],
    "training.epochs": 2,
    "training.batch_size": 8,
    "evaluation.resamples": 100,
    "machine.threads": 1,
    "machine.precision": "float32",
    "machine.memory_format": "contiguous",
}


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("data") / "grey.npz", size=16)


def asked(data, **settings):
    own = {key.replace("__", "."): value for key, value in settings.items()}
    return resolve_correlation("darts_cell", None, [], {**TINY, "sources": [str(data)], **own})


@pytest.fixture(scope="module")
def finished(grey, tmp_path_factory):
    out = tmp_path_factory.mktemp("correlated") / "out"
    return correlate(asked(grey), out, Silent()), out


def test_every_network_is_different_measured_and_trained(finished):
    document, out = finished
    records = lines(out / "networks.jsonl")
    assert [record["number"] for record in records] == [0, 1, 2, 3]
    assert len({json.dumps(record["genotype"]) for record in records}) == 4
    for record in records:
        assert set(record["indicators"]) == {"naswot", "synflow", "macs", "parameters"}
        assert record["validation"]["auc"] is not None
    assert document["trained"] == 4
    assert not (out / "training" / "0000").exists()


def test_tau_is_that_of_scipy_on_what_was_written(finished):
    document, out = finished
    records = lines(out / "networks.jsonl")
    quality = [record["validation"]["auc"] for record in records]
    for name, row in document["indicators"].items():
        expected = stats.kendalltau([record["indicators"][name] for record in records], quality).statistic
        if not np.isnan(expected):
            assert row["tau"]["value"] == pytest.approx(expected)


def test_the_page_holds_what_was_found(finished):
    document, out = finished
    page = (out / "correlate.html").read_text(encoding="utf-8")
    assert "Do indicators rank the networks of darts_cell on" in page
    assert document["verdict"][0] in page
    assert "<script" not in page
    assert json.loads((out / "correlation.json").read_text()) == document
    assert {"tau.svg", "scatter_naswot.svg"} <= {path.name for path in (out / "figures").iterdir()}


def test_the_test_part_is_never_read(grey, tmp_path, monkeypatch):
    subset = Dataset.subset

    def watched(self, ids):
        assert not set(ids) & set(self.folds[0].test)
        return subset(self, ids)

    monkeypatch.setattr(Dataset, "subset", watched)
    correlate(asked(grey, search__networks=3, training__epochs=1), tmp_path / "out", Silent())


@pytest.mark.parametrize("where", ["between networks", "within a training"])
def test_an_interrupted_correlation_goes_on_and_ends_alike(grey, finished, tmp_path, where):
    class StopError(Exception):
        pass

    class Interrupter(Silent):
        def progress(self, done: float, total: float, note: str) -> None:  # noqa: ARG002
            if (where == "between networks" and done == 2) or (where == "within a training" and 1 < done < 2):
                raise StopError

    experiment, out = asked(grey), tmp_path / "out"
    with pytest.raises(StopError):
        correlate(experiment, out, Interrupter())
    assert len(lines(out / "networks.jsonl")) in {1, 2}
    assert correlate(experiment, out, Silent())["indicators"] == finished[0]["indicators"]
    assert without_seconds_of(out) == without_seconds_of(finished[1])


def without_seconds_of(out: Path):
    return [
        {key: value for key, value in without_seconds(record).items() if not key.endswith("_seconds")}
        for record in lines(out / "networks.jsonl")
    ]


def test_other_settings_need_another_folder(grey, finished):
    with pytest.raises(RunError, match="its seed is 0, not 1"):
        correlate(asked(grey, seed=1), finished[1], Silent())


@pytest.mark.parametrize("kind", [RuntimeError, TypeError])
def test_an_indicator_that_fails_does_not_take_the_others_along(grey, tmp_path, monkeypatch, kind):
    def broken(_probe):
        raise kind("no rectifier")

    def constant(_probe):
        return 3.0

    monkeypatch.setattr(correlating, "find_indicators", lambda _names: {"naswot": broken, "synflow": constant})
    document = correlate(asked(grey, search__networks=3, training__epochs=1), tmp_path / "out", Silent())
    assert document["indicators"]["naswot"]["tau"]["value"] is None
    assert document["indicators"]["macs"]["networks"] == 3
    notes = " ".join(document["notes"])
    assert f"naswot is no finite number for any network, mostly because: {kind.__name__}: no rectifier." in notes
    assert "synflow is the same for all networks, and ranks nothing." in notes


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ("resnet", {}, "holds one network alone"),
        ("darts_sell", {}, "Did you mean darts_cell"),
        ("darts_cell", {"search.indicators": ["naswott"]}, "Did you mean 'naswot'"),
        ("darts_cell", {"search.networks": 2}, "search.networks"),
        ("darts_cell", {"sources": None}, "--data"),
        ("darts_cell", {"repeats": 2}, "trains each network once"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(grey, space, settings, message):
    with pytest.raises(SettingsError, match=message) as refused:
        resolve_correlation(space, None, [], {"sources": [str(grey)], **settings})
    assert "\n" not in str(refused.value)


def made_document(**rows):
    indicators = {
        name: {
            "networks": 50,
            "not_finite": 0,
            "distinct": 50,
            "tau": cell(*tau),
            "above_macs": None,
            "above_parameters": None,
        }
        for name, tau in rows.items()
    }
    return {
        "indicators": indicators,
        "metric": "auc",
        "asked": 50,
        "drawn": 50,
        "trained": 50,
        "failed": [],
        "epochs": 10,
        "validation_cases": 78,
    }


def cell(value, low, high):
    return {"value": value, "low": low, "high": high}


def test_words_tell_what_ranks_what_does_not_and_what_ranks_the_wrong_way():
    document = made_document(
        naswot=(0.5, 0.3, 0.6), fisher=(-0.4, -0.6, -0.2), snip=(0.1, -0.1, 0.3), macs=(0.3, 0.1, 0.5)
    )
    document["indicators"]["naswot"]["above_macs"] = cell(0.2, 0.1, 0.3)
    said = agreement_words(document)
    assert said == [
        "naswot ranks these networks best by AUC: 0.50 (0.30 to 0.60).",
        "Better than counting MACs (tau 0.30 (0.10 to 0.50)) beyond the noise: naswot.",
        "Inside the noise, not to be told from chance: snip.",
        "Ranks them the wrong way round, beyond the noise: fisher.",
    ]


def test_few_networks_tell_nothing():
    document = made_document(naswot=(1.0, 1.0, 1.0), macs=(0.3, 0.1, 0.5)) | {"trained": 4}
    assert agreement_words(document) == ["4 trained networks are too few to tell whether an indicator ranks them."]


def test_a_metric_that_is_the_same_for_all_is_told():
    document = made_document(macs=(None, None, None))
    records = [{"validation": {"auc": 0.5}, "undefined": {}} for _ in range(50)]
    assert any("AUC is the same, or undefined, for all networks" in note for note in agreement_notes(document, records))
    assert "No indicator can be told" in agreement_words(document)[0]
