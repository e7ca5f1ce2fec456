from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from archimed.cli.data import data_settings
from archimed.errors import ArchimedError, SettingsError
from archimed.experiment.layers import default_document, explain_settings, overlay, parse_assignment, resolve
from archimed.experiment.settings import Experiment, experiment_from_document
from archimed.methods import METHODS


def experiment(*assignments: str, preset: str = "default", config: Path | None = None, **flags: Any) -> Experiment:
    return resolve("mstf-nas", preset, config, assignments, {"sources": ["x.npz"], **flags})


@pytest.mark.parametrize("method", METHODS)
def test_the_defaults_of_a_method_are_those_of_its_dataclasses(method: str) -> None:
    document = default_document(method)
    again = experiment_from_document({**document, "sources": ["x.npz"]})
    assert again.document() == {**document, "sources": ["x.npz"]}


def test_a_document_comes_back_from_yaml() -> None:
    one = experiment("space.width=8", "search.objectives=-macs,naswot+log_synflow", "training.milestones=0.2,0.9")
    stored = yaml.safe_load(yaml.safe_dump(one.document()))
    assert experiment_from_document(stored) == one


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("training.epochs=20", 20),
        ("training.learning_rate=1e-3", "1e-3"),  # YAML's word for it; the setting's type reads it as a number
        ("training.early_stop_patience=null", None),
        ("search.indicators=[naswot, synflow]", ["naswot", "synflow"]),
        ("search.objectives=-macs,naswot+synflow", "-macs,naswot+synflow"),
        ("training.initial_weights=a=b.safetensors", "a=b.safetensors"),
        ("data.positive_class=: [", ": ["),
        ("data.columns.image={patient}", "{patient}"),
        ("data.columns.label=", ""),
        ("data.columns.patient=no", "no"),
    ],
)
def test_an_assignment_is_yaml(text: str, value: object) -> None:
    assert parse_assignment(text) == (text.partition("=")[0], value)


def test_commas_make_a_list_where_a_setting_holds_several_values() -> None:
    one = experiment("search.indicators=fisher,synflow", "search.objectives=fisher,-macs", "training.milestones=0.5")
    assert one.method.search.indicators == ("fisher", "synflow")
    assert one.method.search.objectives == ("fisher", "-macs")
    assert experiment("training.learning_rate=2e-3").method.training.learning_rate == 2e-3
    assert experiment("search.indicators=[grasp, snip]").method.search.indicators == ("grasp", "snip")


