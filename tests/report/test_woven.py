import csv
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from archimed.genotype import describe, parse, random_genotype
from archimed.report import write_report
from archimed.report.figures.weave import RADIUS, STEP, place, weave_figure
from archimed.report.learning import learning_figures, mixture_logs
from archimed.report.pruning import mean_weights
from archimed.report.reading import read_run
from archimed.report.woven import read_weave, woven_cell, woven_figures, woven_legend, woven_options
from archimed.spaces import space_settings
from archimed.spaces.weaved_unet import WeavedUnetSpace
from archimed.strategies.mixtures import mixture_of
from tests.report.woven_run import FIRST, drawn_alpha, woven_run

SPACES = [WeavedUnetSpace(depth=6, layers=10), WeavedUnetSpace(depth=4, layers=6, num_nodes=2), FIRST]
PLAIN = WeavedUnetSpace(depth=4, layout="plain")


def drawn(space: WeavedUnetSpace, seed: int) -> dict[str, str]:
    return describe(random_genotype(space.choices, np.random.default_rng(seed)), space.choices)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = woven_run(tmp_path_factory.mktemp("woven") / "run")
    write_report(folder)
    return folder


@pytest.mark.parametrize("space", [*SPACES, PLAIN])
def test_the_weave_shows_each_cell_that_is_built_and_each_that_is_not(space: WeavedUnetSpace) -> None:
    genotype = drawn(space, 0)
    weave = read_weave(genotype, space_settings(space), {})
    assert weave is not None
    built = {(path.place, path.kind) for path in space.paths(parse(genotype, space.choices))}
    every = {(place, kind) for place, kinds in space.lattice.cells.items() for kind in kinds}
    assert {(cell.spot, cell.kind) for cell in weave.cells if cell.weight is not None} == built
    assert {(cell.spot, cell.kind) for cell in weave.cells if cell.weight is None} == every - built
    body = weave_figure(weave, weighed=False).body
    assert body.count('class="path weight s') == len(built) + len({kind for _, kind in built})  # and the legend's
    assert body.count(">answer<") == 1
    assert body.count(">output ") == len(space.lattice.exits) - 1


def test_maps_do_not_touch() -> None:
    weave = read_weave(drawn(SPACES[0], 1), space_settings(SPACES[0]), {})
    assert weave is not None
    spots = {cell.spot for cell in weave.cells}
    for one, other in combinations(spots, 2):
        assert np.hypot(*np.subtract(place(one), place(other))) > 2 * RADIUS + min(STEP) / 2