def test_entries_of_a_mapping_are_set_one_by_one(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("data: {columns: {id: number, patient: name}}\n")
    one = experiment("data.columns.patient=Patient ID", "data.columns.image=images/{image}", config=config)
    assert one.data.columns == {"id": "number", "patient": "Patient ID", "image": "images/{image}"}
    assert experiment("data.columns={id: number}").data.columns == {"id": "number"}
    assert experiment().data.columns == {}  # the defaults stay as they are
    again = experiment_from_document(yaml.safe_load(yaml.safe_dump(one.document())))
    assert again.data == one.data


@pytest.mark.parametrize(
    ("text", "near"),
    [("data.colums.id=x", "data.columns"), ("data.fit.x=1", "data.fit"), ("training.epochs.x=1", "training.epochs")],
)
def test_entries_of_what_is_no_mapping_are_refused(text: str, near: str) -> None:
    with pytest.raises(SettingsError, match=f"did you mean {near}"):
        experiment(text)


def test_settings_of_data_alone() -> None:
    settings = data_settings(
        ["data.columns.label=a", "data.modalities=pet,ct", "data.label_columns=x,y", "data.folds=3"]
    )
    assert settings.columns == {"label": "a"}
    assert (settings.modalities, settings.label_columns, settings.folds) == (("pet", "ct"), ("x", "y"), 3)
    for text in ("space.width=3", "space.name=darts_cell", "training.epochs=3", "data.fold=3"):
        with pytest.raises(SettingsError, match="There is no setting"):
            data_settings([text])


def test_later_words_win(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("training: {epochs: 5, batch_size: 7}\nseed: 3\nsearch.generations: 9\n")
    assert experiment(preset="quick").method.training.epochs != 5
    one = experiment("training.batch_size=9", preset="quick", config=config, **{"training.batch_size": 11})
    assert (one.method.training.epochs, one.method.training.batch_size, one.seed) == (5, 11, 3)
    assert one.method.search.generations == 9
    two = experiment("training.batch_size=9", preset="quick", config=config, seed=None)
    assert (two.method.training.batch_size, two.seed) == (9, 3)  # a flag that was not given says nothing


@pytest.mark.parametrize("form", ["space: darts_cell\n", "space: {name: darts_cell}\n", "space.name: darts_cell\n"])
def test_another_space_brings_its_own_fields(tmp_path: Path, form: str) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(form)
    for one in (experiment(config=config), experiment("space.name=darts_cell"), experiment("space=darts_cell")):
        assert one.document()["space"]["name"] == "darts_cell"
        assert "num_pools" not in one.document()["space"]
    assert experiment("space.num_cells=4", "space.name=darts_cell").document()["space"]["num_cells"] == 4


def test_the_paper_preset_is_the_papers_protocol() -> None:
    """MSTF-NAS, Sec. IV-B: NSGA-Net's settings, jacob_cov and synflow, the MedMNIST training to its end."""
    one = experiment(preset="paper")
    assert one.method.search.indicators == ("naswot", "synflow")
    search = one.method.search
    assert (search.population_size, search.offspring_size, search.generations) == (40, 40, 30)
    recipe = one.method.training
    assert (recipe.epochs, recipe.batch_size, recipe.early_stop_patience) == (100, 128, None)
    assert (recipe.learning_rate, recipe.milestones, recipe.learning_rate_factor) == (1e-3, (0.5, 0.75), 0.1)
    space = one.document()["space"]
    assert (space["num_blocks"], space["num_nodes"], space["num_pools"], space["width"]) == (3, 5, 4, 128)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("preset", ["quick", "default", "paper"])
def test_every_method_has_the_three_presets(method: str, preset: str) -> None:
    resolve(method, preset, None, [], {"sources": ["x.npz"]})


def test_seeds_follow_each_other() -> None:
    assert list(experiment(seed=5, repeats=3).seeds) == [5, 6, 7]


def test_overlay_leaves_the_document_alone() -> None:
    document = default_document("mstf-nas")
    before = yaml.safe_dump(document)
    overlay(document, {"training.epochs": 3, "space.name": "resnet", "seed": 4})
    assert yaml.safe_dump(document) == before


@pytest.mark.parametrize("missing", ["method", "sources", "space", "machine"])
def test_a_document_without_a_part_is_refused(missing: str) -> None:
    document: Mapping[str, Any] = {**default_document("mstf-nas"), "sources": ["x.npz"]}
    with pytest.raises(SettingsError, match=f"'{missing}' is missing"):
        experiment_from_document({key: value for key, value in document.items() if key != missing})


@pytest.mark.parametrize("section", ["space", "training", "machine", "tune"])
@pytest.mark.parametrize("value", ["x", None, [1]])
def test_a_section_that_is_none_is_refused(section: str, value: object) -> None:
    document = {**default_document("mstf-nas"), "sources": ["x.npz"], section: value}
    with pytest.raises(SettingsError, match=f"^{section} is a section"):
        experiment_from_document(document)


def test_a_space_without_a_name_is_refused() -> None:
    document = {**default_document("mstf-nas"), "sources": ["x.npz"], "space": {}}
    with pytest.raises(ArchimedError, match="None"):
        experiment_from_document(document)


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_has_a_meaning(method: str) -> None:
    rows = explain_settings(method)
    assert all(len(row["summary"]) > 10 for row in rows)
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))
    document = default_document(method)
    listed = {
        f"{section}.{field}"
        for section in ("data", "space", "search", "training", "tune", "evaluation", "machine")
        for field in document[section]
    }
    assert {*names, "space.name"} == listed


def test_settings_of_a_file_never_execute_a_space(tmp_path: Path) -> None:
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    config = tmp_path / "theirs.yaml"
    config.write_text(f"space: {{name: '{trap}:Mine'}}\n")
    with pytest.raises(SettingsError, match="needs your word"):
        experiment(config=config)
    assert not (tmp_path / "sprung").exists()