def test_the_wider_a_path_the_more_its_cell_weighed() -> None:
    space = SPACES[0]
    mixture = mixture_of(drawn_alpha(space, 2))
    genotype = describe(space.derive(mixture), space.choices)
    weights = {name: numbers.tolist() for name, numbers in mixture.items() if name.startswith("type.")}
    weave = read_weave(genotype, space_settings(space), weights)
    assert weave is not None
    for cell in weave.cells:
        name = f"type.d{cell.spot[0]}.l{cell.spot[1]}"
        if cell.weight is not None and name in weights:
            kinds = next(choice.options for choice in space.mixed_choices if choice.name == name)
            assert cell.weight == pytest.approx(weights[name][kinds.index(cell.kind)], abs=1e-6)
    kept = sorted((cell for cell in weave.cells if cell.weight is not None), key=lambda cell: cell.weight or 0)
    body = weave_figure(weave, weighed=True).body
    widths = sorted(float(width) for width in re.findall(r"weight s\d\" style=\"stroke-width:([0-9.]+)", body))
    shown = [1.4 + 6.6 * (cell.weight or 0) for cell in kept]
    legend = [4.0] * len({cell.kind for cell in kept})
    assert widths == pytest.approx(sorted([*shown, *legend]), abs=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_the_cells_drawn_are_those_of_the_network(seed: int) -> None:
    space = SPACES[seed % 3]
    genotype = drawn(space, seed)
    plans = space._cells.plans(parse(genotype, space.choices)[: len(space._cells.choices)])
    states = ["input1", "input2", *(f"node{number}" for number in range(1, space.num_nodes + 1))]
    options = woven_options(genotype)
    for kind, nodes in plans.items():
        cell = woven_cell(genotype, kind)
        for number, edges in enumerate(nodes, start=1):
            told = {
                (cell[f"node{number}.operation{k}"], cell[f"node{number}.inputs"].split("+")[k - 1]) for k in (1, 2)
            }
            assert told == {(operation.name, states[source]) for operation, source in edges}
            for operation, source in edges:
                assert options[f"{kind}.node{number}.{states[source]}"] == operation.name


def test_every_operation_is_explained() -> None:
    space = SPACES[0]
    genotype = drawn(space, 0)
    every = [option for name, option in genotype.items() if re.fullmatch(r"\w+\.node\d\.(input|node)\d", name)]
    legend = woven_legend({name: option for name, option in genotype.items() if not name.startswith("type.")})
    used = {woven_cell(genotype, kind)[f"node1.operation{k}"] for kind in ("down", "normal", "up") for k in (1, 2)}
    assert {operation.replace("_", " ") for operation in used} <= set(legend)
    assert every


@pytest.mark.parametrize(
    ("space", "genotype"),
    [
        ({"name": "darts_cell"}, {}),
        ({"name": "weaved_unet", "depth": "<script>"}, {}),
        ({"name": "weaved_unet", "unknown": 1}, {}),
        (space_settings(FIRST), {"down.node1.inputs": "x"}),
        ({}, {}),
    ],
)
def test_what_is_not_of_the_space_is_not_drawn(space: dict[str, Any], genotype: dict[str, str]) -> None:
    assert woven_figures(genotype, space, {}, 2) == []


def test_both_stages_are_told_with_what_was_pruned_between(run: Path) -> None:
    read = read_run(run)
    first, second = mixture_logs(read)
    assert (first.stage, second.stage) == (1, 2)
    assert first.chosen == {}
    assert first.options == {choice.name: choice.options for choice in FIRST.mixed_choices}
    space = FIRST.deepened(mixture_of(drawn_alpha(FIRST, 0)), 5, 10)
    assert second.options == {choice.name: choice.options for choice in space.mixed_choices}
    for table, kept in {"down": space.down_options, "normal": space.normal_options, "up": space.up_options}.items():
        weights = mean_weights(first, table)
        assert set(sorted(weights, key=lambda option: -weights[option])[: len(kept)]) == set(kept)
    with (run / "tables" / "pruned.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["option"] for row in rows if row["table"] == "up" and row["kept"] == "True"} == set(space.up_options)
    shown = learning_figures(read)
    assert [stage.title for stage in shown] == ["Stage 1", "Stage 2"]
    assert [bool(stage.pruned) for stage in shown] == [True, False]


def test_the_page_shows_the_weave_and_the_kinds_of_cell(run: Path) -> None:
    names = {path.stem for path in (run / "figures").glob("*.svg")}
    cells = {f"architecture_{kind}" for kind in ("down", "normal", "up")}
    assert cells | {"weave", "mixture_type_stage1", "mixture_epochs_type_stage2", "search_losses_stage2"} <= names
    assert "row 2, layer 4" in (run / "figures" / "mixture_type_stage1.svg").read_text(encoding="utf-8")
    framed = (run / "figures" / "mixture_type_stage2.svg").read_text(encoding="utf-8")
    selected = json.loads((run / "search" / "selected.json").read_text(encoding="utf-8"))["selected"][0]
    kept = [option for name, option in selected["genotype"].items() if name.startswith("type.")]
    assert framed.count('class="picked"') == sum(len(option.split("+")) for option in kept)
    for path in (run / "figures").glob("*.svg"):
        ElementTree.parse(path)  # noqa: S314 (our own)


def test_each_data_set_has_its_weave_where_each_was_searched_by_itself(tmp_path: Path) -> None:
    folder = woven_run(tmp_path / "run")
    path = folder / "search" / "selected.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    one = document["selected"][0]
    document["selected"] = [one | {"dataset": name} for name in ("vessels", "cells")]
    path.write_text(json.dumps(document), encoding="utf-8")
    write_report(folder)
    assert {"weave", "weave_cells"} <= {figure.stem for figure in (folder / "figures").glob("weave*.svg")}
